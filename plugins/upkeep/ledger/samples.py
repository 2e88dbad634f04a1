"""Capacity samples, kept beside the ledger in its database: one row for each figure of each sampling.

They aren't part of the record: no chain, no triggers, and old ones go. So a graph can be drawn straight from the table
(``at`` is ISO 8601 in UTC; on PostgreSQL ``at::timestamptz``).

Where Upkeep logs in to PostgreSQL as a role that may not create tables (see ``tables``), it needs
``GRANT SELECT, INSERT, DELETE ON upkeep_samples`` once the owner has made the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Column, Double, Index, MetaData, Table, Text, delete, inspect, select, text
from sqlalchemy.dialects import postgresql, sqlite

from upkeep.domain.capacity import Key, Point, Reading
from upkeep.ledger.database import Database, stamp, storable

KEEP = timedelta(days=2 * 365)
"""How far back a forecast looks; so long samples are kept unless the site says otherwise."""
BATCH = 5_000
"""Rows in one insert or delete. Each is a transaction of its own: on SQLite the ledger waits for it."""

# "C": order by code point, so that times sort as text and names mean the same after every upgrade of the C library.
_TEXT = Text().with_variant(Text(collation="C"), "postgresql")

_METADATA = MetaData()

SAMPLES = Table(
    "upkeep_samples",
    _METADATA,
    Column("site", _TEXT, primary_key=True),
    Column("metric", _TEXT, primary_key=True),
    Column("target", _TEXT, primary_key=True),
    Column("at", _TEXT, primary_key=True),
    Column("value", Double, nullable=False),
    Column("unit", _TEXT, nullable=False),
    Index("upkeep_samples_at", "site", "at"),  # for the last week of everything, and for what is old
    sqlite_with_rowid=False,
)

_CREATION_LOCK = 0x73616D706C65  # "sample": any number will do that is the same in every process


class Samples:
    """The samples in one database. Safe to use from many threads, processes and machines at once.

    It makes its table on first use. Every method may raise ``LedgerUnavailable``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ready = False

    def append(self, site: str, at: datetime, readings: Iterable[Reading]) -> int:
        """Keep what was read at one moment; returns how many rows that were not there yet.

        Said twice (a retry whose first answer was lost), it is kept once.
        """
        self._prepare()
        rows = [
            {
                "site": site,
                "metric": storable(reading.metric),
                "target": storable(reading.target),
                "at": stamp(at),
                "value": reading.value,
                "unit": reading.unit,
            }
            for reading in readings
        ]
        insert = sqlite.insert if self._database.file else postgresql.insert
        # RETURNING counts what went in: with many rows at once a driver's row count is of no use.
        statement = insert(SAMPLES).on_conflict_do_nothing().returning(SAMPLES.c.at)
        kept = 0
        for start in range(0, len(rows), BATCH):
            with self._database.writing() as connection:
                kept += len(connection.execute(statement, rows[start : start + BATCH]).all())
        return kept

    def series(
        self, site: str, *, since: datetime, metric: str | None = None, target: str | None = None
    ) -> dict[Key, list[Point]]:
        """The points from ``since`` on by metric and target, each series in the order of time."""
        self._prepare()
        query = select(SAMPLES).where(SAMPLES.c.site == site, SAMPLES.c.at >= stamp(since)).order_by(SAMPLES.c.at)
        if metric is not None:
            query = query.where(SAMPLES.c.metric == metric)
        if target is not None:
            query = query.where(SAMPLES.c.target == storable(target))
        found: dict[Key, list[Point]] = {}
        with self._database.snapshot() as connection:
            for row in connection.execute(query):
                found.setdefault((row.metric, row.target), []).append(Point(datetime.fromisoformat(row.at), row.value))
        return found

    def thin_out(self, site: str, *, before: datetime, batches: int = 200) -> int:
        """Remove the samples of one site from before a moment, oldest first; returns how many rows went.

        In batches of about ``BATCH`` rows, one transaction each, and at most ``batches`` of them: what is left over
        goes next time.
        """
        self._prepare()
        old = (SAMPLES.c.site == site, SAMPLES.c.at < stamp(before))
        last_of_batch = select(SAMPLES.c.at).where(*old).order_by(SAMPLES.c.at).limit(1)
        gone = 0
        for _ in range(batches):
            with self._database.writing() as connection:
                until = connection.scalar(last_of_batch.offset(BATCH - 1))
                batch = delete(SAMPLES).where(*old)
                if until is not None:
                    batch = batch.where(SAMPLES.c.at <= until)
                gone += connection.execute(batch).rowcount
            if until is None:
                break
        return gone

    def _prepare(self) -> None:
        if self._ready:
            return
        with self._database.snapshot() as connection:
            there = inspect(connection).has_table(SAMPLES.name)
        if not there:
            with self._database.writing() as connection:
                if self._database.file is None:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATION_LOCK})
                _METADATA.create_all(connection)
        self._ready = True
