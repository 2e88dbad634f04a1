"""Upkeep: scheduled maintenance of production systems, with evidence."""

__version__ = "0.1.0"
