"""Secrets out of text that people will read."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"


def mask(text: str, secrets: Iterable[str]) -> str:
    """Replace every occurrence of every secret, plain or URL-quoted.

    The longest goes first: a short secret that is part of a longer one would otherwise leave the rest standing.
    """
    forms = {form for secret in secrets if secret for form in (secret, quote(secret, safe=""), quote_plus(secret))}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text
