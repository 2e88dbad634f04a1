"""PostgreSQL: an archive that pg_restore can use in parallel, plus roles and tablespaces, all from one snapshot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import DictRow, dict_row

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.masking import mask
from upkeep.engines import keep_alive
from upkeep.engines.archive_check import ArchiveCheck, ScriptCheck
from upkeep.engines.background import in_background
from upkeep.engines.base import Engine, Facts, Snapshot, Stream, StructureCheck
from upkeep.engines.evidence import Evidence
from upkeep.engines.pipeline import Ended, hint_for
from upkeep.engines.postgres_catalogue import gather
from upkeep.engines.postgres_dump_programs import LocalPrograms, PodPrograms, Programs
from upkeep.engines.tools import Tool, postgres_tool
from upkeep.errors import LoginRefused, SourceError
from upkeep.resources import sql

if TYPE_CHECKING:
    from upkeep.engines.pod import Pod

CONNECT_TIMEOUT_S = 10
NO_ENCODING = "SQL_ASCII"
"""A database whose server doesn't know which characters its bytes are."""
_TURNED_AWAY = re.compile(
    r"authentication failed|no password supplied|pg_hba\.conf|role .* (does not exist|is not permitted to log in)"
)
"""What a server says to an account that it won't have until a person acts. By its words, for libpq gives no SQLSTATE of
a login that failed; a server that speaks another language is asked again. Not among them: too many clients.
"""


class PostgresEngine(Engine):
    """``lock_timeout_s``: the longest that pg_dump waits for a table somebody is altering before it gives up.

    ``with_passwords``: keep the roles' password hashes. Only ask for it when the backup is encrypted.
    ``checksum_under_mb``: the content of tables up to this size is fingerprinted within the snapshot.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        database: str,
        *,
        lock_timeout_s: int = 5,
        with_passwords: bool = False,
        checksum_under_mb: int = 0,
        pod: Pod | None = None,
    ) -> None:
        """``pod``: where the server runs, if it can only be reached there; the endpoint's host isn't used then."""
        self.pod = pod
        # Inside the pod there is no network to protect, and none of the worker's certificates.
        self.endpoint = replace(endpoint, host=pod.where, extra={}) if pod else endpoint
        self.database, self.lock_timeout_s = database, lock_timeout_s
        self.with_passwords = with_passwords
        self.checksum_under_mb = checksum_under_mb
        self.secrets = (*endpoint.secrets(), *(pod.secrets if pod else ()))

    def connect(self) -> psycopg.Connection[DictRow]:
        where, host, tunnel = self.endpoint, self.endpoint.host, None
        try:
            if self.pod:
                tunnel = self.pod.tunnel(where.port or 5432)
                host = str(tunnel.listen(f".s.PGSQL.{where.port or 5432}"))
            conninfo = psycopg.conninfo.make_conninfo(
                host=host or None,
                port=where.port,
                user=where.user or None,
                password=where.secret or None,
                dbname=self.database,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="upkeep",
                keepalives_idle=keep_alive.IDLE_S,
                keepalives_interval=keep_alive.EVERY_S,
                keepalives_count=keep_alive.TIMES,
                **{key: str(where.extra[key]) for key in _TLS if key in where.extra},
            )
            connection = psycopg.connect(conninfo, row_factory=dict_row)
            if connection.info.parameter_status("server_encoding") == NO_ENCODING:
                # psycopg would hand out bytes instead of text. Latin-1 has a character for every byte, and back again.
                connection.execute("SET client_encoding = 'LATIN1'")
                connection.commit()
            return connection
        except psycopg.Error as error:
            kind = LoginRefused if _TURNED_AWAY.search(str(error)) else SourceError
            raise self.failed("log in to", error, beside=tunnel.said if tunnel else "", kind=kind) from error

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        with ExitStack() as stack, closing(self.connect()) as connection:
            programs = PodPrograms(stack, self.pod, self.endpoint) if self.pod else LocalPrograms(stack, self.pgpass())
            try:
                snapshot = _PostgresSnapshot(self, connection, programs)
            except psycopg.Error as error:
                raise self.failed("look into", error) from error
            try:
                yield snapshot
            finally:
                snapshot.end()

    def restore_command(self, files: Mapping[str, str], facts: Facts) -> str:
        # Roles that exist already are no failure of a restore, so psql goes on over them. --create makes the database
        # under its own name, with its own encoding, locale, settings and rights.
        roles, psql = files["globals.sql"], "psql --dbname=postgres --quiet"
        restore = f"{files['dump']} | pg_restore --exit-on-error --create --dbname=postgres"
        if not facts.contents["role_passwords"]:
            return f"{roles} | {psql} ; {restore}"
        # Passwords last: they may change that of the very account that restores, which then could not log in again.
        without = """sed "/^ALTER ROLE /s/ PASSWORD '[^']*'//\""""
        only = """grep "^ALTER ROLE .* PASSWORD '\""""
        return f"{roles} | {without} | {psql} ; {restore} && {roles} | {only} | {psql}"

    def structure_check(self, stream: str, manifest: Mapping[str, Any]) -> StructureCheck:
        if stream == "globals.sql":
            return ScriptCheck(end="-- PostgreSQL database cluster dump complete")
        major = int(str(manifest["tools"]["dump_major"]))
        contents = manifest["contents"]
        return ArchiveCheck(
            postgres_tool("pg_restore", major),
            tables=contents.get("tables", {}),
            encoding=contents.get("encoding", "utf-8"),
        )

    def environment(self, passwords: int | None = None, *, patience: bool = False) -> dict[str, str]:
        """What libpq programs read instead of flags: nothing of it shows in ``ps``.

        ``patience``: switch off the timeouts that the database or the account has by default.
        """
        where = self.endpoint
        settings = {
            "PGHOST": where.host,
            "PGPORT": str(where.port or ""),
            "PGUSER": where.user,
            "PGPASSFILE": "" if passwords is None else f"/dev/fd/{passwords}",
            "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT_S),
            "PGAPPNAME": "upkeep",
            # pg_dump does that by itself, pg_dumpall doesn't. Not unasked: connection poolers refuse it.
            "PGOPTIONS": "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0" if patience else "",
            **{f"PG{key.upper()}": str(where.extra[key]) for key in _TLS if key in where.extra},
        }
        return {key: value for key, value in settings.items() if value}

    def pgpass(self) -> str:
        """The content of a libpq password file; empty where there is no password."""
        secret = re.sub(r"([\\:])", r"\\\1", self.endpoint.secret)
        return f"*:*:*:*:{secret}\n" if secret else ""

    @contextmanager
    def told(self, verb: str) -> Iterator[None]:
        """Tell in a sentence what the server refuses in the block: can't <verb> database. Errors: ``SourceError``."""
        try:
            yield
        except psycopg.Error as error:
            raise self.failed(verb, error) from error

    def failed(
        self, verb: str, error: psycopg.Error, *, beside: str = "", kind: type[SourceError] = SourceError
    ) -> SourceError:
        """``beside``: what else was said on the way there."""
        words = mask("; ".join(text for text in (str(error).strip(), beside) if text), self.secrets)
        return kind(
            f"can't {verb} database {self.database!r} on {self.endpoint.address(5432)} "
            f"(connection {self.endpoint.conn_id}): {words}",
            hint=hint_for(words, 1),
        )


class _PostgresSnapshot(Snapshot):
    def __init__(self, engine: PostgresEngine, connection: psycopg.Connection[DictRow], programs: Programs) -> None:
        self._engine, self._connection = engine, connection
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        self._all(sql("postgres", "set_patience"))
        self._server = self._all(sql("postgres", "list_server"))[0]
        self._major = int(self._server["version_num"]) // 10000
        self._snapshot = str(self._all(sql("postgres", "export_snapshot"))[0]["snapshot"])
        self._tool: Tool = programs.find("pg_dump", self._major)
        dumpall = programs.find("pg_dumpall", self._major)
        self._tables = self._all(sql("postgres", "list_tables"))
        self._others = self._all(sql("postgres", "list_objects"))
        self._counts: dict[str, int] = {}
        self._evidence = Evidence()
        self._counted: Future[None] | None = None
        self._with_passwords = engine.with_passwords and bool(self._server["may_read_passwords"])
        environment = engine.environment(patience=bool(self._server["impatient"]))
        self.streams = (
            Stream(
                "globals.sql",
                programs.command(
                    dumpall,
                    ["--globals-only", "--no-password", f"--database={_conninfo(engine)}",
                     *([] if self._with_passwords else ["--no-role-passwords"])],
                    environment,
                ),
            ),
            Stream(
                "dump",
                programs.command(
                    self._tool,
                    ["--format=custom", "--compress=0", "--no-password",
                     f"--snapshot={self._snapshot}", f"--lock-wait-timeout={engine.lock_timeout_s}s",
                     f"--dbname={_conninfo(engine)}"],
                    environment,
                ),
                started=self._started,
            ),
        )  # fmt: skip

    def _started(self, _: int) -> None:
        self._counted = in_background(self._count, name="row counter")

    def _count(self) -> None:
        """Count rows in the dump's snapshot.

        The tables are locked as pg_dump locks them, all at once: a count that had to queue behind an ALTER TABLE would
        find the table empty once that has rewritten it.
        """
        tables = {self._full(table): psycopg.sql.Identifier(table["schema"], table["name"]) for table in self._tables}
        only = [psycopg.sql.SQL("ONLY {}").format(table) for table in tables.values()]
        lock = psycopg.sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(psycopg.sql.SQL(", ").join(only))
        count = psycopg.sql.SQL("SELECT count(*) AS row_count FROM ONLY {}")
        # In a savepoint, since an error must not end the snapshot that pg_dump reads from.
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{self._engine.lock_timeout_s}s"])
            if tables:
                cursor.execute(lock)
            for name, table in tables.items():
                row = cursor.execute(count.format(table)).fetchone()
                self._counts[name] = int(row["row_count"]) if row else 0
            self._evidence = gather(self._connection, tables, under_bytes=self._engine.checksum_under_mb * 1_000_000)

    def facts(self, ended: Mapping[str, list[Ended]]) -> Facts:
        not_counted = self._counted.exception() if self._counted else None
        warnings = [line for ends in ended.values() for end in ends for line in end.lines]
        why = ""
        if not_counted:
            why = f"counting rows failed: {mask(str(not_counted).strip(), self._engine.secrets)}"
            warnings.append(f"row counts are the server's estimates: {why}")
        if self._engine.with_passwords and not self._with_passwords:
            warnings.append("roles are kept without their passwords: the account may not read pg_authid")
        warnings += self._evidence.warnings
        return Facts(
            source={
                "database": self._engine.database,
                "host": self._engine.pod.label if self._engine.pod else self._engine.endpoint.host,
                "port": self._engine.endpoint.port or 5432,
                "flavour": "postgres",
                "version": str(self._server["version"]),
                "identity": str(self._server["identity"]),
            },
            tools={"dump": self._tool.label, "dump_major": str(self._tool.version[0])},
            position={"lsn": str(self._server["lsn"]), "timeline": int(self._server["timeline"] or 0)},
            contents={
                "tables": {
                    name: (
                        {"rows": max(int(table["row_estimate"]), 0)}
                        if why
                        else {"rows": self._counts[name], **self._evidence.of(name)}
                    )
                    for table in self._tables
                    for name in [self._full(table)]
                },
                **{
                    kind: sorted(self._shown(other["name"]) for other in self._others if other["kind"] == kind)
                    for kind in ("schemas", "views", "routines", "triggers", "sequences", "extensions")
                },
                "large_objects": int(self._server["large_objects"]),
                "role_passwords": self._with_passwords,
                **({} if why else self._evidence.contents),
                "encoding": "utf-8" if self._server["encoding"] == NO_ENCODING else self._connection.info.encoding,
            },
            rows_are=f"estimates: {why}" if why else "exact",
            warnings=warnings,
        )

    def end(self) -> None:
        if self._counted and not self._counted.done():
            with suppress(psycopg.Error):
                self._connection.cancel_safe(timeout=CONNECT_TIMEOUT_S)  # the dump failed: its counts are of no use
            wait([self._counted], CONNECT_TIMEOUT_S)

    def _full(self, table: Mapping[str, Any]) -> str:
        return self._shown(f"{table['schema']}.{table['name']}")

    def _shown(self, name: str) -> str:
        """A name for people; where the server doesn't know its characters, UTF-8 is the best guess."""
        if self._server["encoding"] == NO_ENCODING:
            return name.encode("latin-1").decode("utf-8", "backslashreplace")
        return name

    def _all(self, statement: str) -> list[DictRow]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement.encode())
            return list(cursor.fetchall()) if cursor.description else []


_TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")


def _conninfo(engine: PostgresEngine) -> str:
    """Where to dump, as a connection string: a database name that holds ``=`` would otherwise be read as one.

    Host and user stand in it because only there they outweigh the worker's ``PGSERVICE``, which may lead to another
    server.
    """
    where = engine.endpoint
    host = "localhost" if engine.pod else where.host
    return psycopg.conninfo.make_conninfo(
        dbname=engine.database, host=host or None, port=where.port, user=where.user or None
    )
