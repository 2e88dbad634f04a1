"""Faults on real processes: what is killed, cut, filled or flipped, and what must still be true afterwards."""
