"""Views, triggers, routines and events of a MySQL or MariaDB database, as statements that make them again elsewhere.

What a stored program means depends on the session that made it: its SQL mode, its character set and collation, and for
events its time zone. They are kept beside the statement and set again before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pymysql
from pymysql.charset import charset_by_name
from pymysql.constants import ER

from upkeep.engines.mysql_statements import quoted, rows_of, run
from upkeep.engines.restore_refusals import unavailable

Kind = Literal["trigger", "procedure", "function", "package", "package body", "view", "event"]
KINDS: tuple[Kind, ...] = ("trigger", "procedure", "function", "package", "package body", "view", "event")
"""In the order in which they are made: triggers first, since rows may change from then on."""

_LISTS = {
    "trigger": "SELECT TRIGGER_NAME AS name FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s "
    "ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER",
    "view": "SELECT TABLE_NAME AS name FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s ORDER BY 1",
    "event": "SELECT EVENT_NAME AS name FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s ORDER BY 1",
}
_ROUTINES = (
    "SELECT ROUTINE_NAME AS name FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s AND ROUTINE_TYPE = %s "
    "ORDER BY 1"
)
_NAME = r"`(?:[^`]|``)+`"
_QUALIFIED = re.compile(
    r"'(?:[^'\\]|''|\\.)*'|(?:(?:next|last|set)val\()?" + _NAME + r"(?:\." + _NAME + r")*\(?", re.DOTALL
)
_WORD = r'(?:`(?:[^`]|``)+`|"(?:[^"]|"")+"|[^\s`".]+)'
_TRIGGER = re.compile(
    rf"(.*?\bTRIGGER\s+(?:IF\s+NOT\s+EXISTS\s+)?)(?:{_WORD}\s*\.\s*)?({_WORD}\s*(?:BEFORE|AFTER)\s+"
    rf"(?:(?:INSERT|UPDATE|DELETE)\s+(?:OR\s+)?)+ON\s*)(?:{_WORD}\s*\.\s*)?({_WORD})",
    re.DOTALL | re.IGNORECASE | re.ASCII,
)
_STATUS = re.compile(r"( ON COMPLETION (?:NOT )?PRESERVE )(ENABLE|DISABLE ON (?:SLAVE|REPLICA)|DISABLE)\b")


@dataclass(frozen=True)
class Program:
    """One object. ``statement`` makes it in whatever database is current."""

    kind: Kind
    name: str
    statement: str
    sql_mode: str = ""
    charset: str = "utf8mb4"
    collation: str = ""
    time_zone: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.name


def read_programs(connection: Any, database: str) -> list[Program]:
    """All of them, triggers in the order in which they fire.

    Errors: ``RestoreUnavailable`` where the account may not read one: it could not be made again.
    """
    run(connection, "SET NAMES utf8mb4")
    run(connection, "SET SESSION sql_mode = 'NO_ENGINE_SUBSTITUTION'")
    run(connection, f"USE {quoted(database)}")  # views print their own database's name unless it is current
    found = []
    for kind in KINDS:
        values = (database,) if kind in _LISTS else (database, kind.upper())
        for row in rows_of(connection, _LISTS.get(kind, _ROUTINES), *values):
            found.append(_read(connection, kind, str(row["name"])))
    return found


def _read(connection: Any, kind: Kind, name: str) -> Program:
    row = {
        key.lower(): value
        for key, value in rows_of(connection, f"SHOW CREATE {kind.upper()} {quoted(name)}")[0].items()
    }
    statement = row["sql original statement" if kind == "trigger" else f"create {kind}"]
    if statement is None:
        raise unavailable(
            f"the account may not read how {kind} {name!r} is defined",
            hint="grant it SHOW CREATE ROUTINE or SELECT on mysql.proc, TRIGGER and EVENT; then run it again",
        )
    return Program(
        kind,
        name,
        in_current_database(str(statement)) if kind == "trigger" else str(statement),
        str(row.get("sql_mode") or ""),
        str(row["character_set_client"]),
        str(row["collation_connection"]),
        str(row.get("time_zone") or ""),
    )


def in_current_database(trigger: str) -> str:
    """MariaDB keeps a trigger as it was written, with its database's name if it had one: made from that elsewhere, it
    would be a trigger of the database that has the name now.
    """
    return _TRIGGER.sub(r"\1\2\3", trigger, count=1)


def moved_view(program: Program, before: str, after: str, *, everywhere: bool) -> Program:
    """A view whose statement names its own database, as that of another one."""
    return replace(program, statement=moved_names(program.statement, before, after, everywhere=everywhere))


def moved_names(text: str, before: str, after: str, *, everywhere: bool) -> str:
    """An expression that names its own database, as one of another database.

    :param everywhere: ``before`` is a name that nothing else is called, so that no table can be meant by it.
    """

    def own_name(found: re.Match[str]) -> str:
        text = found[0]
        names = [] if text.startswith("'") else re.findall(_NAME, text)
        is_qualified = everywhere or text.endswith("(") or not text.startswith("`")  # a function's or a sequence's
        is_database = len(names) == 3 or (len(names) == 2 and is_qualified)
        return text.replace(names[0], quoted(after), 1) if names[:1] == [quoted(before)] and is_database else text

    return _QUALIFIED.sub(own_name, text)


def with_status(program: Program, *, awake: bool) -> Program:
    """An event that runs if it is to: one that was put to sleep on its way here runs again, one that was off stays so.

    :param awake: else it doesn't run, whatever it was.
    """
    status = _STATUS.search(program.statement)
    if not status:
        return program
    new = "ENABLE" if awake and status[2] != "DISABLE" else "DISABLE"
    text = program.statement
    return replace(program, statement=text[: status.start(2)] + new + text[status.end(2) :])


def make_alike(connection: Any, database: str, wanted: Sequence[Program], *, must: bool = True) -> list[str]:
    """Make ``database`` have these programs and no others; those that it has already are left as they are.

    Returns what could not be kept. May be broken off and begun again.

    :param must: that one can't be made is an error; else it is only told.
    """
    current = {program.key: program for program in read_programs(connection, database)}
    keys = {program.key for program in wanted}
    notes = []
    for kind, name in current.keys() - keys:
        _drop(connection, kind, name)
    todo = [program for program in wanted if current.get(program.key) != program]
    for program in todo:
        if program.key in current and program.kind not in ("view", "trigger", "event"):
            notes.append(f"{program.kind} {program.name!r} was made anew: rights that were given on it alone are gone")
    return notes + _make_all(connection, database, todo, must=must)


def put_back(connection: Any, database: str, taken: Sequence[Program]) -> None:
    """Make those that are missing; all triggers anew if one is, for they fire in the order in which they were made."""
    current = {program.key for program in read_programs(connection, database)}
    missing = {program.kind for program in taken if program.key not in current}
    todo = [p for p in taken if p.key not in current or (p.kind == "trigger" and "trigger" in missing)]
    _make_all(connection, database, todo, must=True)


def _make_all(connection: Any, database: str, todo: Sequence[Program], *, must: bool) -> list[str]:
    """In the current database, whose name is for errors."""
    while todo:
        refused = []
        for program in todo:
            try:
                make(connection, program)
            except pymysql.MySQLError as error:
                refused.append((program, error))
        if len(refused) == len(todo) and not must:
            return [f"{program.kind} {program.name!r} is not in {database}: {e.args[-1]}" for program, e in refused]
        if len(refused) == len(todo):  # nothing came of this round, so nothing would of the next
            raise unavailable(
                f"can't make {refused[0][0].kind} {refused[0][0].name!r} in database {database!r}: "
                f"{refused[0][1].args[-1]}",
                hint="fix what it says, then run it again: it goes on where it stopped",
            ) from refused[0][1]
        todo = [program for program, _ in refused]  # a view may need another one first
    return []


def make(connection: Any, program: Program) -> None:
    """In the current database. Its charset may not be the session's: the statement is sent in its own."""
    _drop(connection, program.kind, program.name)
    settings = [f"sql_mode = '{program.sql_mode}'", f"character_set_client = {program.charset}"]
    if program.collation:
        settings.append(f"collation_connection = {program.collation}")
    if program.time_zone:
        settings.append(f"time_zone = '{program.time_zone}'")
    run(connection, "SET SESSION " + ", ".join(settings))
    try:
        connection.query(program.statement.encode(charset_by_name(program.charset).encoding))
    finally:
        run(connection, "SET NAMES utf8mb4")
        run(connection, "SET SESSION sql_mode = 'NO_ENGINE_SUBSTITUTION'")


def drop_triggers(connection: Any, databases: Iterable[str]) -> None:
    for database in databases:
        for row in rows_of(connection, _LISTS["trigger"], database):
            run(connection, f"DROP TRIGGER IF EXISTS {quoted(database)}.{quoted(str(row['name']))}")


def _drop(connection: Any, kind: str, name: str) -> None:
    try:
        run(connection, f"DROP {kind.upper()} IF EXISTS {quoted(name)}")
    except pymysql.MySQLError as error:
        if error.args[0] != ER.WRONG_OBJECT:  # a table of a view's name: making the view will say so
            raise
