"""How far a backup has been proven: the rungs of the ladder, and what counts as a good backup."""

from __future__ import annotations

from enum import IntEnum


class ProofLevel(IntEnum):
    """The highest rung a backup has reached. Each one includes those below it."""

    STORED = 0
    """All files and the manifest are in the store. Nothing has been read back: this proves nothing."""

    CHECKSUM = 1
    """Every file was read back and has the size and hash of the manifest."""

    STRUCTURE = 2
    """The whole stream unpacks, is complete, and lists what the catalogue says it holds."""

    RESTORED = 3
    """It was restored into a scratch server and the site's checks held there."""

    DRILLED = 4
    """A disaster drill rebuilt the system from it, with time and loss measured."""

    @property
    def label(self) -> str:
        return self.name.lower()


def is_proven(level: ProofLevel, failed: bool, *, counts_from: ProofLevel) -> bool:
    """Whether a backup counts as a good one.

    Failing isn't a rung. A backup restored in March whose checksum fails in May keeps the level RESTORED in its
    history, but it is damaged: ``failed`` outweighs every level.
    """
    return not failed and level >= counts_from
