"""What an act tells the ledger while it runs."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from upkeep.domain.masking import mask
from upkeep.ledger.acts import Result

ERROR_CHARS = 4000
DETAIL_CHARS = 8000
LEFT_OUT_CHARS = 400
"""Room for what is said of parts that didn't fit."""


class Entry:
    """The open record of one act; what is noted here goes into its finished row.

    :param secrets: values that are masked in everything that is noted, the text of an error included.
    """

    def __init__(self, act_id: str, secrets: Iterable[str] = ()) -> None:
        self.act_id = act_id
        self._secrets = tuple(secrets)
        self._result: Result = "done"
        self._rows: int | None = None
        self._bytes: int | None = None
        self._checksum: str | None = None
        self._error: str | None = None
        self._detail: dict[str, Any] = {}

    def hide(self, *secrets: str) -> None:
        """Mask these too: values that weren't known yet when the act began."""
        self._secrets += secrets

    def note(
        self, *, rows: int | None = None, bytes: int | None = None, checksum: str | None = None, **detail: Any
    ) -> None:
        """Add to what the finished row will say.

        :param rows: rows touched; added to those noted before, so that an act in batches can note each.
        :param bytes: bytes written or freed; added likewise.
        :param checksum: of what was made; the last one counts.
        :param detail: anything else worth keeping, small; by name the last one counts.
        """
        if rows is not None:
            self._rows = (self._rows or 0) + int(rows)
        if bytes is not None:
            self._bytes = (self._bytes or 0) + int(bytes)
        if checksum is not None:
            self._checksum = checksum
        self._detail.update(detail)

    def skip(self, reason: str) -> None:
        """Say that there was nothing to do, or that it could not be done now; kept as ``reason`` in the detail."""
        self._result = "skipped"
        self._detail["reason"] = reason

    def fail(self, error: BaseException) -> None:
        self._result = "failed"
        # The type, the text, and any notes. Masked before it is cut: half a secret would be found by nobody.
        said = "".join(traceback.format_exception_only(error)).strip()
        self._error = _middle_out(mask(said, self._secrets), ERROR_CHARS)

    def outcome(self) -> dict[str, Any]:
        """The finished row's own columns."""
        return {
            "result": self._result,
            "rows": self._rows,
            "bytes": self._bytes,
            "checksum": self._checksum and mask(self._checksum, self._secrets),
            "error": self._error,
            "detail": self._detail_json(),
        }

    def _detail_json(self) -> str | None:
        return _canonical(_fitting(_plain(self._detail, self._secrets))) if self._detail else None


def _plain(value: Any, secrets: tuple[str, ...]) -> Any:
    """The nearest thing JSON can say, without secrets."""
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {mask(str(key), secrets): _plain(item, secrets) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, secrets) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item, secrets) for item in value), key=str)
    return mask(str(value), secrets)


def _fitting(detail: dict[str, Any]) -> dict[str, Any]:
    """As much as the ledger keeps: the largest parts go, so that a backup's id stays whatever stands beside it.

    Never an error: the act is done, and must be recorded as done.
    """
    if len(_canonical(detail)) <= DETAIL_CHARS:
        return detail
    sizes = {name: len(_canonical({name: value})) for name, value in detail.items()}
    total, gone = sum(sizes.values()), []
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if total <= DETAIL_CHARS - LEFT_OUT_CHARS:
            break
        total -= sizes[name]
        gone.append(name)
    said = ", ".join(f"{name} ({sizes[name]} characters)" for name in gone)[: LEFT_OUT_CHARS // 2]
    kept = {name: value for name, value in detail.items() if name not in gone}
    return {**kept, "left_out": f"{said}; the ledger keeps {DETAIL_CHARS}"}


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _middle_out(text: str, limit: int) -> str:
    """At most about ``limit`` characters: the beginning names the error, the end is where programs say why."""
    if len(text) <= limit:
        return text
    head, tail = limit // 4, limit - limit // 4
    return f"{text[:head]}\n[... {len(text) - limit} characters left out ...]\n{text[-tail:]}"
