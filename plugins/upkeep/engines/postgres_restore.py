"""PostgreSQL: a backup loaded into a server as it streams past, its indexes made side by side."""

from __future__ import annotations

import logging
import re
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.manifest import Manifest
from upkeep.domain.masking import mask
from upkeep.domain.units import human_bytes
from upkeep.engines.copies import regrouped_partitions
from upkeep.engines.degrading import in_a_line
from upkeep.engines.feeding import feed
from upkeep.engines.pipeline import Command, Pipeline, capture
from upkeep.engines.postgres_copy import CopyReader, CopySessions, Rows
from upkeep.engines.postgres_engine import PostgresEngine
from upkeep.engines.postgres_indexes import ByTable, EarlyIndexes, by_table
from upkeep.engines.private_file import private_file
from upkeep.engines.restore_base import Loaded, Read, Restorer
from upkeep.engines.restore_refusals import refused, tool_unusable, unavailable
from upkeep.engines.server_disk import free_bytes_of, is_loopback
from upkeep.engines.tools import numbers, postgres_tool
from upkeep.errors import NameTaken, RestoreUnavailable, SourceError, ToolError, ToolFailed, UpkeepError
from upkeep.resources import sql

log = logging.getLogger(__name__)

MAINTENANCE = "postgres"
"""The database from which others are made and dropped."""
MADE = "made by Upkeep for a test restore, dropped after it"
"""The comment on roles that loading made: a later run knows by it what a killed one left."""
ROLES_LOCK = 0x75706B65657072
"""Shared by every load on a server, exclusive while made roles are dropped."""
OLDEST = 130000
"""As ``server_version_num``: from 13 on there is DROP DATABASE ... WITH (FORCE)."""
LARGEST_SCRIPT = 64 << 20
SETTINGS = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "synchronous_commit": "off",
    # Not more: what is sorted at once should fit the processor's own cache. Two indexes at a time over 1 GB took 17.5 s
    # with 512MB, 14.5 s with 64MB and 11.1 s with 16MB.
    "maintenance_work_mem": "16MB",
    # The indexes are built side by side already.
    "max_parallel_maintenance_workers": "0",
}
_ABOUT_THE_SERVER = re.compile(
    "permission denied|must be (owner|superuser|member|able to)|no space left|could not extend|disk full|out of memory|"
    "too many (connections|clients)|connection|shutting down|starting up|canceling statement|could not access file|"
    "control file|is not available|not supported by this (build|installation)|no such file or directory|"
    "does not exist for encoding|invalid locale|out of shared memory|unsupported version|deadlock detected",
    re.IGNORECASE,
)
"""What a client program says of the server, the account or the release, and not of the backup."""
_QUOTED = rb'(?:"(?:[^"]|"")+"|[^\s".;]+)'
_DATABASE = re.compile(rb"\bDATABASE " + _QUOTED)
_PROPERTY = re.compile(rb"^((?:ALTER DATABASE|ALTER ROLE|GRANT|REVOKE|COMMENT ON DATABASE) .*);$", re.MULTILINE)
_COPIED = re.compile(rb"COPY (" + _QUOTED + rb")\.(" + _QUOTED + rb") ")
_SERVERS_OWN = " ACL pg_catalog "
_NEEDS_ALL_ROWS = (" FK CONSTRAINT ", " MATERIALIZED VIEW DATA ")
_SQLSTATES = ("08", "28", "42501", "53", "55", "57", "58", "25006", "0A", "F0", "XX")
"""Classes and codes that say something about the server or the account there, and nothing about the backup."""


class PostgresRestorer(Restorer):
    def __init__(self, endpoint: Endpoint, *, live: bool = False) -> None:
        self.endpoint, self.live = endpoint, live
        self.secrets = endpoint.secrets()

    def identity(self) -> str:
        with self._connected() as connection:
            return str(_all(connection, sql("postgres", "list_server"))[0]["identity"])

    def databases(self) -> list[str]:
        with self._connected() as connection:
            return [str(row["name"]) for row in _all(connection, sql("postgres", "list_databases"))]

    def free_bytes(self) -> int | None:
        with self._connected() as connection:
            found = _all(connection, sql("postgres", "list_backend"))[0]
            if not is_loopback(self.endpoint.host) or not found["folder"]:
                return None
            try:  # a container's server has processes of other numbers, or none that can be seen from here
                serves = Path(f"/proc/{found['pid']}/cmdline").read_bytes().startswith(b"postgres: ")
            except OSError:
                return None
        return free_bytes_of(str(found["folder"])) if serves else None

    def connect(self, database: str) -> psycopg.Connection[DictRow]:
        try:
            connection = PostgresEngine(self.endpoint, database).connect()
        except SourceError as error:
            raise RestoreUnavailable(error.message, hint=error.hint) from error
        connection.autocommit = True
        return connection

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
        begun = time.monotonic()
        major = int(str(manifest.tools["dump_major"]))
        tools = self._tools(major)
        self._check_release(manifest)
        # Held until the end: nobody drops the roles meanwhile that this load relies on.
        with self._connected() as keeper, ExitStack() as stack:
            keeper.execute("SELECT pg_advisory_lock_shared(%s)", [ROLES_LOCK])
            passwords = stack.enter_context(private_file(PostgresEngine(self.endpoint, database).pgpass()))
            head = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            load = _Load(self, manifest, database, tools, passwords, head, max(1, jobs), only)
            load.run(read, keeper)
        seconds = {**load.seconds, "all": round(time.monotonic() - begun, 3)}
        return Loaded(database, seconds, load.bytes, tuple(load.notes))

    def drop(self, database: str) -> None:
        """Roles that another load still needs stay; the last one's drop takes them."""
        with self._connected() as connection:
            connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(database)))
            alone = _all(connection, "SELECT pg_try_advisory_lock(%s) AS got", [ROLES_LOCK])[0]["got"]
            for row in _all(connection, sql("postgres", "list_made_roles"), [MADE]) if alone else ():
                with suppress(psycopg.errors.DependentObjectsStillExist):
                    connection.execute(SQL("DROP ROLE {}").format(Identifier(str(row["name"]))))

    def environment(self, passwords: int, database: str) -> dict[str, str]:
        return {
            **PostgresEngine(self.endpoint, database).environment(passwords),
            "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in SETTINGS.items()),
        }

    def conninfo(self, database: str) -> str:
        where = self.endpoint
        return psycopg.conninfo.make_conninfo(
            dbname=database, host=where.host or None, port=where.port, user=where.user or None
        )

    def failed(self, error: ToolFailed, what: str) -> UpkeepError:
        """The error for a client program that ended badly."""
        message = f"can't {what} on {self.place} {self.endpoint.address(5432)}: {error.message}"
        # Names and quoted statements may hold any word.
        lines = re.findall(r"^.*(?:error|ERROR|FATAL|DETAIL): .*$", error.stderr, re.MULTILINE)
        if error.was_killed or _ABOUT_THE_SERVER.search(re.sub(r'"[^"]*"', '""', "\n".join(lines))):
            return unavailable(message)
        return refused(message)

    def said(self, error: psycopg.Error, what: str) -> UpkeepError:
        """The error for what the server told a session of this worker's."""
        message = f"can't {what} on {self.place} {self.endpoint.address(5432)}: " + mask(
            str(error).strip(), self.secrets
        )
        state = error.sqlstate
        return unavailable(message) if state is None or state.startswith(_SQLSTATES) else refused(message)

    @contextmanager
    def _connected(self, database: str = MAINTENANCE) -> Iterator[psycopg.Connection[DictRow]]:
        with closing(self.connect(database)) as connection:
            try:
                yield connection
            except psycopg.Error as error:
                raise unavailable(self.said(error, "work").message) from error

    def _tools(self, major: int) -> dict[str, str]:
        try:
            return {name: postgres_tool(name, major).path for name in ("pg_restore", "psql")}
        except ToolError as error:
            raise tool_unusable(error) from error

    def _check_release(self, manifest: Manifest) -> None:
        with self._connected() as connection:
            server = _all(connection, sql("postgres", "list_server"))[0]
            if int(server["version_num"]) < OLDEST:
                raise unavailable(
                    f"{self.place} {self.endpoint.address(5432)} is PostgreSQL {server['version']}, where a copy that "
                    "somebody looks at can't be dropped again",
                    hint="restore into PostgreSQL 13 or newer",
                )
            made = numbers(str(manifest.source.get("version", "")))[:1]
            if (int(server["version_num"]) // 10000,) < made:
                raise unavailable(
                    f"{self.place} {server['version']} is older than {manifest.source['version']}, "
                    "which the backup is from",
                    hint="restore into a server of the source's release or newer",
                )
            wanted = [str(name) for name in manifest.contents.get("extensions", ())]
            absent = [str(row["name"]) for row in _all(connection, sql("postgres", "list_absent_extensions"), [wanted])]
        if absent:
            raise unavailable(
                f"{self.place} {self.endpoint.address(5432)} has no extension {', '.join(absent)}",
                hint=f"install the packages of {', '.join(absent)} on {self.place}, then run the task again",
            )


class _Load:
    """One load. The archive streams past once: only its head, with the table of contents, is kept in ``head``."""

    def __init__(
        self,
        restorer: PostgresRestorer,
        manifest: Manifest,
        database: str,
        tools: Mapping[str, str],
        passwords: int,
        head: IO[bytes],
        jobs: int,
        only: Collection[str],
    ) -> None:
        self._restorer, self._manifest, self._database, self._tools = restorer, manifest, database, tools
        self._passwords, self._head, self._jobs, self._only = passwords, head, jobs, only
        self._head_is_whole = threading.Event()
        self._over = threading.Event()
        self._programs: set[Pipeline] = set()
        self.seconds: dict[str, float] = {}
        self.bytes = 0
        self.notes: list[str] = []

    def run(self, read: Read, keeper: psycopg.Connection[DictRow]) -> None:
        streams = {file.stream for file in self._manifest.files}
        if streams != {"globals.sql", "dump"}:
            raise unavailable(
                f"the backup has other files than globals.sql and dump: {', '.join(sorted(streams))}",
                hint=f"use the Upkeep that made it ({self._manifest.upkeep or 'see its manifest'})",
            )
        roles = self._roles(read)
        try:
            with ExitStack() as stack:
                script = Command([self._tools["pg_restore"], "--section=data", "--file=-"], collect_kb=256)
                reader = stack.enter_context(Pipeline([script], secrets=self._restorer.secrets, feed=True))
                fed = feed(reader, self._archive(read))
                stack.callback(self._give_up, fed, reader)
                output = reader.output()
                # pg_restore prints nothing before it has read the whole table of contents.
                first = next(output, b"")
                self._head_is_whole.set()
                if not first:
                    self._judge(fed, reader)
                with self._phase("definitions"):
                    self._make_database(keeper)
                    self._make_roles(keeper, roles)
                    if self._restorer.live:  # what is made in schema public needs the database to be its owner's
                        self._keep_properties(keeper, " DATABASE - ")
                    with self._without(*self._not_ours(keeper)) as (chosen, fds):
                        self._restore("--section=pre-data", "--exit-on-error", *chosen, fds=fds)
                    if self._only:
                        self._refuse_parts()
                indexes = stack.enter_context(EarlyIndexes(self._early, self._make_index, self._stop, self._jobs))
                with self._phase("rows"):
                    self._load_rows(first, output, fed, reader, indexes)
                with self._phase("indexes"):
                    self._make_the_rest(indexes.finish())
                if self._restorer.live:
                    self._keep_properties(keeper, " COMMENT - DATABASE ", " ACL - DATABASE ", " DATABASE PROPERTIES - ")
                else:
                    self._keep_search_path(keeper)
        except psycopg.Error as error:
            raise self._restorer.said(error, f"load database {self._database!r}") from error
        finally:
            self._over.set()
            self._head_is_whole.set()

    def _give_up(self, fed: Future[None], reader: Pipeline) -> None:
        """Nothing, where all was read: at the end of it, or when somewhere else something failed."""
        self._over.set()
        reader.kill()
        fed.exception()  # waits: it writes to what is then closed

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - begun, 3)

    # What the database needs around it.

    def _roles(self, read: Read) -> dict[str, bool]:
        """The roles that the backup names, and whether each was a superuser."""
        script = bytearray()
        for chunk in read("globals.sql"):
            script += chunk
            if len(script) > LARGEST_SCRIPT:
                raise refused(f"globals.sql is larger than {human_bytes(LARGEST_SCRIPT)}")
        self.bytes += len(script)
        if b"-- PostgreSQL database cluster dump complete" not in script[-4096:]:
            raise refused("globals.sql does not end with '-- PostgreSQL database cluster dump complete': it broke off")
        if re.search(rb"^CREATE TABLESPACE ", script, re.MULTILINE):
            self.notes.append("everything lies in the default tablespace")
        roles = {}
        for found in re.finditer(rb'^CREATE ROLE ("(?:[^"]|"")+"|[^\s";]+);$', script, re.MULTILINE):
            with suppress(UnicodeDecodeError):
                strong = re.search(rb"^ALTER ROLE " + re.escape(found[1]) + rb" WITH SUPERUSER ", script, re.MULTILINE)
                roles[_plain(found[1].decode())] = strong is not None
        return roles

    def _make_roles(self, keeper: psycopg.Connection[DictRow], roles: Mapping[str, bool]) -> None:
        """Owners and grants need their roles. Nobody can log in as one that is made here."""
        there = {str(row["rolname"]) for row in _all(keeper, "SELECT rolname FROM pg_roles")}
        listing = self._listing()
        made = []
        for name, strong in roles.items():
            if name in there:
                continue
            # Event triggers and foreign data wrappers may only belong to a superuser.
            needs = strong and any(
                kind in line and line.endswith(f" {name}")
                for line in listing
                for kind in (" EVENT TRIGGER ", " FOREIGN DATA WRAPPER ")
            )
            with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):  # another load was quicker
                with keeper.transaction():
                    keeper.execute(
                        SQL("CREATE ROLE {} NOLOGIN {}").format(Identifier(name), SQL("SUPERUSER" if needs else ""))
                    )
                    if not self._restorer.live:
                        keeper.execute(SQL("COMMENT ON ROLE {} IS {}").format(Identifier(name), MADE))
                made.append(name)
        if made:
            names = ", ".join(sorted(made))
            self.notes.append(
                f"roles made, none of which can log in until somebody says how: {names}"
                if self._restorer.live
                else f"roles made for the time of the test: {names}"
            )

    def _listing(self, *flags: str) -> list[str]:
        said = self._print("--list", *(flags or ("--create",)))
        # Not splitlines: names may hold other characters at which that would break a line.
        return said.decode(str(self._manifest.contents.get("encoding", "utf-8")), "backslashreplace").split("\n")

    def _make_database(self, keeper: psycopg.Connection[DictRow]) -> None:
        """With the encoding and locale that the archive has for it."""
        said = self._entry(" DATABASE - ")
        found = re.search(rb"^CREATE DATABASE .* WITH (TEMPLATE = template0 [^;]*);$", said, re.MULTILINE)
        options = re.sub(
            rb""" TABLESPACE = (?:"(?:[^"]|"")+"|\S+)""", b"", found[1] if found else b"TEMPLATE = template0"
        )
        name = Identifier(self._database).as_bytes(keeper)
        try:
            keeper.execute(b"CREATE DATABASE " + name + b" WITH " + options)
        except psycopg.errors.DuplicateDatabase as error:
            raise NameTaken(
                f"there is already a database {self._database!r} on {self._restorer.place} "
                f"{self._restorer.endpoint.address(5432)}",
                hint="see what it is; if an earlier restore left it, drop it",
            ) from error
        except psycopg.Error as error:
            raise unavailable(self._restorer.said(error, f"make database {self._database!r}").message) from error

    def _keep_search_path(self, keeper: psycopg.Connection[DictRow]) -> None:
        """A site's own checks may leave out the schema. The database's other settings could get in their way."""
        for setting in re.findall(
            rb"^ALTER DATABASE .* SET (search_path TO .*);$", self._entry(" DATABASE PROPERTIES - "), re.M
        ):
            keeper.execute(b"ALTER DATABASE " + Identifier(self._database).as_bytes(keeper) + b" SET " + setting)

    def _keep_properties(self, keeper: psycopg.Connection[DictRow], *kinds: str) -> None:
        """Owner, rights and settings of the database itself, as the archive has them, under its new name."""
        name = b"DATABASE " + Identifier(self._database).as_bytes(keeper)
        for kind in kinds:
            for statement in _PROPERTY.findall(self._entry(kind)):
                try:
                    keeper.execute(_DATABASE.sub(lambda _: name, statement, count=1))
                except psycopg.Error as error:
                    self.notes.append(f"not kept: {statement.decode('utf-8', 'replace')} ({in_a_line(error)})")

    @contextmanager
    def _without(self, *kinds: str) -> Iterator[tuple[list[str], list[int]]]:
        """Flags that leave out entries of these kinds."""
        if not kinds:
            yield [], []
            return
        listed = [line for line in self._listing() if not any(kind in line for kind in kinds)]
        with private_file("\n".join([*listed, ""])) as chosen:
            yield [f"--use-list=/dev/fd/{chosen}"], [chosen]

    def _not_ours(self, keeper: psycopg.Connection[DictRow]) -> tuple[str, ...]:
        """What only a superuser may restore: rights on what belongs to the server."""
        if keeper.info.parameter_status("is_superuser") == "on":
            return ()
        if left := [line for line in self._listing() if _SERVERS_OWN in line]:
            self.notes.append(
                f"{len(left)} rights on the server's own functions are left out: the account can't give them"
            )
        return (_SERVERS_OWN,) if left else ()

    def _entry(self, kind: str) -> bytes:
        """The statements of one entry about the database itself; empty where there is none."""
        lines = [line for line in self._listing() if not line.startswith(";") and kind in line][:1]
        if not lines:
            return b""
        with private_file(f"{lines[0]}\n") as chosen:
            return self._print("--create", f"--use-list=/dev/fd/{chosen}", "--file=-", fds=(chosen,))

    def _print(self, *flags: str, fds: Sequence[int] = ()) -> bytes:
        head = self._head.fileno()
        try:
            return capture(Command([self._tools["pg_restore"], *flags, f"/dev/fd/{head}"], pass_fds=(head, *fds)))
        except ToolFailed as error:
            raise self._restorer.failed(error, "read the archive's table of contents") from error

    # The archive.

    def _restore(self, *flags: str, fds: Sequence[int] = ()) -> None:
        head = self._head.fileno()
        command = Command(
            [self._tools["pg_restore"], *flags, "--no-tablespaces", "--no-subscriptions", "--no-password",
             f"--dbname={self._restorer.conninfo(self._database)}", f"/dev/fd/{head}"],
            env=self._restorer.environment(self._passwords, self._database),
            pass_fds=(head, self._passwords, *fds),
        )  # fmt: skip
        try:
            with Pipeline([command], secrets=self._restorer.secrets) as program:
                self._programs.add(program)
                if self._over.is_set():
                    program.kill()
        except ToolFailed as error:
            raise self._restorer.failed(error, f"load the definitions into database {self._database!r}") from error

    def _early(self) -> ByTable:
        """What may be made before all rows are in; nothing where that can't be found out: then all is made after."""
        head = self._head.fileno()
        flags = ("--section=post-data", "--verbose", "--no-comments", "--no-tablespaces", "--file=-")
        try:
            said = capture(Command([self._tools["pg_restore"], *flags, f"/dev/fd/{head}"], pass_fds=(head,)))
        except ToolFailed as error:
            log.info("all indexes are made after the rows: %s", error.message)
            return {}
        return by_table(said, self._listing("--section=post-data"))

    def _refuse_parts(self) -> None:
        """The rows of such a table come in one COPY with those of all parts beside it."""
        with closing(self._restorer.connect(self._database)) as connection:
            parts = regrouped_partitions(connection)
        for name in sorted(parts.keys() & set(self._only)):
            raise unavailable(
                f"table {name} can't be restored by itself: it is partitioned by a hash of an enum, and its rows come "
                f"back in other partitions of {parts[name].name}",
                hint=f"restore all of the database beside the live one, and take the rows of {parts[name].name} there",
            )

    def _make_the_rest(self, made: Collection[str]) -> None:
        if not made and not self._only:
            self._restore("--section=post-data", "--exit-on-error", f"--jobs={self._jobs}")
            return
        left_out = _NEEDS_ALL_ROWS if self._only else ()
        listed = [
            line
            for line in self._listing("--section=post-data")
            if line.partition(";")[0] not in made and not any(kind in line for kind in left_out)
        ]
        # By the list alone. With --section a comment counts to whatever stands before it in the list, and would be
        # dropped behind rows.
        with private_file("\n".join([*listed, ""])) as chosen:
            self._restore("--exit-on-error", f"--jobs={self._jobs}", f"--use-list=/dev/fd/{chosen}", fds=(chosen,))

    def _make_index(self, number: str) -> None:
        with private_file(f"{number};\n") as chosen:
            self._restore("--section=post-data", "--exit-on-error", f"--use-list=/dev/fd/{chosen}", fds=(chosen,))

    def _stop(self) -> None:
        """For any thread: end what ``_restore`` started, or is about to."""
        self._over.set()
        for program in list(self._programs):
            program.kill()

    def _load_rows(
        self, first: bytes, output: Iterator[bytes], fed: Future[None], reader: Pipeline, indexes: EarlyIndexes
    ) -> None:
        copies = CopyReader()
        psql = Command(
            [self._tools["psql"], "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1",
             "--output=/dev/null", f"--dbname={self._restorer.conninfo(self._database)}"],
            env=self._restorer.environment(self._passwords, self._database),
            pass_fds=(self._passwords,),
        )  # fmt: skip
        with ExitStack() as stack:
            # Sequences' values and large objects: whatever isn't a table's rows.
            rest = stack.enter_context(Pipeline([psql], secrets=self._restorer.secrets, feed=True))

            def check() -> None:
                indexes.check()
                reader.check()
                if fed.done():
                    fed.result()

            with CopySessions(self._session, self._jobs, lambda: copies.settings, indexes.loaded, check) as sessions:
                for chunk in _chain(first, output):
                    check()
                    for piece in copies.feed(chunk):
                        if isinstance(piece, Rows):
                            if not self._only or _table_of(piece.copy.statement) in self._only:
                                sessions.send(piece)
                        else:
                            self._write(rest, piece)
                self._judge(fed, reader)
                if not copies.complete:
                    raise refused("the archive's rows broke off")
                self._write(rest, copies.close())
            self._finish(rest, "load sequences and large objects")

    def _session(self) -> psycopg.Connection[Any]:
        connection = self._restorer.connect(self._database)
        for name, value in SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        return connection

    def _write(self, pipeline: Pipeline, text: bytes) -> None:
        try:
            pipeline.write(text)
        except BrokenPipeError:
            self._finish(pipeline, "load sequences and large objects")
            raise

    def _finish(self, pipeline: Pipeline, what: str) -> None:
        try:
            pipeline.finish()
        except ToolFailed as error:
            raise self._restorer.failed(error, what) from error

    def _judge(self, fed: Future[None], reader: Pipeline) -> None:
        """Whether the archive came through whole; what kept it from coming causes what pg_restore then says."""
        fed.result()
        try:
            reader.finish()
        except ToolFailed as error:
            if error.was_killed:
                raise tool_unusable(error) from error
            raise refused(f"the archive can't be read to its end: {error.message}") from error

    def _archive(self, read: Read) -> Iterator[bytes]:
        """What pg_restore is given, counted, with a copy of the head. Taken in the feeding thread."""
        for chunk in read("dump"):
            self.bytes += len(chunk)
            if not self._head_is_whole.is_set():
                try:
                    self._head.write(chunk)
                    self._head.flush()
                except OSError as error:
                    raise unavailable(
                        f"can't keep the archive's table of contents on this worker's disk: {error}"
                    ) from error
            yield chunk
            if self._over.is_set():
                return


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _table_of(statement: bytes) -> str:
    """The table of a COPY, as the manifest calls it."""
    found = _COPIED.match(statement)
    return ".".join(_plain(part.decode("utf-8", "backslashreplace")) for part in found.groups()) if found else ""


def _plain(identifier: str) -> str:
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier


def _all(connection: psycopg.Connection[DictRow], statement: str, values: Sequence[Any] | None = None) -> list[DictRow]:
    return connection.execute(statement.encode(), values).fetchall()
