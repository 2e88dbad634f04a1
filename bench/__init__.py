"""Measured comparisons, run by hand: what the manuals' scripts cost, and what Upkeep costs instead. See README.md."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def environment(**more: str) -> dict[str, str]:
    """For a Python of our own that runs a module of this checkout."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}", **more}
