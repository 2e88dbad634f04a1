"""Sealed JSON: a file that shows by itself when it was edited or damaged, and that ends with how to restore it.

``seal`` is the SHA-256 of everything else. It notices a slip of an editor or a flipped bit; forgery is noticed by the
ledger, which holds the hash of the whole file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from upkeep.errors import ManifestBroken

FORMAT = 1
"""Of every sealed file; a newer one than this is refused rather than misread."""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def seal(content: Mapping[str, Any], first: tuple[str, ...]) -> bytes:
    """The file's bytes: the fields named ``first``, the others, the seal, and ``restore`` last."""
    body = {name: content[name] for name in first} | {k: v for k, v in content.items() if k != "restore"}
    restore = content["restore"]
    whole = {**body, "seal": _hash({**body, "restore": restore}), "restore": restore}
    return (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode()


def unseal(data: bytes, where: str, *, what: str, kind: str | None = None) -> dict[str, Any]:
    """The content of a sealed file, without its seal. Errors: ``ManifestBroken`` naming ``where`` and what is wrong.

    :param what: what it should be, for people.
    :param kind: what its field ``kind`` must say, where it has one.
    """
    try:
        body = json.loads(data)
    except ValueError as error:
        raise broken(where, f"it is not JSON: {error}") from error
    if not isinstance(body, dict) or not isinstance(body.get("format"), int) or body.get("kind") != kind:
        raise broken(where, f"it is not {what}")
    if body["format"] > FORMAT:
        raise broken(where, f"its format {body['format']} is newer than this Upkeep knows ({FORMAT})")
    if body.pop("seal", None) != _hash(body):
        raise broken(where, "its content doesn't match its seal: it was edited or damaged after it was written")
    return body


def broken(where: str, why: str) -> ManifestBroken:
    return ManifestBroken(
        f"the manifest {where} can't be trusted: {why}",
        hint="don't rely on this one: upkeep backups lists the others; its files may still be whole, which a restore "
        "into a scratch server would show",
    )


def _hash(body: Mapping[str, Any]) -> str:
    return digest(json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode())
