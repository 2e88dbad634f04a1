"""One backup on its way into a MySQL or MariaDB server: a stock client per stream, and sessions that add indexes."""

from __future__ import annotations

import itertools
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import DictCursor

from upkeep.domain.manifest import Manifest
from upkeep.engines.mysql_accounts import GRANTS
from upkeep.engines.mysql_definition import Later
from upkeep.engines.mysql_dump import MAIN
from upkeep.engines.mysql_dump_reader import MySqlDumpReader, Piece, TableLoaded
from upkeep.engines.mysql_engine import option_file
from upkeep.engines.mysql_statements import run
from upkeep.engines.pipeline import Pipeline
from upkeep.engines.private_file import private_file
from upkeep.engines.restore_base import Read
from upkeep.engines.restore_refusals import tool_unusable, unavailable
from upkeep.errors import ToolFailed, UpkeepError
from upkeep.resources import sql

if TYPE_CHECKING:
    from upkeep.engines.mysql_restore import MySqlRestorer


class _Client:
    """One stock client that is fed a stream; ``marked`` is called when it has got to a mark."""

    def __init__(
        self, stream: str, pipeline: Pipeline, marked: Callable[[int], None], ended: Callable[[], None]
    ) -> None:
        self.stream, self.pipeline = stream, pipeline
        self._marked, self._ended = marked, ended
        self.reader = threading.Thread(target=self._listen, name=f"answers about {stream}", daemon=True)

    def write(self, text: bytes) -> None:
        self.pipeline.write(text)

    def mark(self, number: int) -> None:
        self.write(b"SELECT 'upkeep mark %d';\n" % number)

    def _listen(self) -> None:
        rest = b""
        try:
            for chunk in self.pipeline.output():
                *lines, rest = (rest + chunk).split(b"\n")
                rest = rest[-1000:]
                for line in lines:
                    if found := re.fullmatch(rb"upkeep mark (\d+)", line):
                        self._marked(int(found[1]))
        except (UpkeepError, OSError):
            pass  # it was ended from this side: the task was told to stop, or something else failed
        finally:
            self._ended()


@dataclass(frozen=True)
class _Failed:
    error: BaseException


class MySqlLoad:
    """One load: threads feed clients and make indexes, and tell the thread that called ``run``, which decides.

    Every event is a function to run there, so that nothing but a queue is shared.
    """

    def __init__(
        self,
        restorer: MySqlRestorer,
        manifest: Manifest,
        database: str,
        client: str,
        settings: Sequence[str],
        jobs: int,
        only: Collection[str] = (),
    ) -> None:
        self._restorer, self._manifest, self._database = restorer, manifest, database
        self._client, self._settings, self._jobs, self._only = client, settings, max(1, jobs), only
        self._events: queue.SimpleQueue[Callable[[], None] | _Failed] = queue.SimpleQueue()
        self._phases: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._bytes = 0
        self._numbers = itertools.count(1)
        self._marks: dict[int, Callable[[], None]] = {}
        # Accounts are no part of a database: making them is left to a person.
        self._streams = [file.stream for file in manifest.files if file.stream != GRANTS]
        self._loading = set(self._streams)
        self._views_may_follow = threading.Event()
        self._over = threading.Event()
        self._building = 0
        self._foreign: list[Later] = []
        self._sessions: set[Connection[DictCursor]] = set()
        self._lock = threading.Lock()

    def run(self, read: Read) -> tuple[dict[str, float], int]:
        self._check_streams()
        self._begins("rows")
        threads: list[threading.Thread] = []
        pool = ThreadPoolExecutor(self._jobs, thread_name_prefix="indexes")
        self._pool = pool
        try:
            with ExitStack() as stack:
                options = stack.enter_context(private_file(option_file(self._restorer.endpoint)))
                command = self._restorer.command(self._client, self._database, options)
                clients: list[_Client] = []
                for stream in self._streams:
                    pipeline = stack.enter_context(Pipeline([command], secrets=self._restorer.secrets, feed=True))
                    clients.append(self._listening(stream, pipeline))
                for client in clients:
                    client.reader.start()
                    feeder = threading.Thread(target=self._feed, args=(client, read), name=client.stream, daemon=True)
                    threads += [client.reader, feeder]
                    feeder.start()
                self._until(lambda: not self._loading and not self._building)
                self._add_foreign_keys()
                self._over.set()
                for client in clients:
                    client.pipeline.stdin.close()
                    client.reader.join()
                    self._finish(client)
        finally:
            self._over.set()
            self._views_may_follow.set()
            self._close_sessions()
            pool.shutdown(wait=True, cancel_futures=True)
            for thread in threads:
                thread.join()
        return self._seconds, self._bytes

    def _check_streams(self) -> None:
        unknown = [name for name in self._streams if not re.fullmatch(r"dump\.sql|tables-\d+\.sql", name)]
        if MAIN not in self._streams or unknown:
            raise unavailable(
                f"the backup has files that this Upkeep can't load: {', '.join(unknown) or 'no ' + MAIN}",
                hint=f"use the Upkeep that made it ({self._manifest.upkeep or 'see its manifest'})",
            )

    def _listening(self, stream: str, pipeline: Pipeline) -> _Client:
        client: _Client

        def ended() -> None:
            if not self._over.is_set():
                self._events.put(lambda: self._ended_early(client))

        client = _Client(stream, pipeline, lambda number: self._events.put(lambda: self._marks.pop(number)()), ended)
        return client

    # In the thread that called run.

    def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            event = self._events.get()
            if isinstance(event, _Failed):
                raise event.error
            event()

    def _ended_early(self, client: _Client) -> None:
        client.reader.join()
        self._finish(client)
        raise unavailable(
            f"the client that loaded {client.stream} ended before its input did",
            hint="see the task's log for what it printed, then run the task again",
        )

    def _finish(self, client: _Client) -> None:
        try:
            client.pipeline.finish()
        except ToolFailed as error:
            if error.was_killed:
                raise tool_unusable(error) from error
            # The server's words may go over several lines.
            found = re.search(r"^ERROR (\d+).*", error.stderr, re.MULTILINE | re.DOTALL)
            number, words = (int(found[1]), found[0].strip()) if found else (0, error.message)
            what = f"load {client.stream} into database {self._database!r}"
            raise self._restorer.failed(number, words, what, self._database) from error

    def _stream_loaded(self, stream: str) -> None:
        self._loading.discard(stream)
        if self._loading <= {MAIN}:
            self._views_may_follow.set()
        if not self._loading:
            self._goes_on("rows")

    def _table_loaded(self, later: Later) -> None:
        if later.foreign_keys:
            self._foreign.append(later)
        if later.indexes:
            self._begins("indexes")
            self._building += 1
            self._pool.submit(self._work, partial(self._alter, later, later.indexes), self._table_built)

    def _table_built(self) -> None:
        self._building -= 1
        self._goes_on("indexes")

    def _add_foreign_keys(self) -> None:
        """One table after the other: each locks the tables that it refers to, and with checks off it takes no time."""
        if not self._foreign:
            return
        self._begins("foreign_keys")
        for later in self._foreign:
            done = threading.Event()
            self._pool.submit(self._work, partial(self._alter, later, later.foreign_keys), done.set)
            self._until(done.is_set)
        self._goes_on("foreign_keys")

    def _begins(self, phase: str) -> None:
        self._phases.setdefault(phase, time.monotonic())
        self._seconds.setdefault(phase, 0.0)

    def _goes_on(self, phase: str) -> None:
        """What was done of a phase until now counts; the last call says how long it took."""
        self._seconds[phase] = round(time.monotonic() - self._phases[phase], 3)

    # In other threads.

    def _work(self, work: Callable[[], object], done: Callable[[], None]) -> None:
        try:
            work()
            self._events.put(done)
        except BaseException as error:  # carried over to the thread that called run
            self._events.put(_Failed(error))

    def _feed(self, client: _Client, read: Read) -> None:
        try:
            self._feed_all(client, read)
        except BrokenPipeError:
            return  # the client is gone: its exit status says why
        except BaseException as error:  # carried over to the thread that called run
            self._events.put(_Failed(error))

    def _feed_all(self, client: _Client, read: Read) -> None:
        reader = MySqlDumpReader(
            str(self._manifest.source["database"]), self._database, only=self._only, to_wake=self._restorer.live
        )
        if self._settings:
            client.write(("; ".join(self._settings) + ";\n").encode())
        chunks = read(client.stream)
        try:
            for chunk in chunks:
                with self._lock:
                    self._bytes += len(chunk)
                self._hand_on(client, reader.feed(chunk))
                if self._over.is_set():
                    return
        finally:
            if close := getattr(chunks, "close", None):
                close()
        self._hand_on(client, reader.close())
        self._mark(client, lambda: self._stream_loaded(client.stream))

    def _hand_on(self, client: _Client, pieces: Iterator[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, bytes):
                client.write(piece)
            elif isinstance(piece, TableLoaded):
                self._mark(client, partial(self._table_loaded, piece.later))
            elif client.stream == MAIN and len(self._streams) > 1:
                self._views_may_follow.wait()

    def _mark(self, client: _Client, action: Callable[[], None]) -> None:
        """Have ``action`` run once the server has done all that the client was given so far."""
        number = next(self._numbers)
        self._marks[number] = action
        client.mark(number)

    def _alter(self, later: Later, definitions: Sequence[bytes]) -> None:
        table = later.name.decode("utf-8", "replace")
        with closing(self._restorer.connect(self._database)) as connection:
            with self._lock:
                self._sessions.add(connection)
            try:
                if self._over.is_set():
                    return
                for setting in [*self._settings, sql("mysql", "set_index_session")]:
                    run(connection, setting)
                connection.query(later.statement(definitions))
            except pymysql.MySQLError as error:
                what = f"add the indexes of table {table}"
                raise self._restorer.failed(*said(error), what, self._database) from error
            finally:
                with self._lock:
                    self._sessions.discard(connection)

    def _close_sessions(self) -> None:
        with self._lock:
            for connection in self._sessions:
                if connection._sock:  # type: ignore[attr-defined]  # close() would wait for the answer
                    with suppress(OSError):
                        connection._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]


def said(error: pymysql.MySQLError) -> tuple[int, str]:
    """The server's error number (0 for none) and its words."""
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    return number, f"{number}: {error.args[-1]}" if error.args else str(error)
