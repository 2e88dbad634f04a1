"""Whether the ledger is what was once written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, select

from upkeep.ledger import tables
from upkeep.ledger.acts import GENESIS, Head, Row
from upkeep.ledger.ledger import Ledger
from upkeep.ledger.tables import HEADS, ROWS

Kind = Literal[
    "altered",  # its contents don't match its hash
    "reordered",  # it is whole, but stands in another row's place
    "unlinked",  # it doesn't follow the row before it, which was replaced
    "missing",  # removed from the beginning or the middle
    "truncated",  # removed from the end
    "duplicated",  # two rows with one number
    "head",  # the head doesn't match the last row
    "rewritten",  # it isn't the row whose hash was noted elsewhere
    "unpaired",  # a finish without a start, or a second one
    "unguarded",  # a trigger that forbids changes is gone
    "more",  # further problems that aren't listed
]

MOST_PROBLEMS = 1000
"""Listed for one site; beyond that only counted, so that a ruined ledger of a million rows doesn't fill the memory."""

PAGE = 5000
"""Rows read in one go: a few megabytes."""

_MOST_MOVED = 100
_LARGEST_SEQ = 2**63 - 1


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the ledger. ``seq`` is 0 where it isn't about a row, ``site`` empty where about none."""

    site: str
    seq: int
    kind: Kind
    what: str


@dataclass(frozen=True)
class Chain:
    """One site's rows as found: how many, the head that is stored for them, and what is wrong with them."""

    site: str
    count: int
    head: Head | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Verification:
    chains: tuple[Chain, ...]
    guards: tuple[Problem, ...] = ()
    """The database's own protection, where it is off."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        return (*self.guards, *(problem for chain in self.chains for problem in chain.problems))

    @property
    def clean(self) -> bool:
        return not self.problems


def verify(
    ledger: Ledger,
    site: str | None = None,
    *,
    noted: Iterable[Head] = (),
    each: Callable[[Row, bool], None] | None = None,
) -> Verification:
    """Read every row and recompute every hash, in constant memory and without keeping anyone from adding rows.

    Rows are read page by page up to where the chain ended at the beginning: they can't change any more, so that needs
    no long transaction.

    :param site: only this one; otherwise every site that has rows, a head, or a noted head.
    :param noted: heads from earlier reports. Only they can show that a whole chain was computed anew, or that all of
        it was removed.
    :param each: gets every row as it is read, and whether its contents match its hash: what is told from these rows is
        told from the very rows that were verified.
    """
    ledger.prepare()
    trusted = [head for head in noted if site in (None, head.site)]
    with ledger.database.snapshot() as connection:
        heads = {row.site: Head(row.site, row.seq, row.hash) for row in connection.execute(select(HEADS))}
        known = {*_sites(connection), *heads, *(head.site for head in trusted)}
        sites = sorted(known) if site is None else [site]
        ends = {name: connection.scalar(_of(name, func.max(ROWS.c.seq))) for name in sites}
        gone = tables.missing_guards(connection)
    what = "trigger {} is missing or switched off: the database no longer refuses changes"
    return Verification(
        chains=tuple(_chain(ledger, name, ends[name], heads.get(name), trusted, each) for name in sites),
        guards=tuple(Problem("", 0, "unguarded", what.format(name)) for name in gone),
    )


def _sites(connection: Connection) -> Iterator[str]:
    """Every site with rows: one step in the index for each, where DISTINCT would read them all."""
    smallest = select(func.min(ROWS.c.site))
    site = connection.scalar(smallest)
    while site is not None:
        yield site
        site = connection.scalar(smallest.where(ROWS.c.site > site))


def _of(site: str, *columns: Any) -> Select[Any]:
    return select(*columns).where(ROWS.c.site == site)


def _chain(
    ledger: Ledger,
    site: str,
    end: Any,
    head: Head | None,
    noted: Iterable[Head],
    each: Callable[[Row, bool], None] | None,
) -> Chain:
    findings = _Findings(site)
    hashes = {entry.seq: entry.hash for entry in noted if entry.site == site}
    count, last = _walk(_rows(ledger, site, end, findings), hashes, findings, each)
    _compare_head(head, last, hashes, findings)
    return Chain(site, count, head, findings.problems())


def _rows(ledger: Ledger, site: str, end: Any, findings: _Findings) -> Iterator[Row]:
    """The site's rows up to the number ``end``, in order; what SQL finds wrong with a page is noted on the way."""
    if end is None:
        return
    rest = _of(site, func.min(ROWS.c.seq)).where(ROWS.c.seq <= end)
    after: int | None = None
    while True:
        with ledger.database.snapshot() as connection:
            first = connection.scalar(rest if after is None else rest.where(ROWS.c.seq > after))
            if first is None:
                return
            if not _is_number(first):  # sorted after all numbers
                findings.add(0, "altered", f"a row has the number {first!r}")
                return
            after = min(first + PAGE - 1, _LARGEST_SEQ)
            page = and_(ROWS.c.seq >= first, ROWS.c.seq <= after, ROWS.c.seq <= end)
            rows = [
                Row(**found)
                for found in connection.execute(_of(site, ROWS).where(page).order_by(ROWS.c.seq)).mappings()
            ]
            _check_pairs(connection, site, page, findings)
        yield from rows


def _walk(
    rows: Iterable[Row],
    noted: Mapping[int, str],
    findings: _Findings,
    each: Callable[[Row, bool], None] | None,
) -> tuple[int, Head]:
    """Follow the chain from its first row; the number of rows, and the last one."""
    count, last = 0, Head(findings.site, 0, GENESIS)
    for row in rows:
        count += 1
        whole = row.digest() == row.hash
        if not whole:
            findings.add_altered(row)
        if each:
            each(row, whole)
        if row.seq <= last.seq:
            findings.add(row.seq, "duplicated", f"row {row.seq} is there more than once")
            continue
        if row.seq > last.seq + 1:
            findings.add(last.seq + 1, "missing", _gone(last.seq + 1, row.seq - 1))
        elif whole and row.prev_hash != last.hash:
            findings.add(
                row.seq, "unlinked", f"row {row.seq} doesn't follow row {last.seq}: one of the two was replaced"
            )
        if noted.get(row.seq, row.hash) != row.hash:
            findings.add(row.seq, "rewritten", f"row {row.seq} isn't the one whose hash was noted")
        last = Head(findings.site, row.seq, row.hash)
    return count, last


def _compare_head(head: Head | None, last: Head, noted: Mapping[int, str], findings: _Findings) -> None:
    if head is None:
        if last.seq:
            findings.add(last.seq, "head", f"the head is missing; the last row is {last.seq}")
        head = Head(last.site, 0, GENESIS)
    elif not _is_number(head.seq):
        findings.add(last.seq, "head", f"the head has the number {head.seq!r}; the last row is {last.seq}")
        head = Head(last.site, 0, GENESIS)
    elif head.seq > last.seq:
        findings.add(last.seq + 1, "truncated", f"{_gone(last.seq + 1, head.seq)}: the head says {head.seq}")
    elif head.seq < last.seq:
        findings.add(head.seq + 1, "head", f"rows after {head.seq} were added past the head")
    elif head.hash != last.hash:
        findings.add(last.seq, "head", f"row {last.seq} isn't the one the head points to")
    furthest = max(noted, default=0)
    if furthest > max(last.seq, head.seq):
        findings.add(last.seq + 1, "truncated", f"{_gone(last.seq + 1, furthest)}: row {furthest} was noted")


def _check_pairs(connection: Connection, site: str, page: ColumnElement[bool], findings: _Findings) -> None:
    other = ROWS.alias()
    same_act = and_(other.c.act_id == ROWS.c.act_id, other.c.site == ROWS.c.site, other.c.seq < ROWS.c.seq)
    started = exists().where(same_act, other.c.event == "started")
    for seq in connection.scalars(_of(site, ROWS.c.seq).where(page, ROWS.c.event != "started", ~started)):
        findings.add(seq, "unpaired", f"row {seq} finishes an act that was never started")
    before = exists().where(same_act, other.c.event == ROWS.c.event)
    for row in connection.execute(_of(site, ROWS.c.seq, ROWS.c.event).where(page, before)):
        findings.add(row.seq, "unpaired", f"row {row.seq}: the act is {row.event} more than once")


def _is_number(seq: object) -> bool:
    """SQLite keeps whatever a forger puts into an integer column."""
    return isinstance(seq, int)


def _gone(first: int, last: int) -> str:
    return f"row {first} is missing" if first == last else f"rows {first} to {last} are missing"


class _Findings:
    """What was found in one site's chain, up to a limit."""

    def __init__(self, site: str) -> None:
        self.site = site
        self._found: list[Problem] = []
        self._beyond = 0
        self._altered: dict[int, Row] = {}

    def add(self, seq: int, kind: Kind, what: str) -> None:
        if len(self._found) < MOST_PROBLEMS:
            self._found.append(Problem(self.site, seq, kind, what))
        else:
            self._beyond += 1

    def add_altered(self, row: Row) -> None:
        if len(self._altered) < _MOST_MOVED:
            self._altered[row.seq] = row
        self.add(row.seq, "altered", f"row {row.seq} was altered: its contents don't match its hash")

    def problems(self) -> tuple[Problem, ...]:
        listed = sorted((self._named(problem) for problem in self._found), key=lambda problem: problem.seq)
        if self._beyond:
            listed.append(Problem(self.site, 0, "more", f"and {self._beyond} more problems that aren't listed"))
        return tuple(listed)

    def _named(self, problem: Problem) -> Problem:
        """An altered row that is whole under the number of another altered one was only moved."""
        row = self._altered.get(problem.seq) if problem.kind == "altered" else None
        if row is None:
            return problem
        for seq in self._altered:
            if replace(row, seq=seq).digest() == row.hash:
                return replace(problem, kind="reordered", what=f"row {row.seq} holds what was row {seq}")
        return problem
