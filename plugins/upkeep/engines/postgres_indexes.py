"""Indexes of large tables, made as soon as their rows are in and beside the rows of others."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType

LARGE = 16 << 20
"""Bytes of rows in the archive. A program is started for each index of such a table, which takes 30 ms; smaller tables'
are made at the end, all by one program.
"""
_NAME = rb'(?:"(?:[^"]|"")+"|[^\s".;(]+)'
_TABLE = rb"(" + _NAME + rb"\." + _NAME + rb")"
_COLUMNS = rb"\([^()\n]*\)"
_OPTIONS = rb"(?: INCLUDE " + _COLUMNS + rb")?(?: WITH " + _COLUMNS + rb")?;\n"
_ENTRY = re.compile(
    rb"^-- TOC entry (\d+) \(class \d+ OID \d+\)\n(?:-- .*\n)+--\n\n"
    rb"(?:CREATE (?:UNIQUE )?INDEX " + _NAME + rb" ON " + _TABLE + rb" USING \w+ (" + _COLUMNS + rb")" + _OPTIONS
    + rb"|ALTER TABLE ONLY " + _TABLE + rb"\n    ADD CONSTRAINT " + _NAME + rb" (?:PRIMARY KEY|UNIQUE) ("
    + _COLUMNS + rb")" + _OPTIONS + rb")(?=\n\n--)",
    re.MULTILINE,
)  # fmt: skip
"""Only what needs nothing but its table: an expression may call a function that reads another one. And only what is all
of its entry: what may follow, such as CLUSTER ON, locks the table, and two of them side by side each other's.
"""
_LISTED = re.compile(r"(\d+); \d+ \d+ (?:INDEX|CONSTRAINT) ")


ByTable = dict[bytes, list[tuple[bool, int, str]]]
"""By the table's name as the archive writes it: whether each is a plain index and no key, its columns, its number."""


@dataclass(frozen=True, order=True)
class Index:
    """The entry ``number`` of the archive. In order: the largest table's first, its keys before others, and what sorts
    by more columns before what sorts by fewer, so that no long one is left alone at the end; ``less_bytes`` and
    ``less_columns`` are negative for that.

    A key locks its table: made while another index of it is, it would only wait, and keep others from being made.
    """

    less_bytes: int
    table: bytes
    is_plain: bool
    less_columns: int
    number: str

    def goes_with(self, other: Index) -> bool:
        return self.table != other.table or (self.is_plain and other.is_plain)


class EarlyIndexes:
    """``definitions`` says what is to be made of each table (``by_table``), ``make`` makes one by its number, ``stop``
    ends what is being made. Use as a context manager; leaving it by an exception stops.
    """

    def __init__(
        self, definitions: Callable[[], ByTable], make: Callable[[str], None], stop: Callable[[], None], jobs: int
    ) -> None:
        self._definitions, self._make, self._stop = definitions, make, stop
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="indexes")
        self._changed = threading.Condition()
        self._of: ByTable | None = None
        self._waiting: list[Index] = []
        self._being_made: set[Index] = set()
        self._made: list[Future[str]] = []

    def __enter__(self) -> EarlyIndexes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._stop()
        self._pool.shutdown(cancel_futures=kind is not None)

    def loaded(self, table: bytes, size: int) -> None:
        """All rows of ``table``, as the archive writes its name, are in: ``size`` bytes. For any thread."""
        if size < LARGE:
            return
        with self._changed:
            if self._of is None:
                self._of = self._definitions()
            for is_plain, columns, number in self._of.pop(table, ()):
                self._waiting.append(Index(-size, table, is_plain, -columns, number))
                self._made.append(self._pool.submit(self._make_next))
            self._waiting.sort()
            self._changed.notify_all()

    def check(self) -> None:
        """Errors: what an index could not be made for."""
        for future in self._made:
            if future.done():
                future.result()

    def finish(self) -> set[str]:
        """Wait for all; which entries are made. Errors: as ``check``, at once."""
        wait(self._made, return_when=FIRST_EXCEPTION)
        self.check()
        return {future.result() for future in self._made}

    def _make_next(self) -> str:
        with self._changed:
            while not (index := self._next()):
                self._changed.wait()
            self._waiting.remove(index)
            self._being_made.add(index)
        try:
            self._make(index.number)
        finally:
            with self._changed:
                self._being_made.remove(index)
                self._changed.notify_all()
        return index.number

    def _next(self) -> Index | None:
        """The first that fits beside those being made, if any. Nobody waits for ever: only an index that is being made
        keeps another one waiting, and making it ends.
        """
        return next((each for each in self._waiting if all(map(each.goes_with, self._being_made))), None)


def by_table(definitions: bytes, listing: Iterable[str]) -> ByTable:
    """The entries that need nothing but their table's rows.

    ``definitions``: what ``pg_restore --verbose`` prints of them; ``listing``: the archive's. Only what the listing has
    too is taken: text of a definition may look like one.
    """
    listed = {found[1] for line in listing if (found := _LISTED.match(line))}
    made: ByTable = {}
    for entry in _ENTRY.finditer(definitions):
        number, of_index, plain, of_key, key = entry.groups()
        if number.decode() in listed:
            listed.remove(number.decode())
            columns = (plain or key).count(b",") + 1
            made.setdefault(of_index or of_key, []).append((key is None, columns, number.decode()))
    return made
