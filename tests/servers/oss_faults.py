"""What can go wrong on the way to a store, on order."""

from __future__ import annotations

import threading
from dataclasses import dataclass

ALWAYS = 1_000_000


@dataclass
class _Order:
    kind: str
    operation: str
    part: int
    after_bytes: int
    status: int
    code: str
    message: str
    times: int


class Faults:
    """Orders for an ``OssServer``. Each names an operation as OSS does (``PutObject``, ``UploadPart``, ``GetObject``,
    ``CompleteMultipartUpload`` ..., empty: any) and is carried out ``times`` times.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[_Order] = []
        self.slow_s = 0.0
        """Seconds to wait before every answer."""

    def answer(self, operation: str, status: int, code: str, message: str = "As ordered.", *, times: int = 1) -> None:
        """Answer with this error instead of doing the work."""
        self._add("answer", operation, status=status, code=code, message=message, times=times)

    def cut_upload(self, operation: str, *, part: int = 0, after_bytes: int = 0, times: int = 1) -> None:
        """Reset the connection after that many bytes of the body; ``part`` 0: of any part."""
        self._add("cut_upload", operation, part=part, after_bytes=after_bytes, times=times)

    def cut_download(self, *, after_bytes: int, times: int = 1) -> None:
        """Promise the whole object, send that many bytes, and hang up."""
        self._add("cut_download", "GetObject", after_bytes=after_bytes, times=times)

    def corrupt(self, operation: str, *, part: int = 0, times: int = 1) -> None:
        """Flip a bit of what was received before storing it and computing its checksum."""
        self._add("corrupt", operation, part=part, times=times)

    def rot(self, *, times: int = 1) -> None:
        """Flip a bit of what ``GetObject`` sends; the recorded checksum stays that of the true bytes."""
        self._add("rot", "GetObject", times=times)

    def lose_answer(self, operation: str, *, times: int = 1) -> None:
        """Do the work, then hang up without a word."""
        self._add("lose_answer", operation, times=times)

    def hide_crc(self, operation: str, *, times: int = 1) -> None:
        """Leave the checksum header out of the answer, as some gateways do."""
        self._add("hide_crc", operation, times=times)

    def clear(self) -> None:
        with self._lock:
            self._orders.clear()
            self.slow_s = 0.0

    def take(self, kind: str, operation: str, part: int = 0) -> _Order | None:
        """The order to carry out now, if there is one; counts it as done."""
        with self._lock:
            for order in self._orders:
                if order.kind == kind and order.operation in ("", operation) and order.part in (0, part):
                    order.times -= 1
                    if not order.times:
                        self._orders.remove(order)
                    return order
        return None

    def _add(
        self,
        kind: str,
        operation: str,
        *,
        part: int = 0,
        after_bytes: int = 0,
        status: int = 0,
        code: str = "",
        message: str = "",
        times: int = 1,
    ) -> None:
        with self._lock:
            self._orders.append(_Order(kind, operation, part, after_bytes, status, code, message, times))
