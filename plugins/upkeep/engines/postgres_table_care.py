"""Care of tables of PostgreSQL.

VACUUM, ANALYZE and REINDEX CONCURRENTLY let others read and write. They wait for each other, for autovacuum and for
DDL, so ``lock_timeout`` bounds that; it also bounds how long REINDEX CONCURRENTLY waits for the transactions that began
before it. One that gives up there leaves an invalid index behind: it is dropped at once, and swept by the next run if
that fails. VACUUM doesn't give the table's empty end back where there are standbys, because that cancels their queries.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg.rows import DictRow, dict_row

from upkeep.domain.names import quoted
from upkeep.domain.table_care import IndexFacts, Item, Server, TableFacts
from upkeep.engines.host_figures import disk_figures
from upkeep.engines.postgres_engine import PostgresEngine
from upkeep.engines.postgres_session import PostgresSession
from upkeep.engines.table_care import STATEMENT_LIMIT_S, Ended, NotNow, TableCareSession, WhyStop, watched
from upkeep.errors import SourceError
from upkeep.resources import sql

CANCEL_LIMIT_S = 5.0
WARNINGS = 5
"""Remembered of one statement: there may be one for each row or page."""
_NOT_HAD = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
_PASSES_OVER = {
    "vacuum_is_relation_owner", "vacuum_is_permitted_for_relation", "vacuum_rel", "analyze_rel", None,
}  # fmt: skip
"""Functions of the server whose warnings say that it passed a table over: from PostgreSQL 11, from 16, and before 11.
The words may be in any language. Where none is named, the worst is supposed."""
EXACT_OVER_BYTES = 8 * 1_048_576
"""pgstattuple reads what it measures: only what the estimate suspects, and not what is small anyway."""
SUSPECT_PCT = 20


class PostgresTableCare(PostgresSession, TableCareSession):
    def __init__(self, engine: PostgresEngine) -> None:
        super().__init__(engine)
        self._refused: list[str] = []
        self._warnings: list[str] = []
        self._exactly = True

    def __enter__(self) -> Self:
        with self.engine.told("prepare the care of tables of"), ExitStack() as stack:
            connection = stack.enter_context(closing(self.engine.connect()))
            connection.autocommit = True
            connection.add_notice_handler(self._hear)
            self._connection = connection
            self._patience(STATEMENT_LIMIT_S)
            self._facts = self._rows("list_care_server")[0]
            self.server = Server(
                "postgres",
                divmod(int(self._facts["version_num"]), 10_000),
                freeze_max=int(self._facts["freeze_max"]),
                mxid_freeze_max=int(self._facts["mxid_freeze_max"]),
                xid_age=int(self._facts["database_age"]),
                why_no_rebuilds=_why_no_rebuilds(int(self._facts["version_num"])),
            )
            self._stack = stack.pop_all()
        return self

    def _patience(self, seconds: float | None) -> None:
        limit = f"{max(1, int(seconds * 1000))}ms" if seconds is not None else "0"
        self._rows("set_care_patience", f"{self.engine.lock_timeout_s}s", limit)

    def _free(self) -> tuple[int | None, str]:
        """Free bytes below the server's data, if it runs on this machine: then our session is one of its processes."""
        with suppress(OSError):
            if "postgres" not in Path(f"/proc/{self._facts['pid']}/comm").read_text():
                return None, "the server runs on another machine"
            folder = self._facts["data_directory"]
            if not folder:
                return None, "this account may not see where the data lies: grant pg_read_all_settings"
            measured = disk_figures("here", [folder])
            free = next((int(m.value) for m in measured.readings if m.metric == "disk_free_bytes"), None)
            return free, "" if free is not None else f"{folder} can't be seen from here"
        return None, "the server runs on another machine"

    # What tables are like.

    def measure(self, table: str | None = None, *, exactly: bool = True) -> list[TableFacts]:
        """``exactly``: use pgstattuple where it is installed."""
        self._exactly = exactly
        notes: list[str] = []
        with self.engine.told("measure the tables of"):
            indexes: dict[int, list[IndexFacts]] = {}
            for row in self._rows("measure_index_care", table, table):
                indexes.setdefault(int(row["table_oid"]), []).append(self._index(row, notes))
            found = [
                self._table(row, tuple(indexes.get(int(row["oid"]), ())), notes)
                for row in self._rows("measure_table_care", table, table)
            ]
        free, why = self._free()
        self.server = replace(self.server, free=free, why_free_unknown=why)
        self.notes = tuple(dict.fromkeys(notes))
        return found

    def _index(self, row: Mapping[str, Any], notes: list[str]) -> IndexFacts:
        place = (str(row["schema"]), str(row["name"]))
        size = int(row["bytes"])
        waste = _waste(size, row["expected"], int(row["fillfactor"]), int(row["page"]))
        exact = None
        if row["method"] == "btree" and row["valid"]:
            exact = self._exact("measure_index_waste", place, size, waste, int(row["fillfactor"]), notes)
        return IndexFacts(
            place=place,
            bytes=size,
            waste=waste if exact is None else exact,
            exact=exact is not None,
            valid=bool(row["valid"]),
            leftover=bool(row["leftover"]),
            building=bool(row["building"]),
            why_not="an exclusion constraint's index can't be rebuilt beside its work" if row["exclusion"] else "",
        )

    def _table(self, row: Mapping[str, Any], indexes: tuple[IndexFacts, ...], notes: list[str]) -> TableFacts:
        place = (str(row["schema"]), str(row["name"]))
        size, fill = int(row["bytes"]), int(row["fillfactor"])
        waste = _waste(size, row["expected"], fill, int(row["page"]))
        exact = None
        if row["kind"] == "table":
            exact = self._exact("measure_table_waste", place, size, waste, fill, notes)
        age = row["statistics_age"]
        return TableFacts(
            engine="postgres",
            place=place,
            kind=str(row["kind"]),
            parents=tuple(row["parents"]),
            bytes=size,
            # n_live_tup is 0 after a crash or a restore, reltuples is -1 before the first VACUUM or ANALYZE.
            rows=int(max(row["live"], row["row_estimate"], 0)),
            waste=waste if exact is None else exact,
            exact=exact is not None,
            statistics_age=None if age is None else float(age),
            has_statistics=bool(row["has_statistics"]) or not size,
            changed=int(row["changed"]),
            dead=int(row["dead"]),
            inserted=None if row["inserted"] is None else int(row["inserted"]),
            xid_age=int(row["xid_age"] or 0),
            mxid_age=int(row["mxid_age"] or 0),
            vacuum_running=bool(row["vacuum_running"]),
            indexes=indexes,
        )

    def _exact(
        self, statement: str, place: tuple[str, ...], size: int, waste: int | None, fill: int, notes: list[str]
    ) -> int | None:
        """Measured with pgstattuple where it is there and the estimate gives cause; None where it isn't measured."""
        suspect = waste is None or waste * 100 >= size * SUSPECT_PCT
        if not self._exactly or not self._facts["pgstattuple"] or size < EXACT_OVER_BYTES or not suspect:
            return None
        names = {
            "schema": quoted("postgres", self._facts["pgstattuple"]),
            "fillfactor": fill,
            "index": _literal(quoted("postgres", *place)),
            "table": _literal(quoted("postgres", *place)),
        }
        try:
            text = sql("postgres", statement).format(**names)
            return max(0, int(self._connection.execute(text.encode()).fetchall()[0]["waste"]))
        except psycopg.errors.InsufficientPrivilege:
            notes.append("pgstattuple is installed, but this account may not use it: grant pg_stat_scan_tables")
        except psycopg.errors.QueryCanceled:
            notes.append(f"pgstattuple did not measure {'.'.join(place)} within {STATEMENT_LIMIT_S} s: it is estimated")
        return None

    # What stands in the way.

    def oldest_transaction_s(self) -> float:
        with self.engine.told("look for open transactions of"):
            return float(self._rows("measure_oldest_transaction")[0]["oldest_s"])

    def require_quiet(self, action: Item, why_stop: WhyStop) -> None:
        """Nothing to wait for: none of these statements makes another's transaction fail."""

    # Work.

    def apply(self, action: Item, why_stop: WhyStop, seconds: float | None) -> Sequence[str]:
        with self.engine.told(f"{action.kind} {action.label} in"):
            self._patience(seconds)
            try:
                with watched(why_stop, self._cancel) as reasons:
                    self._carry_out(action, reasons, seconds)
                    return tuple(self._warnings)
            finally:
                # Neither may hide what became of the action; what isn't dropped here the next run sweeps.
                with suppress(psycopg.Error, SourceError):
                    self._patience(STATEMENT_LIMIT_S)
                    if action.kind == "reindex":
                        self._sweep(action)

    def _cancel(self) -> None:
        with suppress(psycopg.Error):  # no connection to be had just now: it is asked again
            self._connection.cancel_safe(timeout=CANCEL_LIMIT_S)

    def _carry_out(self, action: Item, reasons: Any, seconds: float | None) -> None:
        self._refused.clear()
        self._warnings.clear()
        begun = time.monotonic()
        try:
            self._connection.execute(self._statement(action).encode())
        except _NOT_HAD as error:
            raise NotNow(
                f"other sessions did not let go of it within lock_timeout_s ({self.engine.lock_timeout_s} s)"
            ) from error
        except psycopg.errors.QueryCanceled as error:
            if reasons:
                raise Ended(str(reasons[0])) from error
            if seconds is not None and time.monotonic() - begun >= seconds - 0.1:  # the words may be in any language
                raise Ended("the window closed") from error
            raise
        # What an account may not vacuum is passed over with a warning.
        if self._refused:
            raise psycopg.errors.InsufficientPrivilege(f"permission denied: {self._refused[0]}")

    def _hear(self, said: psycopg.errors.Diagnostic) -> None:
        if said.severity_nonlocalized == "WARNING":  # what was said is gone once this returns
            told = self._refused if said.source_function in _PASSES_OVER else self._warnings
            words = ". ".join(filter(None, (said.message_primary, said.message_hint)))
            if words not in told and len(told) < WARNINGS:
                told.append(words)

    def _statement(self, action: Item) -> str:
        if action.kind in ("vacuum", "vacuum freeze") and self.server.version >= (12,) and self._has_standbys():
            return action.statement.replace("VACUUM (", "VACUUM (TRUNCATE FALSE, ", 1)
        return action.statement

    def _has_standbys(self) -> bool:
        return bool(self._rows("list_replicas"))

    def _sweep(self, action: Item) -> None:
        """Drop what a REINDEX of ours left, if it broke off."""
        for table in self.measure(action.table, exactly=False):
            for index in table.indexes:
                # PostgreSQL cuts the name so that the ending fits into 63 bytes.
                ours = index.place[-1].startswith(action.place[-1][:50])
                if index.leftover and not index.valid and not index.building and ours:
                    self._connection.execute(
                        f"DROP INDEX CONCURRENTLY IF EXISTS {quoted('postgres', *index.place)}".encode()
                    )

    def size(self, action: Item) -> int:
        for table in self.measure(action.table, exactly=False):
            if action.place == table.place:
                return table.bytes
            return next((index.bytes for index in table.indexes if index.place == action.place), 0)
        return 0

    # How it is done.

    def _rows(self, statement: str, *values: object) -> list[DictRow]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(sql("postgres", statement).encode(), values or None).fetchall()


def _why_no_rebuilds(version: int) -> str:
    """``version``: as ``server_version_num`` says it."""
    if version < 120_000:
        return "PostgreSQL before 12 can't rebuild an index beside its work"
    if 140_000 <= version < 140_004:
        return "an index that PostgreSQL 14.0 to 14.3 rebuilds beside its work may lack rows: update it first"
    return ""


def _waste(size: int, expected: float | None, fillfactor: int, page: int) -> int | None:
    """Bytes beyond what the rows would fill; None where that isn't known."""
    return None if expected is None else max(0, int(size - expected * 100 / fillfactor * page))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
