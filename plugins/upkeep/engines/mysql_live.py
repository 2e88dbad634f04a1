"""MySQL and MariaDB: a restored database takes the place of the live one, by renaming all tables in one statement.

There is no renaming of databases. ``RENAME TABLE`` moves any number of tables at once, all or none, and foreign keys
move along. But no table that has triggers may change its database, and views, routines and events can't be moved at
all: they are dropped, or made again, around it. What has to be made is written down first, in a table of the restored
database that goes with it at the end; so whoever comes after a kill knows what was begun and finishes it.

Before the rename all of the old is live, but for a moment without its triggers; after it all of the new, but for a
moment with the old's views, routines and events. Servers from MySQL 8.0 and MariaDB 10.6 on keep "all or none" through
a crash of their own too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pymysql
from pymysql.constants import ER

from upkeep.domain.endpoint import Endpoint
from upkeep.engines.live_base import LiveServer, State, Swapped
from upkeep.engines.mysql_exempt import exempt_accounts, exempt_sessions
from upkeep.engines.mysql_load import said
from upkeep.engines.mysql_programs import (
    Program,
    drop_triggers,
    make_alike,
    moved_names,
    moved_view,
    put_back,
    read_programs,
    with_status,
)
from upkeep.engines.mysql_restore import MySqlRestorer
from upkeep.engines.mysql_statements import quoted, rows_of, run
from upkeep.engines.restore_refusals import unavailable
from upkeep.errors import RestoreRefused, RestoreUnavailable
from upkeep.resources import sql

BOOK = "_upkeep_swap"
"""The table in which a swap is written down, in the restored database."""
TRIES = 5
PAUSE_S = 1.0


class MySqlLive(LiveServer):
    """``lock_timeout_s``: how long one try to rename may wait for others' locks, and hold up those behind it."""

    def __init__(self, endpoint: Endpoint, *, lock_timeout_s: int = 5) -> None:
        self._restorer = MySqlRestorer(endpoint, live=True)
        self.secrets = self._restorer.secrets
        self._where = endpoint.address(3306)
        self._lock_timeout_s = lock_timeout_s

    def exists(self, database: str) -> bool:
        with self._connected() as connection:
            return _exists(connection, database)

    def obstacles(self, database: str) -> list[str]:
        with self._connected() as connection:
            return [
                str(row["told"]) for row in rows_of(connection, sql("mysql", "list_swap_obstacles"), database, database)
            ]

    def remarks(self, database: str) -> list[str]:
        with self._connected() as connection:
            return [str(row["told"]) for row in rows_of(connection, sql("mysql", "list_swap_remarks"), database)]

    def exempt(self) -> list[str]:
        with self._connected() as connection:
            return exempt_accounts(connection)

    def writers(self, database: str) -> list[str]:
        with self._connected() as connection:
            return exempt_sessions(connection, database)

    def writes_are_stopped(self, database: str) -> bool:
        with self._connected() as connection:
            return bool(rows_of(connection, "SELECT @@GLOBAL.read_only AS is_on")[0]["is_on"])

    def stop_writes(self, database: str) -> None:
        """The whole server's: neither MySQL nor MariaDB have anything smaller that lets tables be renamed."""
        with self._connected() as connection:
            run(connection, f"SET SESSION lock_wait_timeout = {self._lock_timeout_s}")
            run(connection, "SET GLOBAL read_only = 1")
            try:
                run(connection, f"CREATE DATABASE IF NOT EXISTS {quoted(database)}")  # it exists: this only asks
            except pymysql.MySQLError as error:
                if error.args[0] != ER.OPTION_PREVENTS_STATEMENT:
                    raise
                run(connection, "SET GLOBAL read_only = 0")
                raise unavailable(
                    f"on {self._where} the account itself can't write while the server is read only",
                    hint="grant it CONNECTION_ADMIN (MySQL) or READ ONLY ADMIN (MariaDB), or stop the applications by "
                    "hand and waive the hook with your reason",
                ) from error

    def let_write(self, database: str) -> None:
        with self._connected() as connection:
            run(connection, "SET GLOBAL read_only = 0")

    def swap_state(self, live: str, new: str, old: str) -> State:
        with self._connected() as connection:
            if _is_written_down(connection, new):
                return "begun"
            there = {name for name in (live, new, old) if _exists(connection, name)}
            return "done" if there == {live, old} - {""} else "before"

    def tidy(self, new: str) -> None:
        with self._connected() as connection:
            if _exists(connection, new) and not _is_written_down(connection, new):
                run(connection, f"DROP TABLE IF EXISTS {quoted(new)}.{BOOK}")

    def swap(self, live: str, new: str, old: str) -> Swapped:
        with self._connected() as connection:
            run(connection, f"SET SESSION lock_wait_timeout = {self._lock_timeout_s}")
            if not _exists(connection, new):
                if _exists(connection, live) and (not old or _exists(connection, old)):
                    return Swapped(old)
                raise RestoreRefused(
                    f"there is no database {new!r} on {self._where} to swap over {live!r}",
                    hint="somebody dropped it meanwhile: restore again",
                )
            if not _is_written_down(connection, new):
                self._write_down(connection, live, new, old)
            book = _Book(connection, new)
            if not _exists(connection, live):
                run(connection, f"CREATE DATABASE {quoted(live)}")
            if not book.renamed(connection, new):
                self._rename(connection, live, new, book)
            notes = _own_sequences(connection, live, new)
            if book.old:
                notes += _own_sequences(connection, book.old, live, must=False)
            notes += make_alike(connection, live, book.programs("new"))
            if book.old:
                notes += make_alike(connection, book.old, book.programs("old"), must=False)
            _copy_charset(connection, new, live)
            notes += [str(row["told"]) for row in rows_of(connection, sql("mysql", "list_strayed_keys"), live, live)]
            if left := _tables(connection, new):
                raise RestoreRefused(
                    f"{new!r} on {self._where} still has tables after its swap: {', '.join(left[:5])}",
                    hint="see whose they are, move them elsewhere, then run it again",
                )
            run(connection, f"DROP DATABASE {quoted(new)}")
            return Swapped(book.old, tuple(notes))

    def _write_down(self, connection: Any, live: str, new: str, old: str) -> None:
        """Nothing is changed before the last line of it is there."""
        was_live = _exists(connection, live)
        if was_live and not old:
            raise RestoreRefused(
                f"somebody made a database {live!r} on {self._where} meanwhile", hint="run it again: it is kept aside"
            )
        if _exists(connection, old):
            raise RestoreRefused(
                f"there is already a database {old!r} on {self._where}",
                hint="run it again: the name has the time in it",
            )
        programs = [("new", _into(program, new, live)) for program in read_programs(connection, new)]
        if was_live:
            current = read_programs(connection, live)
            programs += [("old", _aside(program, live, old)) for program in current]
            programs += [("live", program) for program in current if _in_the_way(program, _tables(connection, new))]
        moves = _moves(connection, live, new, old if was_live else "")
        run(connection, f"USE {quoted(new)}")  # not in the statements below: a name may hold a placeholder
        run(connection, f"DROP TABLE IF EXISTS {BOOK}")
        run(connection, sql("mysql", "create_swap_book").format(book=BOOK))
        rows: list[tuple[str, ...]] = [("move", after, "table", table, before) for before, after, table in moves]
        rows = [(*row, "", "", "", "") for row in rows]
        rows += [
            ("make", place, p.kind, p.name, p.statement, p.sql_mode, p.charset, p.collation, p.time_zone)
            for place, p in programs
        ]
        rows.append(("whole", "", "", "", old if was_live else "", "", "", "", ""))
        run(connection, "START TRANSACTION")
        for row in rows:
            run(connection, sql("mysql", "insert_swap_step").format(book=BOOK), *row)
        run(connection, "COMMIT")

    def _rename(self, connection: Any, live: str, new: str, book: _Book) -> None:
        if book.old and not _exists(connection, book.old):
            run(connection, f"CREATE DATABASE {quoted(book.old)}")
            _copy_charset(connection, live, book.old)
        if not book.moves:
            return
        taken = book.programs("live")
        for number in range(1, TRIES + 1):
            try:
                drop_triggers(connection, [live, new])
                for view in taken:
                    if view.kind == "view":
                        run(connection, f"DROP VIEW IF EXISTS {quoted(live)}.{quoted(view.name)}")
                # As they are by now: somebody may have made or dropped one since it was written down.
                moves = ", ".join(
                    f"{quoted(before)}.{quoted(table)} TO {quoted(after)}.{quoted(table)}"
                    for before, after, table in _moves(connection, live, new, book.old)
                )
                run(connection, f"RENAME TABLE {moves}")
                return
            except pymysql.MySQLError as error:
                if error.args[0] != ER.LOCK_WAIT_TIMEOUT or number == TRIES:
                    still = self._take_back(connection, live, new, book)
                    raise unavailable(
                        f"can't rename the tables of {live!r} on {self._where}: {said(error)[1]}",
                        hint="fix what it says, or end who holds their locks (SHOW PROCESSLIST), then run it again: "
                        f"{still}",
                    ) from error
                with suppress(pymysql.MySQLError, RestoreUnavailable):  # the old stays live for now, with its triggers
                    put_back(connection, live, taken)
            time.sleep(PAUSE_S)

    def _take_back(self, connection: Any, live: str, new: str, book: _Book) -> str:
        """Nothing was renamed: give both back what was taken from them and forget the swap, so that applications may
        write to the old one again. Returns what is live; a lost connection leaves all of it to the next run.
        """
        with suppress(pymysql.MySQLError, RestoreUnavailable):
            if not book.renamed(connection, new):
                put_back(connection, live, book.programs("live"))
                put_back(connection, new, [program for program in book.programs("new") if program.kind == "trigger"])
                if book.old and not _tables(connection, book.old) and not read_programs(connection, book.old):
                    run(connection, f"DROP DATABASE {quoted(book.old)}")
                run(connection, f"DROP TABLE {quoted(new)}.{BOOK}")
                return "the old database is live as it was"
        return "it goes on where it stopped"

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        with closing(self._restorer.connect("")) as connection:
            try:
                yield connection
            except pymysql.MySQLError as error:
                raise unavailable(self._restorer.failed(*said(error), "work").message) from error


class _Book:
    """What a swap wrote down before it began."""

    def __init__(self, connection: Any, new: str) -> None:
        rows = rows_of(connection, f"SELECT * FROM {quoted(new)}.{quoted(BOOK)} ORDER BY line")  # noqa: S608 - quoted
        self.moves = [(row["body"], row["place"], row["name"]) for row in rows if row["what"] == "move"]
        self.old: str = next(row["body"] for row in rows if row["what"] == "whole")
        self._made = [row for row in rows if row["what"] == "make"]

    def programs(self, place: str) -> list[Program]:
        return [
            Program(
                row["kind"],
                row["name"],
                row["body"],
                row["settings"],
                row["charset"],
                row["collation"],
                row["time_zone"],
            )
            for row in self._made
            if row["place"] == place
        ]

    def renamed(self, connection: Any, new: str) -> bool:
        """Whether the tables were renamed. One statement renames all of them, so one table tells. One of the copy's
        must be gone from there: a live table of its name says nothing, since an application may have made it.
        """
        if not self.moves:
            return False
        before, after, table = self.moves[-1]
        return table not in _tables(connection, new) if before == new else table in _tables(connection, after)


def _moves(connection: Any, live: str, new: str, old: str) -> list[tuple[str, str, str]]:
    """Tables with the database they leave and the one they go to, those of the copy last."""
    moves = [(live, old, table) for table in _tables(connection, live)] if old else []
    return moves + [(new, live, table) for table in _tables(connection, new)]


def _in_the_way(program: Program, tables: list[str]) -> bool:
    """Whether it has to go before the tables can be renamed: a trigger, or a view called like a table of the copy."""
    return program.kind == "trigger" or (program.kind == "view" and program.name in tables)


def _into(program: Program, new: str, live: str) -> Program:
    if program.kind == "view":
        return moved_view(program, new, live, everywhere=True)
    return with_status(program, awake=True) if program.kind == "event" else program


def _aside(program: Program, live: str, old: str) -> Program:
    """Nothing runs by itself in the old one: its events may reach anywhere."""
    if program.kind == "view":
        return moved_view(program, live, old, everywhere=False)
    return with_status(program, awake=False) if program.kind == "event" else program


def _own_sequences(connection: Any, database: str, was: str, *, must: bool = True) -> list[str]:
    """Let defaults draw from the sequences that moved along: MariaDB's keep the name of the database they had.

    :param must: that one can't be changed is an error; else it is only told.
    """
    notes = []
    changes: dict[str, list[str]] = {}
    for row in rows_of(connection, sql("mysql", "list_sequence_defaults"), database):
        before = str(row["definition"])
        if (after := moved_names(before, was, database, everywhere=False)) != before:
            changes.setdefault(str(row["table_name"]), []).append(
                f"ALTER COLUMN {quoted(str(row['name']))} SET DEFAULT ({after})"
            )
    if changes:
        run(connection, "SET SESSION system_versioning_alter_history = KEEP")
    for table, defaults in changes.items():  # one statement for each: it fails while any default's sequence is missing
        try:
            run(connection, f"ALTER TABLE {quoted(database)}.{quoted(table)} {', '.join(defaults)}")
        except pymysql.MySQLError as error:
            if must:
                raise
            notes.append(f"table {table!r} in {database} has no sequence to draw from: {error.args[-1]}")
    return notes


def _is_written_down(connection: Any, new: str) -> bool:
    if BOOK not in _tables(connection, new, with_book=True):
        return False
    whole = f"SELECT 1 FROM {quoted(new)}.{quoted(BOOK)} WHERE what = 'whole'"  # noqa: S608 - quoted
    return bool(rows_of(connection, whole))


def _tables(connection: Any, database: str, *, with_book: bool = False) -> list[str]:
    names = [str(row["name"]) for row in rows_of(connection, sql("mysql", "list_movable_tables"), database)]
    return [name for name in names if with_book or name != BOOK]


def _exists(connection: Any, database: str) -> bool:
    return bool(rows_of(connection, "SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s", database))


def _copy_charset(connection: Any, before: str, after: str) -> None:
    found = rows_of(connection, sql("mysql", "list_charset_of_database"), before)[0]
    run(
        connection,
        f"ALTER DATABASE {quoted(after)} CHARACTER SET {found['charset_name']} COLLATE {found['collation_name']}",
    )
