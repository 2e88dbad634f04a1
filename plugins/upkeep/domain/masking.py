"""Secrets out of text that people will read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"


def mask(text: str, secrets: Iterable[str]) -> str:
    """Replace every occurrence of every secret, in each form in which programs write it.

    The longest goes first: a short secret that is part of a longer one would otherwise leave the rest standing.
    """
    for form in sorted({form for secret in secrets if secret for form in _forms(secret)}, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text


def _forms(secret: str) -> tuple[str, ...]:
    """As it is, in a URL (each library leaves other characters alone), in JSON and in Python's repr."""
    return (
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote(secret, safe=" +"),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
    )
