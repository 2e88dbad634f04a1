"""MySQL and MariaDB: the statements of a migration, of which those that change a table's shape commit by themselves."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pymysql
from pymysql.constants import ER

from upkeep.domain.migration import Statement
from upkeep.engines import mysql_catalogue
from upkeep.engines.migration_base import REHEARSAL_LIMIT_S, MigrationSession
from upkeep.engines.mysql_errors import is_about_the_connection
from upkeep.errors import MigrationFailed, MigrationLost, UpkeepError
from upkeep.resources import sql

LOCK_NOT_HAD = (ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK)
_NOT_THIS_WAY = (1845, 1846, 1221, ER.PARSE_ERROR)
"""ER_ALTER_OPERATION_NOT_SUPPORTED and its kin: nothing was done, another way may do."""
_WAYS = (
    ("ALGORITHM=INSTANT", "INSTANT: no rows are touched, reads and writes go on"),
    ("ALGORITHM=INPLACE{also}LOCK=NONE", "INPLACE, LOCK=NONE: reads and writes go on, but for moments at both ends"),
    ("ALGORITHM=INPLACE{also}LOCK=SHARED", "INPLACE, LOCK=SHARED: writes to the table wait until it is done"),
)
"""From the lightest on, as the server itself chooses."""
_VALUE = re.compile(r"(\bentry|\bvalue:?) '.*'(?= for )")
_BY_COPY = "COPY: the table is written anew, and writes to it wait until that is done"


class MySqlMigration(MigrationSession):
    """``beside``: another session on the same server, to end a statement that takes too long."""

    def __init__(self, connection: Any, beside: Callable[[], Any], *, sql_mode: str, **settings: Any) -> None:
        super().__init__(connection, **settings)
        self._beside = beside
        with self._told("the beginning"):
            self._execute("SET SESSION sql_mode = %s", sql_mode)

    def _run_sql(self, statement: Statement, limit_s: float) -> int:
        return self._run(statement.text, f"statement {statement.number}", limit_s)

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

    def roll_back(self) -> None:
        with self._told("the end of the transaction"):
            self._execute("ROLLBACK")

    def was_committed(self, number: str) -> bool | None:
        return None  # the server keeps no record of it

    def catalogue(self, database: str) -> dict[str, Any]:
        with self._told("a look at the catalogue"):
            mysql_catalogue.prepare(self._connection)
            return mysql_catalogue.catalogue(self._connection, database)

    def _try_ways(self, statement: Statement) -> tuple[int, str]:
        """The lightest way that the server accepts is the one that it takes by itself."""
        what = f"statement {statement.number}"
        comma = bool(re.match(r"ALTER\s+(ONLINE\s+|IGNORE\s+)*TABLE\b", statement.bare, re.IGNORECASE))
        index = re.match(r"(CREATE\s+(UNIQUE\s+)?|DROP\s+)INDEX\b", statement.bare, re.IGNORECASE)
        if not (comma or index) or re.search(r"\b(ALGORITHM|LOCK)\s*=?\s*\w", statement.bare, re.IGNORECASE):
            return self._run(statement.text, what, REHEARSAL_LIMIT_S), "locks: those of its kind, not measured"
        unclear = False
        for clause, words in _WAYS:
            # On a line of its own: the statement may end with a comment.
            text = f"{statement.text}\n{', ' if comma else ' '}{clause.format(also=', ' if comma else ' ')}"
            try:
                return self._run(text, what, REHEARSAL_LIMIT_S), words
            except MigrationFailed as error:
                number = _number(error.__cause__)
                if number not in _NOT_THIS_WAY:
                    break  # whatever it is, the statement as it stands meets it too, and tells it best
                unclear = unclear or number == ER.PARSE_ERROR
        rows = self._run(statement.text, what, REHEARSAL_LIMIT_S)
        return rows, "locks: the server takes no ALGORITHM here, so not measured" if unclear else _BY_COPY

    def _row_locks(self) -> str:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql("mysql", "list_own_row_locks"))
                found = cursor.fetchall()
        except pymysql.MySQLError as error:
            return f"locks: not seen ({_words(error)})"
        return f"{int(found[0]['row_count']):,} rows locked until the commit" if found else "locks: none"

    def _run(self, text: str, what: str, limit_s: float) -> int:
        late = threading.Event()
        session = self._connection.thread_id()

        def end() -> None:
            late.set()
            with suppress(pymysql.MySQLError, UpkeepError, OSError), closing(self._beside()) as other:
                other.query(f"KILL QUERY {session}")

        with self._told(what, late=late, limit_s=limit_s):
            self._execute(sql("mysql", "set_migration_session"), self._lock_timeout_s, self._lock_timeout_s)
            timer = threading.Timer(limit_s, end)
            timer.start()
            try:
                return self._execute(text)
            finally:
                timer.cancel()
                timer.join()  # it must not end the next statement

    def _execute(self, statement: str, *values: object) -> int:
        with self._connection.cursor() as cursor:
            return int(cursor.execute(statement, values or None))

    @contextmanager
    def _told(self, what: str, *, late: threading.Event | None = None, limit_s: float = 0) -> Iterator[None]:
        try:
            yield
        except pymysql.MySQLError as error:
            if late and late.is_set():
                raise MigrationFailed(
                    f"{what} failed: it was ended after {limit_s:g} s, its limit",
                    hint="live is larger or busier than the copy: see what it waited for, and rehearse again",
                ) from error
            if _number(error) in LOCK_NOT_HAD:
                raise MigrationFailed(
                    f"{what} failed: another session uses what it has to lock, and did not let go within "
                    f"{self._lock_timeout_s} s (lock_timeout_s)",
                    hint="see who it is (SHOW PROCESSLIST, INNODB_TRX); try again when it is quiet",
                ) from error
            if is_about_the_connection(error):
                raise MigrationLost(
                    f"{what}: the connection was lost: {_words(error)}",
                    hint="see the server's log and SHOW PROCESSLIST",
                ) from error
            raise MigrationFailed(
                f"{what} failed: {_words(error)}", hint="mend the migration, then rehearse it again"
            ) from error


def _number(error: BaseException | None) -> int:
    return int(error.args[0]) if isinstance(error, pymysql.MySQLError) and error.args else 0


def _words(error: pymysql.MySQLError) -> str:
    """Without the values of rows, which are nobody's business: Duplicate entry 'li@example.com' for key 'email'."""
    return _VALUE.sub(r"\1 '...'", " ".join(str(error.args[-1] if error.args else error).split()))
