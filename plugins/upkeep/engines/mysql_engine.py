"""MySQL and MariaDB: one consistent dump, with the binlog position and the row counts of that very moment."""

from __future__ import annotations

import json
import select
import shlex
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pymysql
from pymysql.cursors import DictCursor

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.masking import mask
from upkeep.engines import keep_alive
from upkeep.engines.background import in_background
from upkeep.engines.base import Engine, Facts, Snapshot, StartAgain, Stream, StructureCheck
from upkeep.engines.evidence import Evidence
from upkeep.engines.mysql_accounts import GRANTS, GrantsCheck, read_accounts
from upkeep.engines.mysql_catalogue import gather
from upkeep.engines.mysql_dump import (
    KEEPS_HISTORY,
    MAIN,
    dump_words,
    has_expressions,
    has_sequences,
    may_pass_as_bytes,
    shares_of,
    stream_names,
)
from upkeep.engines.mysql_dump_programs import LocalPrograms, PodPrograms, Programs
from upkeep.engines.mysql_errors import is_about_the_connection, turns_away
from upkeep.engines.mysql_grants import blind_spots
from upkeep.engines.mysql_statements import quoted, rows_of, run
from upkeep.engines.pipeline import Command, Ended, hint_for
from upkeep.engines.pod_wire import WireCut
from upkeep.engines.private_file import private_file
from upkeep.engines.sql_check import SqlDumpCheck
from upkeep.engines.tools import Tool, numbers
from upkeep.engines.writes_held import NO_PRIVILEGE, NotHeld, writes_held
from upkeep.errors import LoginRefused, SourceError
from upkeep.resources import sql

if TYPE_CHECKING:
    from upkeep.engines.pod import Pod

CONNECT_TIMEOUT_S = 10
LOGIN_WITHIN_S = 30
"""A server that hangs still takes connections, and then says nothing: so long may each answer of a login take."""
_KEEP_ALIVE = {
    socket.TCP_KEEPIDLE: keep_alive.IDLE_S,
    socket.TCP_KEEPINTVL: keep_alive.EVERY_S,
    socket.TCP_KEEPCNT: keep_alive.TIMES,
}
"""PyMySQL switches it on, and leaves the times to the system."""


class MySqlEngine(Engine):
    """``lock_timeout_s``: the longest that writes may wait while the snapshots are aligned.

    ``dump_streams``: how many mysqldumps may share a large database.
    ``checksum_under_mb``: the content of tables up to this size is fingerprinted within the snapshot.
    ``with_passwords``: keep the accounts' password hashes. Only ask for it when the backup is encrypted.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        database: str,
        *,
        lock_timeout_s: int = 5,
        dump_streams: int = 1,
        checksum_under_mb: int = 0,
        with_passwords: bool = False,
        pod: Pod | None = None,
    ) -> None:
        """``pod``: where the server runs, if it can only be reached there; the endpoint's host isn't used then."""
        self.pod = pod
        # Inside the pod there is no network to protect, and none of the worker's certificates.
        self.endpoint = replace(endpoint, host=pod.where, extra={}) if pod else endpoint
        self.database, self.lock_timeout_s = database, lock_timeout_s
        self.dump_streams, self.checksum_under_mb = dump_streams, checksum_under_mb
        self.with_passwords = with_passwords
        self.secrets = (*endpoint.secrets(), *(pod.secrets if pod else ()))

    def connect(self) -> pymysql.connections.Connection[DictCursor]:
        where = self.endpoint
        tunnel = self.pod.tunnel(where.port or 3306) if self.pod else None
        try:
            connection = pymysql.connect(
                host=where.host or "localhost",
                port=where.port or 3306,
                unix_socket=where.extra.get("unix_socket"),
                user=where.user,
                password=where.secret.encode(),  # PyMySQL would encode text as latin-1, servers expect UTF-8
                database=self.database,
                ssl=_ssl(where),
                charset="utf8mb4",
                sql_mode="NO_ENGINE_SUBSTITUTION",  # a server's ANSI_QUOTES would change how it prints names
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=LOGIN_WITHIN_S,
                cursorclass=DictCursor,
                defer_connect=tunnel is not None,
            )
            if tunnel:
                connection.connect(tunnel.connect())
            elif not where.extra.get("unix_socket"):
                for option, value in _KEEP_ALIVE.items():
                    connection._sock.setsockopt(socket.IPPROTO_TCP, option, value)  # type: ignore[attr-defined]
            connection._read_timeout = None  # type: ignore[attr-defined]  # statements may take their time
            return connection
        except (pymysql.MySQLError, WireCut) as error:
            kind = LoginRefused if turns_away(error) else SourceError
            raise self.failed("log in to", error, beside=tunnel.said if tunnel else "", kind=kind) from error

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        with ExitStack() as stack, self.connect() as connection:
            try:
                snapshot = _MySqlSnapshot(self, connection, self._programs(stack), stack)
            except pymysql.MySQLError as error:
                raise self.failed("look into", error) from error
            try:
                yield snapshot
            finally:
                snapshot.end()

    def restore_command(self, files: Mapping[str, str], facts: Facts) -> str:
        """mysql takes a dump that broke off for a whole one, so when unpacking fails it is fed something it refuses."""
        # MariaDB's newer packages have no program called mysql, and MySQL's refuses the first line of MariaDB's dumps.
        program = "mariadb" if facts.tools["dump"].startswith("mariadb-dump ") else "mysql"
        # In GBK or Big5, which an operator's own option file may name, a backslash may be half a character.
        client = f"{program} --default-character-set=utf8mb4"
        create = (
            f"CREATE DATABASE IF NOT EXISTS {quoted(self.database)} "
            f"CHARACTER SET {facts.source['character_set']} COLLATE {facts.source['collation']}"
        )
        # The main stream last: its views want their tables, and only their own.
        extra = [line for name, line in files.items() if name not in (MAIN, GRANTS)]
        unpacked = " && ".join([*extra, files[MAIN]])
        line = (
            f"{client} -e {shlex.quote(create)} && "
            f"({unpacked} || printf '\\n!the dump is damaged!\\n') | "
            # Without --comments the client cuts the comments out of routines, triggers and events.
            f"{client} --binary-mode --comments --max-allowed-packet=1G {shlex.quote(f'--database={self.database}')}"
        )
        if facts.source["wide_columns"]:
            # A dump doubles what it escapes or writes as digits: a row that once fitted into max_allowed_packet may not
            # fit again. An account that may not change it goes on with what there is.
            line = f"{client} -e 'SET GLOBAL max_allowed_packet=1073741824'; {line}"
        if GRANTS in files:
            # Only told: whoever restores a copy to look at it doesn't want the accounts. --force goes on over rights on
            # what was dropped long ago, which a server keeps.
            step = f"{files[GRANTS]} | {client} --force"
            line += f" && echo {shlex.quote(f'now the accounts and their rights: {step}')}"
        return line

    def structure_check(self, stream: str, manifest: Mapping[str, Any]) -> StructureCheck:
        if stream == GRANTS:
            return GrantsCheck(manifest["contents"].get("grants", {}))
        tables = manifest["contents"].get("tables", {})
        return SqlDumpCheck({name: table for name, table in tables.items() if table.get("stream", MAIN) == stream})

    @contextmanager
    def told(self, verb: str) -> Iterator[None]:
        """Tell in a sentence what the server refuses in the block: can't <verb> database. Errors: ``SourceError``."""
        try:
            yield
        except pymysql.MySQLError as error:
            raise self.failed(verb, error) from error

    def _programs(self, stack: ExitStack) -> Programs:
        if self.pod is None:
            return LocalPrograms(stack, option_file(self.endpoint))
        return PodPrograms(stack, option_file(replace(self.endpoint, host="127.0.0.1")), self.pod)

    def failed(
        self,
        verb: str,
        error: pymysql.MySQLError | WireCut,
        *,
        beside: str = "",
        kind: type[SourceError] = SourceError,
    ) -> SourceError:
        """``beside``: what else was said on the way there."""
        said = str(error.args[-1] if error.args else error)
        words = mask("; ".join(text for text in (said, beside) if text), self.secrets)
        place = f"{self.endpoint.address(3306)} (connection {self.endpoint.conn_id})"
        return kind(
            f"can't {verb} {f'database {self.database!r} on ' if self.database else ''}{place}: {words}",
            hint=hint_for(words, 1),
        )


class _MySqlSnapshot(Snapshot):
    side_by_side = True

    def __init__(
        self,
        engine: MySqlEngine,
        connection: pymysql.connections.Connection[DictCursor],
        programs: Programs,
        stack: ExitStack,
    ) -> None:
        """``stack``: what the streams read from stays until it ends."""
        self._engine, self._connection, self._programs = engine, connection, programs
        self._server = self._one(sql("mysql", "list_server"))
        self._flavour, self._version = server_release(str(self._server["version"]))
        self._tool: Tool = programs.find(self._flavour, self._version)
        self._execute(sql("mysql", "set_fresh_statistics"))
        self._tables = self._all(sql("mysql", "list_tables"))
        self._others = self._all(sql("mysql", "list_objects"))
        self._as_text = self._found_as_text()
        self._floats = self._all(sql("mysql", "list_float_columns"))
        self._grants = [str(next(iter(row.values()))) for row in self._all(sql("mysql", "list_grants"))]
        self._accounts = read_accounts(connection, engine.database, self._flavour, with_passwords=engine.with_passwords)
        self._grants_stream = self._stream_of_grants(stack)
        self._left_out = self._broken_views()
        self._position: dict[str, Any] = {}
        self._aligned = False
        self._why_estimated = ""
        self._counts: dict[str, int] = {}
        self._evidence = Evidence()
        self._counted: Future[None] | None = None
        self._plan(shares_of(self._tables, self._others, engine.dump_streams, self._as_text))

    def _plan(self, shares: Sequence[Sequence[str]]) -> None:
        extra = stream_names(shares)
        self._moved = {table: name for name, tables in extra.items() for table in tables}
        self._outputs: list[int] = []
        words = dump_words(
            self._tool,
            self._engine.database,
            extra,
            left_out=list(self._left_out),
            as_text=self._as_text,
            history=self._keeps_history,
            sequences=has_sequences(self._others),
        )
        self._gates = [self._programs.gate() for _ in words]
        self.streams = (
            tuple(
                Stream(name, self._programs.command(self._tool, words[name], gate), self._started)
                for name, gate in zip(words, self._gates, strict=True)
            )
            + self._grants_stream
        )

    def _stream_of_grants(self, stack: ExitStack) -> tuple[Stream, ...]:
        if not self._accounts.script:
            return ()
        script = stack.enter_context(private_file(self._accounts.script))
        return (Stream(GRANTS, Command(["cat", f"/dev/fd/{script}"], pass_fds=(script,)), is_small=True),)

    def _broken_views(self) -> dict[str, str]:
        """Views of tables, columns or functions that are gone, with their definitions: mysqldump ends at the first."""
        broken = {}
        for view in (str(other["name"]) for other in self._others if other["kind"] == "views"):
            try:
                self._execute(f"SHOW FIELDS FROM {quoted(view)}")
            except pymysql.MySQLError as error:
                if is_about_the_connection(error):
                    raise
                broken[view] = str(self._one(f"SHOW CREATE VIEW {quoted(view)}")["Create View"])
        return broken

    def _found_as_text(self) -> set[str] | None:
        """The tables and views that keep their stream from passing rows as bytes (docs/adr/0017); None for all."""
        if not may_pass_as_bytes(self._flavour, self._version, self._engine.database, self._engine.endpoint.user):
            return None
        found = {str(row["name"]) for row in self._all(sql("mysql", "list_tables_as_text"))}
        for name in {str(table["name"]) for table in self._tables} - found:
            try:
                made = self._one(f"SHOW CREATE TABLE {quoted(name)}")
            except pymysql.MySQLError as error:
                if is_about_the_connection(error):
                    raise
                found.add(name)  # it is gone, or may not be read: mysqldump will say so
            else:
                if has_expressions(str(made["Create Table"])):
                    found.add(name)
        # mysqldump asks for a view's columns, which in binary fails for some that compare texts.
        return found | {str(other["name"]) for other in self._others if other["kind"] == "views"}

    def _require_the_same_columns(self) -> None:
        """Errors: ``SourceError`` when somebody has made a column meanwhile that would not come back from bytes."""
        if self._as_text is None:
            return
        come = {str(row["name"]) for row in self._all(sql("mysql", "list_tables_as_text"))} - self._as_text
        if come:
            raise SourceError(
                f"database {self._engine.database!r} was changed while its dump began: {', '.join(sorted(come)[:5])} "
                "got a column whose values this dump does not hold as they have to be",
                hint="run the task again",
            )

    @property
    def _keeps_history(self) -> bool:
        return any(table["versioned"] for table in self._tables) and self._tool.version >= KEEPS_HISTORY

    def _started(self, output: int) -> None:
        self._outputs.append(output)
        if len(self._outputs) < len(self._gates):
            return
        try:
            if not self._why_estimated:
                self._align()
            self._require_the_same_columns()
        except pymysql.MySQLError as error:
            raise self._engine.failed("align the snapshots of", error) from error
        if self._aligned:
            self._counted = in_background(self._count, name="row counter")

    def _align(self) -> None:
        """Make this session's snapshot, the binlog position and every mysqldump's snapshot the same moment.

        Each mysqldump is started, but waits for its option file until writes are held: it could otherwise open its
        snapshot before they are. It writes its first output behind the definition of the first table (what it prints
        before it opens its transaction is less than the 4 KiB that the C library collects at least), so that output, or
        its end, shows that it has; no privilege is needed to see it. Writes wait meanwhile: tens of milliseconds as a
        rule, ``lock_timeout_s`` at the most, each for getting the lock and for holding it.

        Errors: ``StartAgain`` when writes can't be held. One mysqldump is consistent even so, several aren't.
        """
        limit_s = self._engine.lock_timeout_s
        self._programs.wait_until_there(CONNECT_TIMEOUT_S)
        try:
            with writes_held(self._engine.connect, self._connection, flavour=self._flavour, limit_s=limit_s):
                begun = time.monotonic()
                self._execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                self._execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
                self._position = self._read_position()
                self._open_gates()
                begins = _are_readable(self._outputs, limit_s)
            if not begins:
                raise NotHeld(
                    f"mysqldump did not begin within lock_timeout_s ({limit_s} s), and writes were not held any longer"
                )
        except NotHeld as reason:
            self._why_estimated = str(reason)
            self._position = {"missing": self._why_estimated}
            if len(self._gates) > 1:
                self._plan(())
                raise StartAgain from reason
            return
        finally:
            self._open_gates()
        self._position["writes_held_s"] = round(time.monotonic() - begun, 3)
        self._aligned = True

    def _open_gates(self) -> None:
        for gate in self._gates:
            gate.open()

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

    def _count(self) -> None:
        for table in self._tables:
            row = self._one(f"SELECT COUNT(*) AS row_count FROM {quoted(table['name'])}")  # noqa: S608 - quoted
            self._counts[table["name"]] = int(row["row_count"])
        self._evidence = gather(
            self._connection,
            self._engine.database,
            under_bytes=self._engine.checksum_under_mb * 1_000_000,
            dumped={table["name"] for table in self._tables},
            only={table["name"] for table in self._tables if table["transactional"]},
            left_out=self._left_out,
        )

    def facts(self, ended: Mapping[str, list[Ended]]) -> Facts:
        not_counted = self._counted.exception() if self._counted else None
        said = [line for ends in ended.values() for end in ends for line in end.lines]
        warnings = list(dict.fromkeys(said))  # what every mysqldump has to say is said once
        if not_counted:
            self._why_estimated = f"counting rows failed: {mask(str(not_counted), self._engine.secrets)}"
        exact = self._aligned and not not_counted
        if not exact:
            warnings.append(f"row counts are the server's estimates: {self._why_estimated}")
        if "missing" in self._position:
            warnings.append(f"no binlog position: {self._position['missing']}")
        warnings += [*self._evidence.warnings, *self._accounts.warnings, *self._warnings_of_contents()]
        return Facts(
            source={
                "database": self._engine.database,
                "host": self._engine.pod.label if self._engine.pod else self._engine.endpoint.host,
                "port": self._engine.endpoint.port or 3306,
                "flavour": self._flavour,
                "version": str(self._server["version"]),
                "identity": str(self._server["identity"]),
                "character_set": str(self._server["charset_name"]),
                "collation": str(self._server["collation_name"]),
                "wide_columns": int(self._server["wide_columns"]),
            },
            tools={"dump": self._tool.label},
            position=self._position,
            contents={
                "tables": {
                    table["name"]: {
                        "rows": self._counts[table["name"]] if exact else int(table["row_estimate"] or 0),
                        "engine": table["engine"],
                        **({"stream": self._moved[table["name"]]} if table["name"] in self._moved else {}),
                        # Outside of every snapshot: what was counted need not be what was dumped.
                        **({} if table["transactional"] else {"rows_are": "counted beside the dump"}),
                        **(self._evidence.of(table["name"]) if exact else {}),
                    }
                    for table in self._tables
                },
                **{
                    kind: sorted(
                        str(other["name"])
                        for other in self._others
                        if other["kind"] == kind and other["name"] not in self._left_out
                    )
                    for kind in ("views", "sequences", "routines", "triggers", "events")
                },
                "left_out": self._left_out,
                **self._accounts.contents,
                **(self._evidence.contents if exact else {}),
            },
            rows_are="exact" if exact else f"estimates: {self._why_estimated}",
            warnings=warnings,
        )

    def _warnings_of_contents(self) -> list[str]:
        """What a reader of the dump has to know about what is in it."""
        floats: dict[str, list[str]] = {}
        for column in self._floats:
            floats.setdefault(str(column["table_name"]), []).append(str(column["column_name"]))
        return [
            *blind_spots(self._grants, self._engine.database, self._flavour),
            *(
                f"view {view!r} is broken (it refers to something that is gone or may not be read) and not dumped; "
                "its definition is in the manifest under contents.left_out"
                for view in self._left_out
            ),
            *(
                f"table {table['name']!r} uses {table['engine']}, which has no transactions: rows written during the "
                "dump may be half in it"
                for table in self._tables
                if not table["transactional"]
            ),
            *(
                f"table {table!r}: mysqldump keeps six significant digits of FLOAT columns ({', '.join(columns)}); "
                "make them DOUBLE if that matters"
                for table, columns in floats.items()
            ),
            *(
                f"table {table['name']!r} is system-versioned, and {self._tool.label} leaves out its past rows: "
                "install mariadb-client 10.11 or newer"
                for table in self._tables
                if table["versioned"] and not self._keeps_history
            ),
        ]

    def end(self) -> None:
        if self._counted and not self._counted.done():
            # The dump failed; its counts are of no use, and closing the socket is what ends a running COUNT(*).
            with suppress(OSError, pymysql.MySQLError):
                self._connection._force_close()  # type: ignore[attr-defined]  # close() would wait for the answer
            wait([self._counted], CONNECT_TIMEOUT_S)

    def _execute(self, statement: str, *values: object) -> None:
        run(self._connection, statement, *values)

    def _all(self, statement: str, *values: object) -> list[dict[str, Any]]:
        return rows_of(self._connection, statement, *values)

    def _one(self, statement: str, *values: object) -> dict[str, Any]:
        rows = self._all(statement, *values)
        return rows[0] if rows else {}


def server_release(version: str) -> tuple[str, tuple[int, ...]]:
    """Flavour and version from what a server says of itself; MariaDB behind a proxy puts ``5.5.5-`` before it."""
    flavour = "mariadb" if "mariadb" in version.lower() else "mysql"
    return flavour, numbers(version.removeprefix("5.5.5-") if flavour == "mariadb" else version)


def _are_readable(descriptors: Sequence[int], within_s: float) -> bool:
    """Whether every one of them has something to read, or is at its end, before the time is over."""
    deadline = time.monotonic() + within_s
    for descriptor in descriptors:
        poll = select.poll()  # select.select refuses descriptors from 1024 on
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return False
    return True


def option_file(endpoint: Endpoint) -> str:
    """A ``[client]`` option file. Values are quoted: a bare ``#`` begins a comment, a bare space is trimmed."""
    settings: dict[str, object] = {"user": endpoint.user, "password": endpoint.secret}
    if path := endpoint.extra.get("unix_socket"):
        settings["socket"] = path
    else:
        settings |= {"host": endpoint.host or "localhost", "port": endpoint.port or 3306, "protocol": "tcp"}
    for key, value in (_ssl(endpoint) or {}).items():
        if key in ("ca", "cert", "key"):
            settings[f"ssl-{key}"] = value
    return "[client]\n" + "".join(f"{key}={_quoted(str(value))}\n" for key, value in settings.items())


def _ssl(endpoint: Endpoint) -> dict[str, Any] | None:
    """Airflow's MySQL connections hold these settings as an object, or as its JSON text."""
    settings = endpoint.extra.get("ssl")
    return json.loads(settings) if isinstance(settings, str) else settings


def _quoted(value: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        value = value.replace(plain, escaped)
    return f'"{value}"'
