"""The one door through which every change goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack
from uuid import uuid4

from sqlalchemy import URL, Connection, Select, insert, select, update
from sqlalchemy import text as sql
from sqlalchemy.exc import IntegrityError

from upkeep.errors import LedgerBroken, LedgerError, LedgerUnavailable
from upkeep.ledger import tables
from upkeep.ledger.acts import GENESIS, Act, Event, Head, Record, Row
from upkeep.ledger.database import Database, stamp, storable
from upkeep.ledger.entry import Entry
from upkeep.ledger.locks import FileLocks, Hold, Locks, PostgresLocks
from upkeep.ledger.tables import HEADS, ROWS

FINISH_PAUSES_S = (0, 1, 5)
"""Seconds before each try to write a finished row. The act is done by then; a database that restarts shouldn't make
it look as if it had died."""

_CHUNK = 500


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Wanted(TypedDict, total=False):
    """Which rows; none of these: all of them."""

    run_id: str | None
    duty: str | None
    target: str | None
    config_hash: str | None
    since: datetime | None
    """With a time zone; compared with what the writers' clocks said."""
    limit: int | None
    newest_first: bool


class Ledger:
    """The record in one database. Cheap to make; safe to use from many threads, processes and machines at once.

    It makes its tables on first use. Every method may raise ``LedgerUnavailable`` when the database doesn't answer.

    :param url: see ``default_url`` and ``url_of``. It must reach the server itself or a pooler in session mode:
        behind pgbouncer in transaction mode locks don't belong to the one who took them (see ``Database``).
    :param clock: the time for rows, in UTC.
    """

    def __init__(self, url: str | URL, *, clock: Callable[[], datetime] = _utc_now) -> None:
        self.database = Database(url)
        self._clock = clock
        file = self.database.file
        self._locks: Locks = FileLocks(file.with_name(f"{file.name}.locks")) if file else PostgresLocks(self.database)
        self._ready = False

    @property
    def place(self) -> str:
        """Where it is, for people; holds no secret."""
        return self.database.place

    @contextmanager
    def record(self, act: Act, *, secrets: Iterable[str] = ()) -> Iterator[Entry]:
        """Do an act on the record: the block runs between its started row and its finished row, both committed.

        However the block ends, by an exception, Ctrl-C or ``sys.exit``, the finished row says how, and the exception
        goes on. A process that is killed leaves the started row alone, which ``acts`` then shows as died.

        :param secrets: values to mask in what the finished row will say.
        :raises LedgerUnavailable: the started row couldn't be written, and the block did not run; or the finished row
            couldn't, and it did: then an exception of the block is the ``__cause__``.
        :raises LedgerBroken: the site's chain doesn't fit its head; nothing can be added to it.
        """
        entry = Entry(str(uuid4()), secrets)
        # The lock comes before the row: nobody may find the row without it and take the act for dead.
        with self._locks.hold(_act_lock(entry.act_id)):
            self._append(act, entry.act_id, "started", {}, hint="nothing was done; bring the database back and rerun")
            try:
                yield entry
            except BaseException as error:
                entry.fail(error)
                try:
                    self._finish(act, entry)
                except LedgerError as unrecorded:
                    if isinstance(error, Exception):
                        raise unrecorded from error
                    error.add_note(str(unrecorded))  # Ctrl-C and sys.exit must still end the process
                raise
            self._finish(act, entry)

    def hold(self, name: str, *, wait_s: float = 0) -> AbstractContextManager[Hold]:
        """Keep others out of ``name`` (a target, a server) for the block, on every machine that uses this ledger.

        The lock vanishes with its process, even on SIGKILL. With SQLite it reaches as far as the machine.

        :param wait_s: how long to try, in seconds.
        :raises Busy: somebody else holds it; says who and since when, where that is known.
        """
        return self._locks.hold(f"hold:{name}", label=name, wait_s=wait_s)

    def rows(self, site: str | None = None, **wanted: Unpack[Wanted]) -> list[Row]:
        """Rows as they were written; of one site in the order of its chain, of all sites in the order of their time."""
        return self._read(_query(site, wanted))

    def acts(self, site: str | None = None, **wanted: Unpack[Wanted]) -> list[Record]:
        """Started rows with what became of them, filtered and ordered like ``rows``.

        An act without a finish is *running* while its process holds the act's lock, otherwise it *died*. One whose
        connection to PostgreSQL was cut shows as died until it finishes, which it still can.
        """
        started = self._read(_query(site, wanted).where(ROWS.c.event == "started"))
        finished = self._finishes([row.act_id for row in started])
        unfinished = [row.act_id for row in started if row.act_id not in finished]
        locks = {_act_lock(act_id): act_id for act_id in unfinished}
        held = {locks[name] for name in self._locks.held(locks)} if locks else set()
        # One that finished between those two looks had no finish yet at the first and no lock any more at the second.
        finished |= self._finishes([act_id for act_id in unfinished if act_id not in held])
        return [Record(row, finished.get(row.act_id), row.act_id in held) for row in started]

    def heads(self) -> dict[str, Head]:
        """The end of each site's chain, by site: what a report prints for ``verify(noted=...)``."""
        self.prepare()
        with self.database.snapshot() as connection:
            return {head.site: head for head in map(_head, connection.execute(select(HEADS)))}

    def prepare(self) -> None:
        """Make the tables unless they are there."""
        if self._ready:
            return
        with self.database.snapshot() as connection:
            there = tables.exist(connection)
        if not there:
            with self.database.writing() as connection:
                tables.create(connection)
        self._ready = True

    def _finish(self, act: Act, entry: Entry) -> None:
        outcome = entry.outcome()
        hint = (
            f"it ended as {outcome['result']}, but the ledger will show it as died: look at {act.target} before a rerun"
        )
        for number, pause_s in enumerate(FINISH_PAUSES_S, start=1):
            time.sleep(pause_s)
            try:
                self._append(act, entry.act_id, "finished", outcome, hint=hint)
            except LedgerUnavailable:
                if number == len(FINISH_PAUSES_S):
                    raise
            else:
                return

    def _append(self, act: Act, act_id: str, event: Event, outcome: dict[str, Any], *, hint: str) -> None:
        self.prepare()
        with self.database.writing(hint=hint) as connection:
            if event == "finished" and _is_there(connection, act_id, event):
                return  # an earlier try was committed, and only the answer was lost
            head = _locked_head(connection, _exact(act.site))
            values: dict[str, Any] = {
                **{name: _exact(value) for name, value in vars(act).items()},
                "try_number": int(act.try_number),
                **{name: None if value is None else _exact(value) for name, value in outcome.items()},
                "seq": head.seq + 1,
                "act_id": act_id,
                "event": event,
                "at": stamp(self._clock()),
                "prev_hash": head.hash,
            }
            row = Row(**values)
            row = replace(row, hash=row.digest())
            try:
                connection.execute(insert(ROWS), vars(row))
            except IntegrityError as error:
                raise LedgerBroken(
                    f"the ledger of site {act.site} already has a row {row.seq}, though its head says {head.seq}",
                    hint=f"run `upkeep ledger verify` on {act.site}: somebody changed the ledger",
                ) from error
            connection.execute(update(HEADS).where(HEADS.c.site == row.site), {"seq": row.seq, "hash": row.hash})

    def _read(self, query: Select[Any]) -> list[Row]:
        self.prepare()
        with self.database.snapshot() as connection:
            return [Row(**row) for row in connection.execute(query).mappings()]

    def _finishes(self, act_ids: Sequence[str]) -> dict[str, Row]:
        chunks = [act_ids[start : start + _CHUNK] for start in range(0, len(act_ids), _CHUNK)]
        query = select(ROWS).where(ROWS.c.event == "finished")
        return {row.act_id: row for chunk in chunks for row in self._read(query.where(ROWS.c.act_id.in_(chunk)))}


def _query(site: str | None, wanted: Wanted) -> Select[Any]:
    if unknown := wanted.keys() - Wanted.__annotations__.keys():
        raise TypeError(f"the ledger can't be asked by {', '.join(sorted(unknown))}")
    query = select(ROWS)
    for name, value in {"site": site, **wanted}.items():
        if name in ("site", "run_id", "duty", "target", "config_hash") and value is not None:
            query = query.where(ROWS.c[name] == value)
    if (since := wanted.get("since")) is not None:
        query = query.where(ROWS.c.at >= stamp(since))
    order = [ROWS.c.seq] if site is not None else [ROWS.c.at, ROWS.c.site, ROWS.c.seq]
    ordered = (column.desc() if wanted.get("newest_first") else column for column in order)
    return query.order_by(*ordered).limit(wanted.get("limit"))


def _locked_head(connection: Connection, site: str) -> Head:
    """The end of the site's chain, ours alone until the transaction ends (on SQLite the whole file is)."""
    query = select(HEADS).where(HEADS.c.site == site).with_for_update()
    found = connection.execute(query).one_or_none()
    if found is None:
        first = sql("INSERT INTO upkeep_ledger_heads (site, seq, hash) VALUES (:site, 0, :hash) ON CONFLICT DO NOTHING")
        connection.execute(first, {"site": site, "hash": GENESIS})
        found = connection.execute(query).one()
    return _head(found)


def _head(row: Any) -> Head:
    return Head(row.site, row.seq, row.hash)


def _is_there(connection: Connection, act_id: str, event: Event) -> bool:
    query = select(ROWS.c.seq).where(ROWS.c.act_id == act_id, ROWS.c.event == event)
    return connection.execute(query).first() is not None


def _act_lock(act_id: str) -> str:
    return f"act:{act_id}"


def _exact(value: Any) -> Any:
    """What the database will give back, to the letter, for that is what is hashed. None becomes empty."""
    if isinstance(value, int):
        return int(value)
    return "" if value is None else storable(str(value))
