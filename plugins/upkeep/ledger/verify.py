"""Whether the ledger is what was once written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import Connection, and_, func, select

from upkeep.errors import LedgerBroken
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

_MOST_MOVED = 100
_FETCH = 2000


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

    def require_clean(self) -> None:
        """:raises LedgerBroken: there are problems; the first ten are in the message."""
        if self.clean:
            return
        shown = [f"  - {problem.site or 'database'}: {problem.what}" for problem in self.problems[:10]]
        rest = len(self.problems) - len(shown)
        more = [f"  - and {rest} more"] if rest else []
        raise LedgerBroken(
            "\n".join(["the ledger was tampered with or damaged:", *shown, *more]),
            hint="keep the database as it is, restore a copy beside it, and compare the rows named above",
        )


def verify(ledger: Ledger, site: str | None = None, *, noted: Iterable[Head] = ()) -> Verification:
    """Read every row and recompute every hash, as of one moment and in constant memory.

    :param site: only this one; otherwise every site that has rows, a head, or a noted head.
    :param noted: heads from earlier reports. Only they can show that a whole chain was computed anew, or that all of
        it was removed.
    """
    ledger.prepare()
    trusted = [head for head in noted if site in (None, head.site)]
    with ledger.database.snapshot() as connection:
        heads = {row.site: Head(row.site, row.seq, row.hash) for row in connection.execute(select(HEADS))}
        with_rows = set(connection.scalars(select(ROWS.c.site).distinct()))
        sites = [site] if site is not None else sorted(with_rows | heads.keys() | {head.site for head in trusted})
        chains = tuple(_chain(connection, name, heads.get(name), trusted) for name in sites)
        gone = tables.missing_guards(connection)
    what = "trigger {} is missing or switched off: the database no longer refuses changes"
    return Verification(chains, tuple(Problem("", 0, "unguarded", what.format(name)) for name in gone))


def _chain(connection: Connection, site: str, head: Head | None, noted: Iterable[Head]) -> Chain:
    findings = _Findings(site)
    hashes = {entry.seq: entry.hash for entry in noted if entry.site == site}
    count, last = _walk(_rows(connection, site), hashes, findings)
    _compare_head(head, last, hashes, findings)
    _compare_pairs(connection, site, findings)
    return Chain(site, count, head, findings.problems())


def _rows(connection: Connection, site: str) -> Iterator[Row]:
    query = select(ROWS).where(ROWS.c.site == site).order_by(ROWS.c.seq)
    for found in connection.execute(query, execution_options={"yield_per": _FETCH}).mappings():
        yield Row(**found)


def _walk(rows: Iterable[Row], noted: Mapping[int, str], findings: _Findings) -> tuple[int, Head]:
    """Follow the chain from its first row; the number of rows, and the last one."""
    count, last = 0, Head(findings.site, 0, GENESIS)
    for row in rows:
        count += 1
        whole = row.digest() == row.hash
        seq: object = row.seq
        if not isinstance(seq, int):  # SQLite keeps whatever a forger puts there
            findings.add(0, "altered", f"a row has the number {seq!r}")
            continue
        if not whole:
            findings.add_altered(row)
        if seq <= last.seq:
            findings.add(seq, "duplicated", f"row {seq} is there more than once")
            continue
        if seq > last.seq + 1:
            findings.add(last.seq + 1, "missing", _gone(last.seq + 1, seq - 1))
        elif whole and row.prev_hash != last.hash:
            findings.add(seq, "unlinked", f"row {seq} doesn't follow row {last.seq}: one of the two was replaced")
        if noted.get(seq, row.hash) != row.hash:
            findings.add(seq, "rewritten", f"row {seq} isn't the one whose hash was noted")
        last = Head(findings.site, seq, row.hash)
    return count, last


def _compare_head(head: Head | None, last: Head, noted: Mapping[int, str], findings: _Findings) -> None:
    if head is None:
        if last.seq:
            findings.add(last.seq, "head", f"the head is missing; the last row is {last.seq}")
    elif head.seq > last.seq:
        findings.add(last.seq + 1, "truncated", f"{_gone(last.seq + 1, head.seq)}: the head says {head.seq}")
    elif head.seq < last.seq:
        findings.add(head.seq + 1, "head", f"rows after {head.seq} were added past the head")
    elif head.hash != last.hash:
        findings.add(last.seq, "head", f"row {last.seq} isn't the one the head points to")
    furthest = max(noted, default=0)
    if furthest > max(last.seq, head.seq if head else 0):
        findings.add(last.seq + 1, "truncated", f"{_gone(last.seq + 1, furthest)}: row {furthest} was noted")


def _compare_pairs(connection: Connection, site: str, findings: _Findings) -> None:
    start, finish = ROWS.alias(), ROWS.alias()
    own_start = and_(
        start.c.act_id == finish.c.act_id,
        start.c.event == "started",
        start.c.site == finish.c.site,
        start.c.seq < finish.c.seq,
    )
    lonely = (
        select(finish.c.seq)
        .outerjoin(start, own_start)
        .where(finish.c.site == site, finish.c.event != "started", start.c.seq.is_(None))
        .order_by(finish.c.seq)
    )
    for seq in connection.scalars(lonely, execution_options={"yield_per": _FETCH}):
        findings.add(seq, "unpaired", f"row {seq} finishes an act that was never started")
    twice = (
        select(func.max(ROWS.c.seq), ROWS.c.event)
        .where(ROWS.c.site == site)
        .group_by(ROWS.c.act_id, ROWS.c.event)
        .having(func.count() > 1)
    )
    for seq, event in connection.execute(twice, execution_options={"yield_per": _FETCH}):
        findings.add(seq, "unpaired", f"the act of row {seq} is {event} more than once")


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
