"""MySQL and MariaDB: a backup loaded into a server, with the indexes made after the rows."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import ER
from pymysql.cursors import DictCursor

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.manifest import Manifest
from upkeep.domain.masking import mask
from upkeep.engines.mysql_engine import MySqlEngine, server_release
from upkeep.engines.mysql_errors import is_about_the_connection
from upkeep.engines.mysql_grants_proof import drop_throwaway
from upkeep.engines.mysql_load import MySqlLoad, said
from upkeep.engines.mysql_statements import quoted, rows_of, run
from upkeep.engines.pipeline import Command
from upkeep.engines.restore_base import Loaded, Read, Restorer
from upkeep.engines.restore_refusals import refused, tool_unusable, unavailable
from upkeep.engines.server_disk import free_bytes_of, is_this_machine
from upkeep.engines.tools import mysql_client
from upkeep.engines.writes_held import NO_PRIVILEGE
from upkeep.errors import NameTaken, RestoreUnavailable, SourceError, ToolError, UpkeepError
from upkeep.resources import sql

OWN_DATABASES = {"mysql", "information_schema", "performance_schema", "sys"}
UNLOGGED = "SET SESSION sql_log_bin = 0"
WIDEST_PACKET = 1 << 30
DROP_WAITS_S = 60
PLUGIN_IS_NOT_LOADED = 1524

_ABOUT_THE_SERVER = {
    *NO_PRIVILEGE,
    28,  # the operating system's words for a full disk
    ER.OUTOFMEMORY, ER.OUT_OF_SORTMEMORY, ER.CON_COUNT_ERROR, ER.OUT_OF_RESOURCES, ER.SERVER_SHUTDOWN, ER.DISK_FULL,
    ER.RECORD_FILE_FULL, ER.NET_PACKET_TOO_LARGE, ER.QUERY_INTERRUPTED, ER.LOCK_WAIT_TIMEOUT, ER.ERROR_ON_WRITE,
    ER.OPTION_PREVENTS_STATEMENT, ER.CANT_CREATE_FILE, ER.HOST_NOT_PRIVILEGED,
    ER.UNKNOWN_CHARACTER_SET, ER.UNKNOWN_COLLATION, ER.UNKNOWN_STORAGE_ENGINE, PLUGIN_IS_NOT_LOADED,
    ER.UNKNOWN_SYSTEM_VARIABLE, ER.BINLOG_UNSAFE_ROUTINE, ER.BINLOG_CREATE_ROUTINE_NEED_SUPER,
    1836,  # read only
    1969,  # MariaDB's max_statement_time
    3161,  # MySQL's disabled_storage_engines
    3675,  # MySQL's words for a tablespace that fills the disk
    4031,  # MySQL's disconnect for idleness
    6125,  # MySQL's restrict_fk_on_non_standard_key, from 8.4 on
}  # fmt: skip
"""Error numbers that say something about the server or the account there, and nothing about the backup."""
_HINTS = {
    **dict.fromkeys(
        (*NO_PRIVILEGE, ER.BINLOG_UNSAFE_ROUTINE, ER.BINLOG_CREATE_ROUTINE_NEED_SUPER),
        "grant the account all rights there: objects are made in the name of those they belong to",
    ),
    **dict.fromkeys(
        (ER.UNKNOWN_CHARACTER_SET, ER.UNKNOWN_COLLATION, ER.UNKNOWN_STORAGE_ENGINE, PLUGIN_IS_NOT_LOADED,
         ER.UNKNOWN_SYSTEM_VARIABLE),
        "the server lacks what it names: give it the source's release and plugins",
    ),
    ER.NET_PACKET_TOO_LARGE: "set max_allowed_packet = 1G on that server, or let the account change it",
}  # fmt: skip


class MySqlRestorer(Restorer):
    def __init__(self, endpoint: Endpoint, *, live: bool = False) -> None:
        self.endpoint, self.live = endpoint, live
        self.secrets = endpoint.secrets()

    def identity(self) -> str:
        return str(self._server()["identity"])

    def databases(self) -> list[str]:
        with self._connected() as connection:
            names = [str(next(iter(row.values()))) for row in rows_of(connection, "SHOW DATABASES")]
        return [name for name in names if name.lower() not in OWN_DATABASES]

    def free_bytes(self) -> int | None:
        with self._connected() as connection:
            place = rows_of(connection, sql("mysql", "list_data_folder"))[0]
            with suppress(pymysql.MySQLError):  # MariaDB's plugin DISKS: seldom installed, and not for every account
                disks = rows_of(connection, sql("mysql", "list_disks"), place["folder"])
                return int(disks[0]["free_bytes"]) if disks else None
        return free_bytes_of(str(place["folder"])) if is_this_machine(self.endpoint.host, str(place["host"])) else None

    def connect(self, database: str) -> Connection[DictCursor]:
        try:
            return MySqlEngine(self.endpoint, database).connect()
        except SourceError as error:
            raise RestoreUnavailable(error.message, hint=error.hint) from error

    def load(
        self,
        manifest: Manifest,
        database: str,
        read: Read,
        *,
        folder: Path,
        jobs: int = 2,
        only: Collection[str] = (),
    ) -> Loaded:
        """``folder`` isn't needed: nothing lies on disk."""
        source = manifest.source
        self._check_release(source)
        try:
            client = mysql_client(str(source["flavour"]))
        except ToolError as error:
            raise tool_unusable(error) from error
        begun = time.monotonic()
        with self._connected() as connection:
            settings, notes = self._settings(connection)
            self._create(connection, database, source)
        if manifest.contents.get("events"):
            notes.append("events are switched off in the copy")
        with self._wide_packets(bool(source.get("wide_columns")), notes):
            seconds, size = MySqlLoad(self, manifest, database, client.path, settings, jobs, only).run(read)
        return Loaded(database, {**seconds, "all": round(time.monotonic() - begun, 3)}, size, tuple(notes))

    def drop(self, database: str) -> None:
        with self._connected() as connection:
            for session in rows_of(connection, sql("mysql", "list_sessions_of_database"), database):
                with suppress(pymysql.MySQLError):  # it ended by itself meanwhile
                    run(connection, f"KILL {int(session['id'])}")
            if not self.live:
                with suppress(pymysql.MySQLError):
                    run(connection, UNLOGGED)
                drop_throwaway(connection, database)
            run(connection, f"SET SESSION lock_wait_timeout = {DROP_WAITS_S}")
            run(connection, f"DROP DATABASE IF EXISTS {quoted(database)}")

    def command(self, client: str, database: str, options: int) -> Command:
        """The stock client, that prints each answer at once. Comments belong to routines; ``\\!`` must run nothing."""
        flags = ["--binary-mode", "--comments", "--batch", "--skip-column-names", "--unbuffered"]
        return Command(
            [client, f"--defaults-file=/dev/fd/{options}", *flags, "--max-allowed-packet=1G",
             "--default-character-set=utf8mb4", f"--database={database}"],
            env={"MYSQL_TEST_LOGIN_FILE": "/dev/null"},
            pass_fds=(options,),
        )  # fmt: skip

    def failed(self, number: int, words: str, what: str, database: str = "") -> UpkeepError:
        """The error for what a server said about ``database``, by its number; 0 for none."""
        message = f"can't {what} on {self.place} {self.endpoint.address(3306)}: " + mask(words, self.secrets)
        if is_about_the_connection(number) or number == 0 or re.search(r"(errno:|error) 28\b", words):
            return unavailable(message)
        elsewhere = re.search(r"Unknown database '(.*)'|Table '([^.]*)\.[^']*' doesn't exist", words)
        if elsewhere and (name := elsewhere[1] or elsewhere[2]) != database:
            hint = f"something in the backup refers to database {name!r}: make it on {self.place} too"
            return unavailable(message, hint=hint)
        if number in _ABOUT_THE_SERVER:
            return unavailable(message, hint=_HINTS.get(number, ""))
        return refused(message)

    @contextmanager
    def _connected(self, database: str = "") -> Iterator[Connection[DictCursor]]:
        with closing(self.connect(database)) as connection:
            try:
                yield connection
            except pymysql.MySQLError as error:
                number, words = said(error)
                message = self.failed(number, words, "work").message
                raise unavailable(message, hint=_HINTS.get(number, "")) from error

    def _server(self) -> dict[str, Any]:
        with self._connected() as connection:
            return rows_of(connection, sql("mysql", "list_server"))[0]

    def _check_release(self, source: Mapping[str, Any]) -> None:
        said = str(self._server()["version"])
        flavour, version = server_release(said)
        if flavour != source["flavour"]:
            raise unavailable(
                f"{self.place} is {flavour} {said}, the backup is from {source['flavour']} {source['version']}",
                hint=f"restore into a server of {source['flavour']}: the two don't take each other's dumps",
            )
        made = server_release(str(source["version"]))[1] if source.get("version") else ()
        if version[:2] < made[:2]:
            raise unavailable(
                f"{self.place} {said} is older than {source['version']}, which the backup is from",
                hint="restore into a server of the source's release or newer",
            )

    def _settings(self, connection: Connection[DictCursor]) -> tuple[list[str], list[str]]:
        """The settings that the account may use on this server, and a note about each that it may not."""
        usable, notes = [], []
        for statement in sql("mysql", "set_loading_session").splitlines():
            if not statement.startswith("SET "):
                continue
            statement = statement.rstrip(";")
            if self.live and statement == UNLOGGED:
                continue  # replicas have to know the tables that are renamed into the live database
            try:
                run(connection, statement)
            except pymysql.MySQLError as error:
                number, words = said(error)
                if is_about_the_connection(number):
                    raise
                if number != ER.UNKNOWN_SYSTEM_VARIABLE:  # the other flavour's, or a newer release's
                    notes.append(f"not used: {statement} ({mask(words, self.secrets)})")
            else:
                usable.append(statement)
        return usable, notes

    def _create(self, connection: Connection[DictCursor], database: str, source: Mapping[str, Any]) -> None:
        try:
            run(
                connection,
                f"CREATE DATABASE {quoted(database)} CHARACTER SET {_word(source['character_set'])} "
                f"COLLATE {_word(source['collation'])}",
            )
        except pymysql.MySQLError as error:
            if said(error)[0] != ER.DB_CREATE_EXISTS:
                raise
            raise NameTaken(
                f"there is already a database {database!r} on {self.place} {self.endpoint.address(3306)}",
                hint="see what it is; if an earlier restore left it, drop it",
            ) from error

    @contextmanager
    def _wide_packets(self, needed: bool, notes: list[str]) -> Iterator[None]:
        """A dump doubles what it escapes or writes as digits: a row that fitted into a packet may not fit again."""
        narrow = 0
        if needed:
            with self._connected() as connection:
                before = int(rows_of(connection, "SELECT @@GLOBAL.max_allowed_packet AS bytes")[0]["bytes"])
                if before < WIDEST_PACKET:
                    try:
                        run(connection, f"SET GLOBAL max_allowed_packet = {WIDEST_PACKET}")
                        narrow = before
                        notes.append(f"max_allowed_packet was raised from {before} bytes to 1 GiB meanwhile")
                    except pymysql.MySQLError as error:
                        notes.append(
                            f"max_allowed_packet stayed at {before} bytes: {mask(said(error)[1], self.secrets)}"
                        )
        try:
            yield
        finally:
            if narrow:
                # A server that is gone has forgotten the setting, and the load's own error is the one to see.
                with suppress(RestoreUnavailable), self._connected() as connection:
                    run(connection, f"SET GLOBAL max_allowed_packet = {narrow}")


def _word(name: object) -> str:
    """A character set or collation, which can't be quoted. Errors: ``ProofFailed`` when it is none."""
    if not re.fullmatch(r"\w+", str(name)):
        raise refused(f"the manifest names a character set {name!r}")
    return str(name)
