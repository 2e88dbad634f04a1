"""Something that a rule of the site asks for and that isn't done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """Why a rule isn't carried out, and exactly what to do about it."""

    reason: str
    remedy: str
