"""Care of tables of MySQL and MariaDB.

**OPTIMIZE** rebuilds an InnoDB table beside its work, and needs it alone for a moment at both ends. Whoever comes
meanwhile queues up behind it, so it waits for ``lock_timeout_s`` at the most. A transaction that has *read* the table
and now writes to it doesn't queue: it fails with a deadlock, since the server always sacrifices it and never the
rebuild (seen on MariaDB 10.11 and MySQL 9.7; no setting changes that). So a rebuild of a table that is being written
only begins in a second in which nobody on the server begins or ends a transaction of several statements; where there is
no such second within a minute, it is left. What comes up only while the rebuild is under way can still meet its end;
what autocommits, or writes before it reads, never fails.

**LOCAL**: it isn't written to the binary log, else each replica would rebuild the table too and fall behind by as much.
Replicas keep their own waste; they are tended by a site file of their own.

What a session began on the server goes on when this worker is killed. MariaDB ends it with the window; MySQL has no
such limit for it, and finishes the one table.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pymysql
from pymysql.connections import Connection
from pymysql.constants import ER
from pymysql.cursors import DictCursor

from upkeep.domain.table_care import Item, Server, TableFacts
from upkeep.engines.degrading import in_a_line
from upkeep.engines.host_figures import disk_figures
from upkeep.engines.mysql_engine import server_release
from upkeep.engines.mysql_session import MySqlSession
from upkeep.engines.mysql_statements import limit_statements, rows_of
from upkeep.engines.table_care import LOOK_EVERY_S, STATEMENT_LIMIT_S, Ended, NotNow, TableCareSession, WhyStop, watched
from upkeep.engines.writes_held import NO_PRIVILEGE
from upkeep.errors import SourceError
from upkeep.resources import sql

QUIET_S = 1.0
"""How long no transaction of several statements must be seen."""
QUIET_LOOKS_S = 0.11
"""InnoDB renews what it tells of transactions every 0.1 s."""
QUIET_PATIENCE_S = 60.0
WRITTEN_LATELY_S = 60
"""A table that wasn't written for so long is hardly read by somebody who is about to write to it."""
LINGERING_S = 1
"""Nobody knows what an open transaction of that age has read."""

ALWAYS_FREE = 4 * 1_048_576
"""InnoDB extends a file by four extents at a time, so that much is free in a new one."""
INDEX_SLACK, INDEX_SPARE = 1.25, 1_048_576
"""What a healthy index holds beyond its leaves: inner pages, an eighth that a segment keeps free, part of an extent."""

_NOT_HAD = {ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK}
_TIME_UP = {1969, 3024}
"""MariaDB's max_statement_time, MySQL's max_execution_time."""
_NOT_HAD_WORDS = ("lock wait timeout", "deadlock")
_LOG_LIMIT = "innodb_online_alter_log_max_size"


class MySqlTableCare(MySqlSession, TableCareSession):
    def __enter__(self) -> Self:
        with self._told("prepare the care of tables of"), ExitStack() as stack:
            self._connection = stack.enter_context(closing(self.engine.connect()))
            self._set_up()
            self._stack = stack.pop_all()
        return self

    def _set_up(self) -> None:
        rows = self._rows(sql("mysql", "list_care_server"))
        self._facts = {str(row["Variable_name"]).lower(): str(row["Value"]) for row in rows}
        self.flavour, self.version = server_release(self._facts["version"])
        wait = self.engine.lock_timeout_s
        self._rows(sql("mysql", "set_care_patience"), wait, wait)
        self._rows(sql("mysql", "set_fresh_statistics"))
        limit_statements(self._connection, STATEMENT_LIMIT_S)
        self.server = Server("mysql", self.version, why_no_rebuilds=self._why_no_rebuilds())

    def _free(self) -> tuple[int | None, str]:
        """Free bytes below the server's data, if it runs on this machine: it has our name, and its folder is here."""
        folder = Path(self._facts.get("datadir", ""))
        if self._facts.get("hostname") != socket.gethostname():
            return None, f"the server runs on {self._facts.get('hostname') or 'another machine'}"
        measured = disk_figures("here", [folder])
        free = next((int(m.value) for m in measured.readings if m.metric == "disk_free_bytes"), None)
        return free, "" if free is not None else f"{folder} can't be seen from here"

    def _why_no_rebuilds(self) -> str:
        if self._facts.get("wsrep_on", "OFF").upper() in ("ON", "1"):
            return "this is a Galera cluster, which holds all writes everywhere for the length of a rebuild"
        if self._facts.get("innodb_optimize_fulltext_only", "OFF").upper() == "ON":
            return "innodb_optimize_fulltext_only is on, so OPTIMIZE rebuilds nothing"
        how = self._facts.get("old_alter_table", "OFF").upper(), self._facts.get("alter_algorithm", "DEFAULT").upper()
        if how[0] in ("ON", "1", "COPY") or how[1] == "COPY":
            return "the server is set to copy tables when it alters them (old_alter_table), which blocks writes"
        return ""

    # What tables are like.

    def measure(self, table: str | None = None) -> list[TableFacts]:
        notes: list[str] = []
        with self._told("measure the tables of"):
            ages = self._ages(notes)
            pages = self._unused_pages(notes)
            own = self._own_files(notes)
            found = self._rows(sql("mysql", "measure_table_care"), table, table)
        free, why = self._free()
        self.server = replace(self.server, free=free, why_free_unknown=why)
        self.notes = tuple(notes)
        return [self._described(row, ages, pages, own) for row in found]

    def _described(
        self,
        row: Mapping[str, Any],
        ages: Mapping[str, tuple[float, float]] | None,
        unused: Mapping[str, int],
        own: Mapping[str, int] | None,
    ) -> TableFacts:
        name, storage = str(row["name"]), str(row["storage"])
        kind = "table" if row["kind"] in ("BASE TABLE", "SYSTEM VERSIONED") else str(row["kind"]).lower()
        shared = bool(int(row["shared"])) or (own is not None and name not in own)
        partitioned = bool(int(row["partitioned"]))
        free = 0 if shared else int(row["free_bytes"])
        size = (own or {}).get(name) or int(row["used_bytes"]) + free
        made = (ages or {}).get(name)
        updated = row["updated_at"]
        why_not = ""
        if partitioned:
            why_not = "it is partitioned, and InnoDB can only rebuild all of it at once"
        elif shared:
            why_not = "it lies in a tablespace that it shares, which never gets smaller"
        elif int(row["blocking_index"]):
            why_not = "it has a FULLTEXT or SPATIAL index, so its rebuild would block writes"
        return TableFacts(
            engine="mysql",
            place=(name,),
            kind=kind,
            bytes=size,
            rows=int(row["row_estimate"]),
            waste=min(size, max(0, free - ALWAYS_FREE) + unused.get(name, 0)),
            storage=storage,
            why_not=why_not,
            statistics_age=made[1] - made[0] if made else None,
            has_statistics=ages is None or made is not None or not int(row["used_bytes"]),
            changed=None if updated is None or not made else int(float(updated) > made[0]),
        )

    def _ages(self, notes: list[str]) -> dict[str, tuple[float, float]] | None:
        rows = self._allowed(
            sql("mysql", "measure_statistics"), notes, "how old statistics are", "SELECT on mysql.innodb_table_stats"
        )
        if rows is None:
            return None
        ages: dict[str, tuple[float, float]] = {}
        for row in rows:
            # Each partition has statistics of its own, as table#P#partition: the oldest count.
            name = re.split("#P#", str(row["name"]), maxsplit=1, flags=re.IGNORECASE)[0]
            made = float(row["made_at"])
            ages[name] = (min(made, ages[name][0] if name in ages else made), float(row["now"]))
        return ages

    def _unused_pages(self, notes: list[str]) -> dict[str, int]:
        """Bytes of pages that the indexes of each table hold beyond what their leaves explain."""
        rows = self._allowed(
            sql("mysql", "measure_index_pages"),
            notes,
            "what is unused within indexes",
            "SELECT on mysql.innodb_index_stats",
        )
        unused: dict[str, int] = {}
        page = int(self._facts["innodb_page_size"])
        for row in rows or ():
            held, leaves = int(row["held"] or 0) * page, int(row["leaves"] or 0) * page
            name = str(row["name"])
            unused[name] = unused.get(name, 0) + max(0, int(held - leaves * INDEX_SLACK - INDEX_SPARE))
        return unused

    def _own_files(self, notes: list[str]) -> dict[str, int] | None:
        """Bytes by table, of those that have a file of their own; None where that can't be told."""
        newer = self.flavour == "mysql" and self.version >= (8,)
        statement = sql("mysql", "list_tablespaces").format(
            view="INNODB_TABLESPACES" if newer else "INNODB_SYS_TABLESPACES"
        )
        rows = self._allowed(statement, notes, "which tables have a file of their own", "PROCESS")
        if rows is None:
            return None
        named = [(_decoded(str(row["name"])).partition("/"), int(row["bytes"])) for row in rows]
        ours = {table: size for (schema, _, table), size in named if schema == self.engine.database}
        return ours if not any("@" in table for table in ours) else None

    # What stands in the way.

    def oldest_transaction_s(self) -> float:
        with self._told("look for open transactions of"):
            return float(self._seen("measure_oldest_transaction")[0]["oldest_s"])

    def require_quiet(self, action: Item, why_stop: WhyStop) -> None:
        if action.kind != "optimize":
            return
        begun = busy = time.monotonic()
        commits = -1
        with self._told("look for open transactions of"):
            while time.monotonic() - busy < QUIET_S:
                if reason := why_stop():
                    raise Ended(reason)
                open_now = self._seen("measure_open_transactions")[0]
                before, commits = commits, sum(int(row["Value"]) for row in self._rows(sql("mysql", "measure_commits")))
                many = int(open_now["open"]) > 0 or commits != before
                if int(open_now["oldest_s"]) >= LINGERING_S or (many and self._is_written(action)):
                    busy = time.monotonic()
                if busy - begun > QUIET_PATIENCE_S:
                    raise NotNow(
                        "the table is in use, and transactions of several statements are under way all the time: one "
                        "that reads it and then writes to it would fail when the rebuild needs it for itself"
                    )
                time.sleep(QUIET_LOOKS_S)

    def _is_written(self, action: Item) -> bool:
        rows = self._rows(sql("mysql", "measure_last_write"), action.label)
        return bool(rows) and rows[0]["ago"] is not None and float(rows[0]["ago"]) < WRITTEN_LATELY_S

    def _seen(self, statement: str) -> list[dict[str, Any]]:
        """What tells of other sessions' transactions; where it can't be seen, nothing may be risked."""
        try:
            return self._rows(sql("mysql", statement))
        except pymysql.MySQLError as error:
            if error.args[0] not in NO_PRIVILEGE:
                raise
            raise NotNow("this account may not see whether a transaction would be in its way: grant PROCESS") from error

    # Work.

    def apply(self, action: Item, why_stop: WhyStop, seconds: float | None) -> Sequence[str]:
        with self._told(f"{action.kind} {action.label} in"), closing(self.engine.connect()) as beside:
            session = int(self._connection.thread_id())  # type: ignore[no-untyped-call]  # the stubs leave it out
            queue = _Queue(beside, (self.engine.database, action.place[-1]), session, self.engine.lock_timeout_s)
            limit_statements(self._connection, max(1.0, seconds) if seconds is not None else 0)
            try:
                with watched(lambda: why_stop() or queue.why_stop(), lambda: self._kill(session)) as reasons:
                    self._carry_out(action, reasons)
            finally:
                with suppress(pymysql.MySQLError, OSError):
                    limit_statements(self._connection, STATEMENT_LIMIT_S)
        return ()

    def _carry_out(self, action: Item, reasons: Any) -> None:
        try:
            rows = self._rows(action.statement)
        except pymysql.MySQLError as error:
            self._judge(int(error.args[0] or 0), in_a_line(error), reasons)
            raise
        # These statements tell in rows, not by an error, that nothing was done.
        for row in rows:
            words = str(row["Msg_text"])
            if str(row["Msg_type"]).lower() == "error" or words.lower() == "operation failed":
                self._judge(0, words, reasons)
                raise self._failed(action, words)

    def _judge(self, number: int, words: str, reasons: Any) -> None:
        if reasons:
            raise Ended(str(reasons[0]))
        if number in _NOT_HAD or any(known in words.lower() for known in _NOT_HAD_WORDS):
            raise NotNow(
                f"another session uses the table and did not let go of it within lock_timeout_s "
                f"({self.engine.lock_timeout_s} s)"
            )
        if number in _TIME_UP or "max_statement_time" in words:
            raise Ended("the window closed")
        if _LOG_LIMIT in words:
            raise NotNow(
                f"more was written to the table during its rebuild than {_LOG_LIMIT} has room for: raise it on the "
                "server, or let the window begin at a quieter hour"
            )

    def _failed(self, action: Item, words: str) -> SourceError:
        return self.engine.failed(f"{action.kind} {action.label} in", pymysql.OperationalError(0, words))

    def _kill(self, session: int) -> None:
        with suppress(pymysql.MySQLError, SourceError, OSError), closing(self.engine.connect()) as beside:
            beside.query(f"KILL QUERY {session}")

    def size(self, action: Item) -> int:
        found = self.measure(action.table)
        return found[0].bytes if found else 0

    # How it is done.

    def _rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        return rows_of(self._connection, statement, *values)

    @contextmanager
    def _told(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (pymysql.MySQLError, OSError) as error:
            told = error if isinstance(error, pymysql.MySQLError) else pymysql.OperationalError(0, in_a_line(error))
            raise self.engine.failed(verb, told) from error

    def _allowed(self, statement: str, notes: list[str], what: str, grant: str) -> list[dict[str, Any]] | None:
        """The rows; None, and a note, where this account may not see them."""
        try:
            return self._rows(statement)
        except pymysql.MySQLError as error:
            if error.args[0] not in NO_PRIVILEGE:
                raise
            notes.append(f"this account may not see {what}: grant {grant}")
            return None


class _Queue:
    """Who waits for a table of ours while a rebuild is under way.

    ``lock_wait_timeout`` bounds how long the rebuild waits for a table, not how long it then has it: what was written
    meanwhile is caught up with while others wait, and on a server under load that may take its time.
    """

    def __init__(self, beside: Connection[DictCursor], table: tuple[str, str], session: int, limit_s: float) -> None:
        """``table``: the name of its database and its own."""
        self._beside, self._table, self._session, self._limit_s = beside, table, session, limit_s
        self._since: float | None = None

    def why_stop(self) -> str:
        try:
            with self._beside.cursor() as cursor:
                cursor.execute(sql("mysql", "list_sessions"))
                waiting = any(map(self._waits, cursor.fetchall()))
        except (pymysql.MySQLError, OSError):
            return ""  # without this session the rebuild still has its own limits
        now = time.monotonic()
        self._since = (self._since or now) if waiting else None
        # Between two looks the first may have waited before it was seen.
        if self._since is None or now - self._since < self._limit_s - LOOK_EVERY_S:
            return ""
        return f"others had been waiting for a table for lock_timeout_s ({self._limit_s} s)"

    def _waits(self, other: Mapping[str, Any]) -> bool:
        """Sessions of other databases may name the table in full."""
        database, table = self._table
        return (
            int(other["Id"]) != self._session
            and str(other["State"]).startswith("Waiting for table metadata lock")
            and (other["db"] == database or re.search(rf"\b{re.escape(table)}\b", str(other["Info"])) is not None)
        )


def _decoded(name: str) -> str:
    """A table's name from that of its file; letters that InnoDB writes in a way of its own keep their ``@``."""
    return re.sub("@([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), name)
