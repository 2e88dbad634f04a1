"""MySQL and MariaDB: one consistent dump, with the binlog position and the row counts of that very moment."""

from __future__ import annotations

import re
import select
import shlex
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pymysql
from pymysql.constants import ER
from pymysql.cursors import DictCursor

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.masking import mask
from upkeep.engines.base import Engine, Facts, Snapshot, Stream, StructureCheck
from upkeep.engines.pipeline import Command, Ended, hint_for
from upkeep.engines.private_file import private_file
from upkeep.engines.sql_check import SqlDumpCheck
from upkeep.engines.tools import Tool, mysql_dump
from upkeep.errors import SourceError
from upkeep.resources import sql

CONNECT_TIMEOUT_S = 10
NO_PRIVILEGE = {
    ER.ACCESS_DENIED_ERROR,
    ER.SPECIFIC_ACCESS_DENIED_ERROR,
    ER.DBACCESS_DENIED_ERROR,
    ER.TABLEACCESS_DENIED_ERROR,
}


class MySqlEngine(Engine):
    """``lock_timeout_s``: the longest that writes may wait while the snapshots are aligned."""

    def __init__(self, endpoint: Endpoint, database: str, *, lock_timeout_s: int = 5) -> None:
        self.endpoint, self.database, self.lock_timeout_s = endpoint, database, lock_timeout_s
        self.secrets = endpoint.secrets()

    def connect(self) -> pymysql.connections.Connection[DictCursor]:
        where = self.endpoint
        try:
            return pymysql.connect(
                host=where.host or "localhost",
                port=where.port or 3306,
                unix_socket=where.extra.get("unix_socket"),
                user=where.user,
                password=where.secret.encode(),  # PyMySQL would encode text as latin-1, servers expect UTF-8
                database=self.database,
                ssl=where.extra.get("ssl"),
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                cursorclass=DictCursor,
            )
        except pymysql.MySQLError as error:
            raise self._failed("log in to", error) from error

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        with private_file(_option_file(self.endpoint)) as options, self.connect() as connection:
            try:
                snapshot = _MySqlSnapshot(self, connection, options)
            except pymysql.MySQLError as error:
                raise self._failed("look into", error) from error
            try:
                yield snapshot
            finally:
                snapshot.end()

    def restore_command(self, files: Mapping[str, str]) -> str:
        name = self.database.replace("`", "``")
        create = shlex.quote(f"CREATE DATABASE IF NOT EXISTS `{name}`")
        return f"mysql -e {create} && {files['dump.sql']} | mysql --binary-mode {shlex.quote(self.database)}"

    def structure_check(self, stream: str, manifest: Mapping[str, Any]) -> StructureCheck:
        return SqlDumpCheck(tables=manifest["contents"].get("tables", {}))

    def _failed(self, verb: str, error: pymysql.MySQLError) -> SourceError:
        words = mask(str(error.args[-1] if error.args else error), self.secrets)
        return SourceError(
            f"can't {verb} database {self.database!r} on {self.endpoint.host}:{self.endpoint.port or 3306} "
            f"(connection {self.endpoint.conn_id}): {words}",
            hint=hint_for(words, 1),
        )


class _MySqlSnapshot(Snapshot):
    def __init__(
        self, engine: MySqlEngine, connection: pymysql.connections.Connection[DictCursor], options: int
    ) -> None:
        self._engine, self._connection = engine, connection
        server = self._one(sql("mysql", "list_server"))
        self._flavour = "mariadb" if "mariadb" in str(server["version"]).lower() else "mysql"
        numbers = re.match(r"\d+(?:\.\d+)*", str(server["version"]))
        self._version = tuple(int(part) for part in (numbers[0] if numbers else "0").split("."))
        self._server = server
        self._tool: Tool = mysql_dump(self._flavour, self._version)
        self._tables = self._all(sql("mysql", "list_tables"))
        self._others = self._all(sql("mysql", "list_objects"))
        self._position: dict[str, Any] = {}
        self._aligned = False
        self._why_estimated = ""
        self._counts: dict[str, int] = {}
        self._count_error: BaseException | None = None
        self._counter: threading.Thread | None = None
        self.streams = (Stream("dump.sql", self._dump_command(options), self._started),)

    def _dump_command(self, options: int) -> Command:
        flags = [
            "--single-transaction", "--quick", "--skip-lock-tables",
            "--routines", "--triggers", "--events",
            "--hex-blob", "--default-character-set=utf8mb4", "--max-allowed-packet=1G",
            "--no-tablespaces",
        ]  # fmt: skip
        if self._flavour == "mysql":
            # The position is in the manifest; in the dump it would make a restore on the source's own replica fail.
            flags += ["--set-gtid-purged=OFF"]
        return Command(
            [self._tool.path, f"--defaults-extra-file=/dev/fd/{options}", *flags, "--", self._engine.database],
            pass_fds=(options,),
        )

    def _started(self, output: int) -> None:
        try:
            self._align(output)
        except pymysql.MySQLError as error:
            raise self._engine._failed("align the snapshots of", error) from error

    def _align(self, output: int) -> None:
        """Make this session's snapshot, the binlog position and mysqldump's snapshot the same moment.

        A global read lock is held from before this session's snapshot until mysqldump has opened its own. mysqldump
        prints less than one buffer (4 KiB) before it opens its transaction, so its first output, or its end, shows that
        it has; that needs no privilege to see. Writes wait meanwhile: milliseconds as a rule, ``lock_timeout_s`` at
        the most, each for getting the lock and for holding it.
        """
        self._execute("SET SESSION lock_wait_timeout = %s", self._engine.lock_timeout_s)
        self._execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        try:
            self._execute(sql("mysql", "lock_all"))
        except pymysql.MySQLError as error:
            self._why_estimated = self._why_no_lock(error)
            self._position = {"missing": self._why_estimated}
            return
        try:
            self._execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            self._position = self._read_position()
            readable, _, _ = select.select([output], [], [], self._engine.lock_timeout_s)
            self._aligned = bool(readable)
        finally:
            self._execute("UNLOCK TABLES")
        if not self._aligned:
            self._why_estimated = (
                f"mysqldump did not begin within lock_timeout_s ({self._engine.lock_timeout_s} s), and writes were not "
                "held up any longer"
            )
            self._position = {"missing": self._why_estimated}
            return
        self._counter = threading.Thread(target=self._count, name="row counter", daemon=True)
        self._counter.start()

    def _read_position(self) -> dict[str, Any]:
        if not int(self._server["log_bin"]):
            return {"missing": "the server writes no binary log (log_bin is off)"}
        # SHOW MASTER STATUS is gone from MySQL 8.4 on; MariaDB and older MySQL know nothing else.
        newer = self._flavour == "mysql" and self._version >= (8, 2)
        try:
            status = self._one(sql("mysql", "list_binary_log_status" if newer else "list_master_status"))
        except pymysql.MySQLError as error:
            if error.args[0] not in NO_PRIVILEGE:
                raise
            need = "BINLOG MONITOR" if self._flavour == "mariadb" else "REPLICATION CLIENT"
            return {"missing": f"the account may not read it: grant {need}"}
        position = {"file": status["File"], "position": int(status["Position"])}
        gtid = status.get("Executed_Gtid_Set") or self._mariadb_gtid(position)
        return {**position, "gtid": gtid.replace("\n", "")} if gtid else position

    def _mariadb_gtid(self, position: Mapping[str, Any]) -> str:
        if self._flavour != "mariadb":
            return ""
        row = self._one(sql("mysql", "list_mariadb_gtid"), position["file"], position["position"])
        return str(row["gtid"] or "")

    def _why_no_lock(self, error: pymysql.MySQLError) -> str:
        number = error.args[0] if error.args else 0
        if number in NO_PRIVILEGE:
            return "the account may not hold writes for a moment: grant RELOAD"
        if number == ER.LOCK_WAIT_TIMEOUT:
            return f"a long statement kept the read lock away for lock_timeout_s ({self._engine.lock_timeout_s} s)"
        raise error

    def _count(self) -> None:
        try:
            for table in self._tables:
                name = table["name"].replace("`", "``")
                row = self._one(f"SELECT COUNT(*) AS row_count FROM `{name}`")  # noqa: S608 - a quoted identifier
                self._counts[table["name"]] = int(row["row_count"])
        except BaseException as error:  # carried over to the thread that asks for the figures
            self._count_error = error

    def facts(self, ended: Mapping[str, list[Ended]]) -> Facts:
        if self._counter:
            self._counter.join()
        warnings = [line for end in ended.get("dump.sql", ()) for line in end.lines]
        if self._count_error:
            self._why_estimated = f"counting rows failed: {mask(str(self._count_error), self._engine.secrets)}"
        exact = self._aligned and not self._count_error
        if not exact:
            warnings.append(f"row counts are the server's estimates: {self._why_estimated}")
        if "missing" in self._position:
            warnings.append(f"no binlog position: {self._position['missing']}")
        loose = [table for table in self._tables if not table["transactional"]]
        warnings += [
            f"table {table['name']!r} uses {table['engine']}, which has no transactions: rows written during the dump "
            "may be half in it"
            for table in loose
        ]
        return Facts(
            source={
                "database": self._engine.database,
                "host": self._engine.endpoint.host,
                "port": self._engine.endpoint.port or 3306,
                "flavour": self._flavour,
                "version": str(self._server["version"]),
                "identity": str(self._server["identity"]),
            },
            tools={"dump": self._tool.label},
            position=self._position,
            contents={
                "tables": {
                    table["name"]: {
                        "rows": self._counts[table["name"]] if exact else int(table["row_estimate"] or 0),
                        "engine": table["engine"],
                    }
                    for table in self._tables
                },
                **{
                    kind: sorted(str(other["name"]) for other in self._others if other["kind"] == kind)
                    for kind in ("views", "routines", "triggers", "events")
                },
            },
            rows_are="exact" if exact else f"estimates: {self._why_estimated}",
            warnings=warnings,
        )

    def end(self) -> None:
        if self._counter and self._counter.is_alive():
            # The dump failed; its counts are of no use, and closing the socket is what ends a running COUNT(*).
            with suppress(OSError, pymysql.MySQLError):
                self._connection._force_close()  # type: ignore[attr-defined]  # close() would wait for the answer
            self._counter.join(timeout=CONNECT_TIMEOUT_S)

    def _execute(self, statement: str, *values: object) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)

    def _all(self, statement: str, *values: object) -> list[dict[str, Any]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def _one(self, statement: str, *values: object) -> dict[str, Any]:
        rows = self._all(statement, *values)
        return rows[0] if rows else {}


def _option_file(endpoint: Endpoint) -> str:
    """A ``[client]`` option file. Values are quoted: a bare ``#`` begins a comment, a bare space is trimmed."""
    settings: dict[str, object] = {"user": endpoint.user, "password": endpoint.secret}
    if socket := endpoint.extra.get("unix_socket"):
        settings["socket"] = socket
    else:
        settings |= {"host": endpoint.host or "localhost", "port": endpoint.port or 3306, "protocol": "tcp"}
    for key, value in (endpoint.extra.get("ssl") or {}).items():
        if key in ("ca", "cert", "key"):
            settings[f"ssl-{key}"] = value
    return "[client]\n" + "".join(f"{key}={_quoted(str(value))}\n" for key, value in settings.items())


def _quoted(value: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        value = value.replace(plain, escaped)
    return f'"{value}"'
