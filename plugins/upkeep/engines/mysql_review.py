"""What MySQL and MariaDB say about the use of their indexes, their statements, locks and settings. Only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pymysql
from pymysql.constants import ER
from pymysql.cursors import DictCursor

from upkeep.domain.findings import Inspection
from upkeep.domain.masking import mask
from upkeep.domain.names import quoted
from upkeep.domain.review_indexes import Index, judge_indexes, judge_use
from upkeep.domain.review_settings import MYSQL_RULES, Advice, Server, judge_settings
from upkeep.domain.review_statements import Reviewed, Statement, Wait, judge_statements, judge_wait, without_values
from upkeep.engines.degrading import in_a_line
from upkeep.engines.mysql_engine import MySqlEngine, server_release
from upkeep.engines.mysql_statements import limit_statements, text_of
from upkeep.engines.review_host import memory_of
from upkeep.resources import sql

STATEMENT_LIMIT_S = 30
_NO_GRANT = {
    ER.TABLEACCESS_DENIED_ERROR, ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.ACCESS_DENIED_ERROR,
    ER.COLUMNACCESS_DENIED_ERROR,
}  # fmt: skip
_NOT_DYNAMIC = {"performance_schema", "innodb_doublewrite", "innodb_log_file_size"}


def mysql_index_review(engine: MySqlEngine) -> Reviewed:
    """Errors: ``SourceError`` when the server doesn't answer."""
    reviewed = Reviewed()
    with _session(engine) as session:
        indexes: list[Index] = []
        with session.reading(reviewed, "indexes", "SELECT on the database"):
            indexes = session.indexes()
            judge_indexes(reviewed, indexes, server=session.where, drop=_drop)
        with session.reading(reviewed, "the use of indexes", "SELECT ON performance_schema.*"):
            session.judge_use(reviewed, indexes)
    return reviewed


def mysql_statement_review(engine: MySqlEngine) -> Reviewed:
    reviewed = Reviewed()
    with _session(engine) as session:
        if not session.has_performance_schema():
            if session.logs_slow_statements():
                with session.reading(reviewed, "the slow query log", "SELECT ON mysql.slow_log"):
                    judge_statements(reviewed, session.slow_statements(), server=session.where)
            else:
                _unmeasured(reviewed, "statements", session.where)
            return reviewed
        with session.reading(reviewed, "statements", "SELECT ON performance_schema.*"):
            rows = session.all("measure_statements")
            judge_statements(
                reviewed,
                (
                    Statement(
                        str(row["id"]),
                        mask(without_values(str(row["text"] or ""), quotes_are_text=True), engine.secrets),
                        int(row["calls"]),
                        float(row["total_s"]),
                        float(row["worst_s"]),
                    )
                    for row in rows
                ),
                server=session.where,
            )
    return reviewed


def mysql_lock_review(engine: MySqlEngine) -> Inspection:
    """Who waits for rows, and who for a table's definition."""
    inspection = Inspection()
    with _session(engine) as session:
        newer = session.flavour == "mysql" and session.version >= (8,)
        grant = "PROCESS ON *.*" + (" and SELECT ON performance_schema.*" if newer else "")
        with session.reading(inspection, "lock waits", grant):
            for row in session.all("list_lock_waits" if newer else "list_lock_waits_mariadb"):
                _judge_wait(inspection, session, row)
        with session.reading(inspection, "metadata lock waits", "PROCESS ON *.* and SELECT ON performance_schema.*"):
            for row in session.metadata_waits():
                _judge_wait(inspection, session, row, what="the definition of ")
    return inspection


def _judge_wait(inspection: Inspection, session: _Session, row: Mapping[str, Any], *, what: str = "") -> None:
    table = str(row["table_name"] or "a table").replace("`", "").rpartition(".")[2]
    wait = Wait(
        int(row["waiting"]),
        None if row["blocking"] is None else int(row["blocking"]),
        f"{what}{table}",
        float(row["waited_s"] or 0),
        float(row["open_s"] or 0),
        mask(without_values(str(row["query"] or ""), quotes_are_text=True), session.engine.secrets),
    )
    judge_wait(
        inspection, wait, server=session.where, lock_timeout_s=session.engine.lock_timeout_s,
        end=f"KILL {wait.blocking}",
        find="look for a transaction on it that is open for long (SHOW PROCESSLIST); INSTALL SONAME "
        "'metadata_lock_info' on MariaDB names it next time",
    )  # fmt: skip


def mysql_settings_review(engine: MySqlEngine) -> Inspection:
    inspection = Inspection()
    with _session(engine) as session, session.reading(inspection, "settings", "SELECT"):
        values = session.settings()
        if "innodb_redo_log_capacity" in values:
            values.pop("innodb_log_file_size", None)  # shown still, and not used
        data = int(session.all("measure_data")[0]["size"])
        server = Server(memory_of(engine.endpoint), data, values.get("log_bin", "OFF").upper() in ("ON", "1"))
        judge_settings(inspection, MYSQL_RULES, values, server, where=session.server, how=_how)
    return inspection


@dataclass
class _Session:
    engine: MySqlEngine
    cursor: DictCursor
    flavour: str
    version: tuple[int, ...]

    @property
    def server(self) -> str:
        return self.engine.endpoint.address(3306)

    @property
    def where(self) -> str:
        return f"{self.server}/{self.engine.database}"

    def all(self, name: str) -> list[dict[str, Any]]:
        self.cursor.execute(sql("mysql", name))
        return list(self.cursor.fetchall())

    def settings(self) -> dict[str, str]:
        return {str(row["Variable_name"]).lower(): str(row["Value"]) for row in self.all("list_settings")}

    def has_performance_schema(self) -> bool:
        return self.settings().get("performance_schema", "OFF").upper() in ("ON", "1")

    def metadata_waits(self) -> list[dict[str, Any]]:
        """As far as this server keeps count; a row without ``blocking`` doesn't know whom it waits for."""
        if self.has_performance_schema() and int(self.all("list_metadata_instrument")[0]["counts"]):
            return self.all("list_metadata_waits")
        if self.flavour == "mariadb" and int(self.all("list_metadata_plugin")[0]["loaded"]):
            waits: dict[int, dict[str, Any]] = {}
            for row in self.all("list_metadata_waits_mariadb"):
                if row["waiting"] not in waits or row["blocking"] is not None:
                    waits[row["waiting"]] = row
            return list(waits.values())
        return self.all("list_metadata_waits_plain")

    def logs_slow_statements(self) -> bool:
        """Whether into a table: a file is read by the review of logs."""
        settings = self.settings()
        return settings.get("slow_query_log", "OFF").upper() in ("ON", "1") and "TABLE" in settings.get(
            "log_output", ""
        )

    def slow_statements(self) -> list[Statement]:
        """Those of one text as one; it says nothing of the many that were quick."""
        times: dict[str, list[float]] = {}
        for row in self.all("measure_slow_log"):
            plain = mask(without_values(text_of(row["text"]), quotes_are_text=True), self.engine.secrets)
            times.setdefault(plain, []).append(float(row["seconds"]))
        return [
            Statement(sha256(text.encode()).hexdigest()[:16], text, len(each), sum(each), max(each))
            for text, each in times.items()
        ]

    def indexes(self) -> list[Index]:
        keys = self._foreign_keys()
        parts: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for row in self.all("list_all_indexes"):
            parts.setdefault((str(row["TABLE_NAME"]), str(row["INDEX_NAME"])), []).append(row)
        return [_index(table, name, rows, keys.get(table, [])) for (table, name), rows in parts.items()]

    def _foreign_keys(self) -> dict[str, list[tuple[str, ...]]]:
        columns: dict[tuple[str, str], list[str]] = {}
        for row in self.all("list_foreign_keys"):
            columns.setdefault((str(row["table_name"]), str(row["name"])), []).append(str(row["column_name"]))
        found: dict[str, list[tuple[str, ...]]] = {}
        for (table, _), names in columns.items():
            found.setdefault(table, []).append(tuple(names))
        return found

    def judge_use(self, reviewed: Reviewed, indexes: list[Index]) -> None:
        used, measured_for = self._uses()
        if used is None:
            _unmeasured(reviewed, "the use of indexes", self.where)
            return
        counted = [_with_scans(index, used) for index in indexes]
        judge_use(
            reviewed, counted, measured_for, server=self.where, drop=self._hide_then_drop,
            elsewhere=" and no replica's reader",
        )  # fmt: skip

    def _uses(self) -> tuple[Callable[[Index], int | None] | None, timedelta | None]:
        """How often an index was used, and for how long that was counted; None where nobody counts."""
        uptime = timedelta(seconds=int(self.all("measure_uptime")[0]["Value"]))
        if self.has_performance_schema() and int(self.all("list_instruments")[0]["counts"] or 0):
            uses = {(row["table_name"], row["name"]): int(row["uses"]) for row in self.all("measure_index_use")}
            # An index that isn't listed belongs to a table that nobody opened since the start.
            return lambda index: uses.get((index.table, index.name)), uptime
        if self.flavour == "mariadb":
            (userstat,) = self.all("list_userstat")
            if str(userstat["value"]).upper() in ("ON", "1"):
                uses = {(row["table_name"], row["name"]): 1 for row in self.all("measure_index_use_mariadb")}
                since_start = str(userstat["origin"]).upper() != "SQL"
                return lambda index: uses.get((index.table, index.name), 0), uptime if since_start else None
        return None, None

    def _hide_then_drop(self, index: Index) -> str:
        if self.flavour == "mysql" and self.version >= (8,):
            hide = f"ALTER INDEX {quoted('mysql', index.name)} INVISIBLE"
        elif self.flavour == "mariadb" and self.version >= (10, 6):
            hide = f"ALTER INDEX {quoted('mysql', index.name)} IGNORED"
        else:
            return _drop(index)
        return f"ALTER TABLE {quoted('mysql', index.table)} {hide}, and a week later {_drop(index)}"

    @contextmanager
    def reading(self, inspection: Inspection, what: str, grant: str) -> Iterator[None]:
        """What can't be read is said, with the grant that is missing, and the rest is read."""
        try:
            yield
        except pymysql.MySQLError as error:
            if error.args and error.args[0] in _NO_GRANT:
                inspection.unread.append(f"{what} of {self.where} (the account may not read them: GRANT {grant} to it)")
            else:
                inspection.unread.append(f"{what} of {self.where} ({mask(in_a_line(error), self.engine.secrets)})")


@contextmanager
def _session(engine: MySqlEngine) -> Iterator[_Session]:
    with closing(engine.connect()) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(sql("mysql", "list_limits"))
            flavour, version = server_release(str((cursor.fetchone() or {})["version"]))
            limit_statements(connection, STATEMENT_LIMIT_S)
        except pymysql.MySQLError as error:
            raise engine.failed("look into", error) from error
        yield _Session(engine, cursor, flavour, version)


def _index(table: str, name: str, rows: list[Mapping[str, Any]], foreign_keys: list[tuple[str, ...]]) -> Index:
    columns = tuple(str(row["COLUMN_NAME"]) for row in rows)
    primary = name == "PRIMARY"
    unique = not int(rows[0]["NON_UNIQUE"])
    return Index(
        table=table,
        name=name,
        keys=tuple(_key(row) for row in rows),
        method=str(rows[0]["INDEX_TYPE"]).lower(),
        unique=unique,
        primary=primary,
        constraint=unique,  # to MySQL they are the same
        needed="a foreign key needs it" if any(columns[: len(key)] == key for key in foreign_keys) else "",
    )


def _key(row: Mapping[str, Any]) -> str:
    key = f"({row['EXPRESSION']})" if row.get("EXPRESSION") else str(row["COLUMN_NAME"])
    key += f"({row['SUB_PART']})" if row["SUB_PART"] else ""
    return f"{key} DESC" if row["COLLATION"] == "D" else key


def _with_scans(index: Index, used: Callable[[Index], int | None]) -> Index:
    return Index(**{**vars(index), "scans": used(index)})


def _drop(index: Index) -> str:
    return f"ALTER TABLE {quoted('mysql', index.table)} DROP INDEX {quoted('mysql', index.name)}"


def _unmeasured(inspection: Inspection, what: str, where: str) -> None:
    inspection.add(
        "not-measured",
        f"{what} of {where}",
        "low",
        f"{what} of {where} can't be reviewed: performance_schema is off, or doesn't count them",
        "performance_schema=ON under [mysqld] in the server's option file, and a restart (some 200 MB of memory); for "
        "indexes alone MariaDB has userstat=ON, which takes no restart",
    )


def _how(advice: Advice) -> str:
    if advice.setting in _NOT_DYNAMIC:
        return f"{advice.setting}={advice.value} under [mysqld] in the server's option file, and a restart"
    return f"SET GLOBAL {advice.setting} = {advice.value}, and the same under [mysqld] in the server's option file"
