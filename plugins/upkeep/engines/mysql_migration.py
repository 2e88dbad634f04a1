"""MySQL and MariaDB: the statements of a migration, of which those that change a table's shape commit by themselves."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import pymysql
from pymysql.constants import ER

from upkeep.domain.sql_statements import Statement, without_strings
from upkeep.engines import mysql_catalogue
from upkeep.engines.migration_base import REHEARSAL_LIMIT_S, MigrationSession
from upkeep.engines.mysql_errors import is_about_the_connection
from upkeep.engines.stopping import told_to_stop
from upkeep.errors import MigrationFailed, MigrationLost, MigrationRefused, Stopped, UpkeepError
from upkeep.resources import sql

MOST_TOLD = 10
LOCK_NOT_HAD = (ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK)
_NOT_THIS_WAY = (1845, 1846, 1221, ER.PARSE_ERROR)
"""ER_ALTER_OPERATION_NOT_SUPPORTED and its kin: nothing was done, another way may do."""
_WAYS = (
    ("ALGORITHM=INSTANT", "INSTANT: no rows are touched, reads and writes go on"),
    ("ALGORITHM=INPLACE{also}LOCK=NONE", "INPLACE, LOCK=NONE: reads and writes go on, but for moments at both ends"),
    ("ALGORITHM=INPLACE{also}LOCK=SHARED", "INPLACE, LOCK=SHARED: writes to the table wait until it is done"),
)
"""From the lightest on, as the server itself chooses."""
_NOT_ALL_TAKEN_BACK = 1196
"""ER_WARNING_NOT_COMPLETE_ROLLBACK, which MySQL and MariaDB have in common."""
_NEAR = re.compile(r"(?<= near ').*(?=' at line \d+$)")
_QUOTE = re.compile("['\"]")
_VALUE = re.compile(r"(\bentry|\bvalue:?) '(?:.*'(?= for )|.*$)")
_BY_COPY = "COPY: the table is written anew, and writes to it wait until that is done"


class MySqlMigration(MigrationSession):
    def __init__(self, connection: Any, beside: Callable[[], Any], *, sql_mode: str, **settings: Any) -> None:
        super().__init__(connection, beside, **settings)
        with self._told("the beginning"):
            self._execute("SET SESSION sql_mode = %s", sql_mode)
            self._own = self._rows(connection, "list_own_session")[0]

    def _run_sql(self, statement: Statement, limit_s: float) -> int:
        return self._run(statement, statement.text, limit_s)

    def _rehearse_sql(self, statement: Statement, whole: bool) -> tuple[int, str]:
        if statement.by_itself:
            return self._try_ways(statement)
        if not whole:
            self.begin()
        rows = self.run(statement, limit_s=REHEARSAL_LIMIT_S)
        locks = self._row_locks()
        if not whole:
            self.commit()
        return rows, locks

    def begin(self) -> str:
        with self._told("the beginning of the transaction"):
            self._execute("START TRANSACTION")
        return ""

    def commit(self) -> None:
        with self._told("the commit"):
            self._execute("COMMIT")

    def roll_back(self) -> bool:
        with self._told("the end of the transaction"):
            self._execute("ROLLBACK")
            warnings = self._connection.show_warnings()
        return _NOT_ALL_TAKEN_BACK not in {int(number) for _, number, _ in warnings}

    def was_committed(self, number: str) -> bool | None:
        return None  # the server keeps no record of it

    def catalogue(self, database: str) -> dict[str, Any]:
        with self._told("a look at the catalogue"):
            mysql_catalogue.prepare(self._connection)
            return mysql_catalogue.catalogue(self._connection, database)

    def tables_without_transactions(self) -> list[str]:
        with self._told("a look at the tables"):
            found = self._rows(self._connection, "list_tables")
        return [f"{row['name']} ({row['engine']})" for row in found if not row["transactional"]]

    def cut_off(self) -> list[str]:
        with self._told("a look for tables of other servers"):
            far = self._rows(self._connection, "list_far_tables")
        if far:
            raise MigrationRefused(
                "tables of the copy lie on other servers, where the rehearsal would change what it tries out: "
                + ", ".join(f"{row['name']} ({row['engine']})" for row in far[:MOST_TOLD]),
                hint="run this migration by hand; Upkeep migrates this database once they have left it",
            )
        return []

    def _end_statement(self) -> None:
        with suppress(pymysql.MySQLError, UpkeepError, OSError), closing(self._beside()) as beside:
            beside.query(f"KILL QUERY {int(self._own['id'])}")

    def _end_self(self) -> list[int]:
        return self._end_by("list_session", self._own["id"], self._own["user_name"], self._own["place"])

    def _end_later(self) -> list[int]:
        machine, colon, _ = self._own["place"].rpartition(":")
        return self._end_by("list_later_sessions", self._own["id"], self._own["user_name"], machine + colon)

    def _end_by(self, statement: str, *values: object) -> list[int]:
        with self._told("the end of its sessions"), closing(self._beside()) as beside:
            found = [int(row["id"]) for row in self._rows(beside, statement, *values)]
            for session in found:
                with suppress(pymysql.MySQLError):  # it ended by itself meanwhile
                    beside.query(f"KILL {session}")
        return found

    def _try_ways(self, statement: Statement) -> tuple[int, str]:
        """The lightest way that the server accepts is the one that it takes by itself."""
        comma = bool(re.match(r"ALTER\s+(ONLINE\s+|IGNORE\s+)*TABLE\b", statement.bare, re.IGNORECASE))
        index = re.match(r"(CREATE\s+(UNIQUE\s+)?|DROP\s+)INDEX\b", statement.bare, re.IGNORECASE)
        if not (comma or index) or re.search(r"\b(ALGORITHM|LOCK)\s*=?\s*\w", statement.bare, re.IGNORECASE):
            return self._run(statement, statement.text, REHEARSAL_LIMIT_S), "locks: those of its kind, not measured"
        unclear = False
        for clause, words in _WAYS:
            # On a line of its own: the statement may end with a comment.
            text = f"{statement.text}\n{', ' if comma else ' '}{clause.format(also=', ' if comma else ' ')}"
            try:
                return self._run(statement, text, REHEARSAL_LIMIT_S), words
            except MigrationFailed as error:
                number = _number(error.__context__)
                if number not in _NOT_THIS_WAY:
                    break  # whatever it is, the statement as it stands meets it too, and tells it best
                unclear = unclear or number == ER.PARSE_ERROR
        rows = self._run(statement, statement.text, REHEARSAL_LIMIT_S)
        return rows, "locks: the server takes no ALGORITHM here, so not measured" if unclear else _BY_COPY

    def _row_locks(self) -> str:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql("mysql", "list_own_row_locks"))
                found = cursor.fetchall()
        except pymysql.MySQLError as error:
            return f"locks: not seen ({_words(error, None)})"
        return f"{int(found[0]['row_count']):,} rows locked until the commit" if found else "locks: none"

    def _run(self, statement: Statement, text: str, limit_s: float) -> int:
        with ExitStack() as stack:
            late = stack.enter_context(self._looked_after(limit_s))
            stack.enter_context(self._told(f"statement {statement.number}", statement, late, limit_s))
            self._execute(sql("mysql", "set_migration_session"), self._lock_timeout_s, self._lock_timeout_s)
            rows = self._execute(text)
        if statement.by_itself:  # what a procedure began and did not end would be lost with the session
            self.commit()
        return rows

    def _execute(self, statement: str, *values: object) -> int:
        with self._connection.cursor() as cursor:
            return int(cursor.execute(statement, values or None))

    def _rows(self, connection: Any, statement: str, *values: object) -> list[Mapping[str, Any]]:
        with connection.cursor() as cursor:
            cursor.execute(sql("mysql", statement), values or None)
            return list(cursor.fetchall())

    @contextmanager
    def _told(
        self, what: str, statement: Statement | None = None, late: threading.Event | None = None, limit_s: float = 0
    ) -> Iterator[None]:
        try:
            yield
        except pymysql.MySQLError as error:
            # From none: the driver's errors quote the statement.
            raise self._failed(error, what, statement, limit_s if late and late.is_set() else None) from None

    def _failed(
        self, error: pymysql.MySQLError, what: str, statement: Statement | None, limit_s: float | None
    ) -> UpkeepError:
        """``limit_s``: how long it was let run, where it was ended for that."""
        words = _words(error, statement)
        if is_about_the_connection(error):
            return MigrationLost(
                f"{what}: the connection was lost: {words}", hint="see the server's log and SHOW PROCESSLIST"
            )
        if told_to_stop() and _number(error) == ER.QUERY_INTERRUPTED:
            return Stopped(
                f"{what} was ended on the server, for the task was told to stop",
                hint="start it again: it says how to go on",
            )
        if limit_s is not None:
            return MigrationFailed(
                f"{what} failed: it was ended after {limit_s:g} s, its limit",
                hint="live is larger or busier than the copy: see what it waited for, and rehearse again",
            )
        if _number(error) in LOCK_NOT_HAD:
            return MigrationFailed(
                f"{what} failed: another session uses what it has to lock, and did not let go within "
                f"{self._lock_timeout_s} s (lock_timeout_s)",
                hint="see who it is (SHOW PROCESSLIST, INNODB_TRX); try again when it is quiet",
            )
        return MigrationFailed(f"{what} failed: {words}", hint="fix the migration, then rehearse it again")


def _number(error: BaseException | None) -> int:
    return int(error.args[0]) if isinstance(error, pymysql.MySQLError) and error.args else 0


def _words(error: pymysql.MySQLError, statement: Statement | None) -> str:
    """Without the values of rows, which are nobody's business: Duplicate entry 'li@example.com' for key 'email'."""
    words = " ".join(str(error.args[-1] if error.args else error).split())
    if _number(error) == ER.PARSE_ERROR:
        # It quotes what is near, cut anywhere: up to the first string; nothing where it says so in another language.
        near = _NEAR.search(words)
        words = f"syntax error near {re.split(_QUOTE, near[0])[0]!r}" if near else "syntax error"
    words = _VALUE.sub(r"\1 '...'", words)
    return without_strings(words, statement) if statement else words
