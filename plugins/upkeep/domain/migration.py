"""A migration before it runs: its statements, what stands when one of them fails, and what must be true after it.

A file is cut into statements as ``psql`` and the ``mysql`` client cut it: the sign that ends one means nothing in
strings, comments, quoted names, ``$$`` and ``BEGIN ATOMIC`` bodies, nor until the ``DELIMITER`` that a line names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from upkeep.domain.units import human_seconds
from upkeep.errors import MigrationRefused

OnFailure = Literal["rollback", "restore", "stop"]
ON_FAILURE: tuple[OnFailure, ...] = ("rollback", "restore", "stop")
MOST_STATEMENTS = 500
"""Each is an act in the ledger; a file of thousands is data, which belongs into another tool."""
LIMIT_FACTOR = 5
LEAST_LIMIT_S = 30.0
"""A statement may take so many times what it took in the rehearsal, never less than this: live has other work too."""
SPARE_ROWS, SPARE_SHARE = 10, 0.05
"""How many rows fewer than rehearsed are laid to applications that go on deleting."""
WORDS_CHARS = 160
MOST_TOLD = 10

_TOKENS = {
    "postgres": re.compile(
        r"""(?P<comment>--[^\n\r]*)|(?P<estring>[eE]'(?:[^'\\]|\\.|'')*'(?:[ \t]*\n\s*'(?:[^'\\]|\\.|'')*')*)"""
        r"""|(?P<string>'(?:[^']|'')*')"""
        r"""|(?P<name>"(?:[^"]|"")*")|(?P<block>/\*)"""
        r"""|(?P<dollar>\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)|(?P<word>[^\W\d][\w$]*)|(?P<sign>.)""",
        re.DOTALL,
    ),
    "mysql": re.compile(
        r"""(?P<comment>--(?=\s|\Z)[^\n]*|\#[^\n]*)"""
        r"""|(?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")|(?P<name>`(?:[^`]|``)*`)|(?P<block>/\*)"""
        r"""|(?P<word>[^\W\d][\w$]*)|(?P<sign>.)""",
        re.DOTALL,
    ),
}  # fmt: skip
_DOLLAR = re.compile(r"\$([^\W\d]\w*)?\$")
_DELIMITER = re.compile(r"delimiter[ \t]+(\S+)[^\n]*", re.IGNORECASE)

# What the statement is judged by has neither comments nor the content of strings.
_OWN_TRANSACTION = r"(BEGIN|START|COMMIT|ROLLBACK|ABORT|SAVEPOINT|RELEASE|PREPARE\s+TRANSACTION|END|XA)\b"
_REFUSED = {
    "postgres": [
        (_OWN_TRANSACTION, "it begins or ends transactions, which Upkeep does: take that out"),
        (r"(CREATE|ALTER|DROP)\s+(DATABASE|ROLE|USER|GROUP|TABLESPACE)\b|REASSIGN\b|ALTER\s+SYSTEM\b",
         "it changes the whole server, not this database: run it by hand"),
        (r"(GRANT|REVOKE)\b(?!.*\bON\b)", "it changes roles of the whole server: run it by hand"),
        (r"COPY\b.*\b(STDIN|STDOUT|PROGRAM|FROM\s*''|TO\s*'')", "it needs a file or a client beside it: use INSERT"),
        (r"(CREATE|ALTER|DROP)\s+SUBSCRIPTION\b",
         "it reaches another server, from the rehearsal's copy too: run it by hand"),
    ],
    "mysql": [
        (_OWN_TRANSACTION, "it begins or ends transactions, which Upkeep does: take that out"),
        (r"USE\b", "it leaves the database: name one database and migrate that"),
        (r"(CREATE|ALTER|DROP)\s+(OR\s+REPLACE\s+)?(DATABASE|SCHEMA|USER|ROLE|TABLESPACE|SERVER)\b|RENAME\s+USER\b",
         "it changes the whole server, not this database: run it by hand"),
        (r"(GRANT|REVOKE|FLUSH|RESET|KILL|SHUTDOWN|PURGE|CHANGE|INSTALL|UNINSTALL)\b",
         "it changes the whole server, not this database: run it by hand"),
        (r"SET\s+(GLOBAL|PERSIST\w*|PASSWORD|(DEFAULT\s+)?ROLE)\b|SET\b.*(@@|,\s*)(GLOBAL|PERSIST)",
         "it changes the whole server, not this database: run it by hand"),
        (r"SET\s+STATEMENT\b", "it hides what it runs behind settings of its own: give what comes after FOR alone"),
        (r"SET\b.*\bautocommit\b", "it changes who commits, which Upkeep does: take that out"),
        (r"(LOCK|UNLOCK)\s+TABLES?\b", "Upkeep's own statements would wait for its lock: take that out"),
        (r"LOAD\s+DATA\b|.*\bINTO\s+(OUT|DUMP)FILE\b", "it needs a file beside it: use INSERT"),
    ],
}  # fmt: skip
_ALONE = re.compile(
    r"(CREATE\s+(UNIQUE\s+)?INDEX\s+CONCURRENTLY|DROP\s+INDEX\s+CONCURRENTLY|REINDEX\b.*\b(CONCURRENTLY|DATABASE|SYSTEM|"
    r"SCHEMA)\b|ALTER\s+TABLE\b.*\bDETACH\s+PARTITION\b.*\bCONCURRENTLY|VACUUM\b|ALTER\s+TYPE\b.*\bADD\s+VALUE\b|"
    r"CLUSTER\s*$)",
    re.IGNORECASE | re.DOTALL,
)
"""PostgreSQL: what can't run within a transaction, or whose result can't be used within it."""
_ROWS = re.compile(r"\(*\s*(INSERT|UPDATE|DELETE|REPLACE|WITH|SELECT|VALUES|SET|DO)\b", re.IGNORECASE)
_VERB = re.compile(r"\w+(?:\s+(?:OR\s+REPLACE\s+|UNIQUE\s+|TEMPORARY\s+)?\w+)?")


@dataclass(frozen=True)
class Statement:
    """``bare``: in one line, without comments and without what its strings hold, for judging and for the record."""

    number: int
    text: str
    bare: str
    by_itself: bool
    """Whether it commits by itself whatever is around it, so that nothing takes it back."""
    argv: tuple[str, ...] = ()
    """A program instead of SQL."""

    @property
    def verb(self) -> str:
        if self.argv:
            return "command"
        found = _VERB.match(self.bare)
        return " ".join(found[0].upper().split()) if found else self.bare[:20]

    @property
    def is_setting(self) -> bool:
        """Whether it only sets something for the statements after it, in the same session."""
        return self.verb.split()[0] == "SET"

    @property
    def words(self) -> str:
        return self.bare if len(self.bare) <= WORDS_CHARS else f"{self.bare[: WORDS_CHARS - 3]}..."


@dataclass(frozen=True)
class MigrationPlan:
    """What would run, and what would stand if it failed half-way. ``lines`` are for people."""

    engine: str
    statements: tuple[Statement, ...]
    rollback: tuple[Statement, ...]
    on_failure: OnFailure
    digest: str
    """SHA-256 of the migration's text, and ``rollback_digest`` of the rollback's; empty without one."""
    rollback_digest: str
    remarks: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether all of it is one transaction: it takes effect as a whole, or not at all."""
        return is_whole(self.statements)

    @property
    def is_command(self) -> bool:
        return any(statement.argv for statement in self.statements)

    def lines(self) -> Iterator[str]:
        count = len(self.statements)
        yield f"{count} {'statement' if count == 1 else 'statements'}, SHA-256 {self.digest}"
        for statement in self.statements:
            alone = " [commits by itself]" if statement.by_itself else ""
            yield f"  {statement.number}. {statement.verb}{alone}: {statement.words}"
        yield from (f"note: {line}" for line in self._consequences())
        yield f"rollback script: {len(self.rollback)} statements" if self.rollback else "rollback script: none"
        yield f"on failure: {_ON_FAILURE_WORDS[self.on_failure]}"
        yield from (f"note: {remark}" for remark in self.remarks)

    def _consequences(self) -> Iterator[str]:
        if self.whole:
            yield "it runs in one transaction: if any statement fails, nothing of it stands"
            if self.engine == "mysql":
                yield "tables of engines without transactions, MyISAM say, keep what was done to them all the same"
            return
        if self.is_command:
            yield "it is a program: nobody knows beforehand what of it stands when it fails"
            return
        alone = [str(statement.number) for statement in self.statements if statement.by_itself]
        which = f"statement {alone[0]} commits by itself"
        if len(alone) > 1:
            which = f"statements {', '.join(alone)} commit by themselves"
        why = "MySQL's DDL is not transactional" if self.engine == "mysql" else "PostgreSQL allows no transaction there"
        yield f"{which} ({why}): there is no transaction around the whole, each statement is one of its own"
        for done in range(1, min(len(self.statements), MOST_TOLD)):
            stand = "statement 1 stands" if done == 1 else f"statements 1 to {done} stand"
            yield f"if statement {done + 1} fails, {stand}, and only a rollback script or a restore takes that back"
        if len(self.statements) > MOST_TOLD:
            yield "and so on: each statement before the one that fails stands"


_ON_FAILURE_WORDS = {
    "rollback": "rollback: run the rehearsed rollback script",
    "restore": "restore: the backup made right before it takes the live database's place; what applications wrote "
    "since is only in the one that is put aside",
    "stop": "stop: leave it as it is, and say what ran",
}


def command_text(argv: Sequence[str], label: str) -> str:
    """What stands for a command in place of SQL: what it is known and recognised by."""
    return json.dumps({"command": list(argv), "label": label}, ensure_ascii=False, sort_keys=True)


def plan_of(
    engine: str,
    text: str,
    *,
    rollback: str,
    on_failure: OnFailure,
    remarks: tuple[str, ...] = (),
    argv: Sequence[str] = (),
) -> MigrationPlan:
    """``argv``: of a command; ``text`` is its ``command_text`` then.

    Errors: ``MigrationRefused`` for what can't be rehearsed, cut, or taken back as chosen.
    """
    if argv:
        statements: tuple[Statement, ...] = (Statement(1, text, text, True, tuple(argv)),)
    else:
        statements = read_statements(engine, text, "the migration")
    back = read_statements(engine, rollback, "the rollback script") if rollback.strip() else ()
    if on_failure == "rollback" and not back:
        raise MigrationRefused(
            "on failure the rollback script is to run, but there is none",
            hint="give a rollback script, or choose restore or stop",
        )
    return MigrationPlan(
        engine, statements, back, on_failure, digest_of(text), digest_of(rollback) if back else "", remarks
    )


def is_whole(statements: tuple[Statement, ...]) -> bool:
    return not any(statement.by_itself for statement in statements)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_statements(engine: str, text: str, what: str) -> tuple[Statement, ...]:
    """Errors: ``MigrationRefused``."""
    found = []
    for number, (statement, bare) in enumerate(_cut(engine, text, what), start=1):
        for pattern, why in _REFUSED[engine]:
            if re.match(pattern, bare, re.IGNORECASE | re.DOTALL):
                raise MigrationRefused(
                    f"{what}: statement {number}, {bare[:60]!r}: {why.split(':')[0]}", hint=_hint(why)
                )
        alone = bool(_ALONE.match(bare)) if engine == "postgres" else not _ROWS.match(bare)
        found.append(Statement(number, statement, bare, alone))
    if not found:
        raise MigrationRefused(f"{what} holds no statement", hint="give the SQL that is to run")
    if len(found) > MOST_STATEMENTS:
        raise MigrationRefused(
            f"{what} has {len(found):,} statements, more than {MOST_STATEMENTS}",
            hint="put rows into fewer INSERTs, or load them with another tool",
        )
    return tuple(found)


def limit_s(rehearsed_s: float) -> float:
    """How long a statement may take on live, in seconds, by what it took in the rehearsal."""
    return max(LEAST_LIMIT_S, LIMIT_FACTOR * rehearsed_s)


def tables_changed(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, tuple[int | None, int | None]]:
    """Rows before and after, of the tables where they differ; None: there is none."""
    names = sorted({*before, *after})
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def rows_missed(
    rehearsed: Mapping[str, tuple[int | None, int | None]],
    before: Mapping[str, int | None],
    after: Mapping[str, int | None],
) -> list[str]:
    """Where the live database came out of the migration otherwise than the copy did, to its loss.

    :param rehearsed: as ``tables_changed`` found it on the copy.
    :param before: rows of the live tables, and ``after`` the migration; None where they were not counted in time.
    """
    missed = []
    for name in sorted({*before, *rehearsed}):
        had, has = before.get(name), after.get(name)
        was, became = rehearsed.get(name, (had, had))
        if name in rehearsed and became is None:
            if name in after:
                missed.append(f"table {name} is still there; in the rehearsal it went")
            continue
        if name not in after:
            missed.append(f"table {name} is gone" if name in before else f"table {name} was not made")
            continue
        if had is not None and has is not None and was is not None and became is not None:
            expected = had * became / was if was else had + became
            spare = max(SPARE_ROWS, SPARE_SHARE * max(had, expected))
            if has < expected - spare:
                missed.append(
                    f"table {name} has {has:,} rows, it had {had:,}; by the rehearsal ({was:,} to "
                    f"{became:,}) it should have about {expected:,.0f}"
                )
    return missed


def stands(count: int, of: int) -> str:
    """What a failure half-way left, in words."""
    if not count:
        return "nothing of it stands"
    if count == of:
        return f"all {of} statements ran"
    return f"statement 1 of {of} ran" if count == 1 else f"statements 1 to {count} of {of} ran"


def rehearsal_lines(
    plan: MigrationPlan, ran: list[tuple[float, int, str]], changed: Mapping[str, tuple[int | None, int | None]]
) -> Iterator[str]:
    """``ran``: seconds, rows and locks of each statement, in their order."""
    for statement, (seconds, rows, how) in zip(plan.statements, ran, strict=True):
        touched = f", {rows:,} rows" if rows > 0 else ""
        limit = f"; live it may take {human_seconds(limit_s(seconds))}"
        yield f"statement {statement.number} {statement.verb}: {human_seconds(seconds)}{touched}{limit}; {how}"
    for name, (before, after) in changed.items():
        yield f"table {name}: {_rows(before)} before, {_rows(after)} after"
    if not changed:
        yield "row counts: as before in every table"


def _rows(count: int | None) -> str:
    return "none" if count is None else f"{count:,} rows"


def _hint(why: str) -> str:
    return why.partition(": ")[2] or "take it out of the migration"


def _cut(engine: str, text: str, what: str) -> Iterator[tuple[str, str]]:
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    delimiter, at, begun = ";", 0, 0
    bare: list[str] = []
    words: list[str] = []
    parens = blocks = 0

    def one(end: int) -> Iterator[tuple[str, str]]:
        shown = " ".join("".join(bare).split())
        if shown:
            yield text[begun:end].strip(), shown

    while at < len(text):
        ends = text.startswith(delimiter, at) and not (engine == "postgres" and (parens > 0 or blocks))
        if ends:
            yield from one(at)
            at += len(delimiter)
            begun, parens, blocks = at, 0, 0
            bare.clear()
            words.clear()
            continue
        is_begin = (
            engine == "mysql" and not "".join(bare).strip() and not text[text.rfind("\n", 0, at) + 1 : at].strip()
        )
        if is_begin and (line := _DELIMITER.match(text, at)):
            delimiter, at = line[1], line.end()
            begun = at
            continue
        found = _TOKENS[engine].match(text, at)
        if found is None:
            raise _unfinished(what, text, at)
        kind, piece = str(found.lastgroup), found[0]
        if found["block"]:
            end = _end_of_block(engine, text, at)
            if end is None:
                raise _unfinished(what, text, at)
            if engine == "mysql" and re.match(r"/\*M?!", text[at:]):
                raise MigrationRefused(
                    f"{what} has a /*! comment */ in line {text.count(chr(10), 0, at) + 1}: what runs of it depends on "
                    "the server's release",
                    hint="write out the statement that is meant",
                )
            bare.append(" ")
            at = end
            continue
        if found["word"] and delimiter in piece:
            piece = piece.partition(delimiter)[0]  # END$$
        at += len(piece)
        if found["word"]:
            word = piece.upper()
            words.append(word)
            bare.append(piece)
            if engine == "postgres" and words[0] == "CREATE" and {"FUNCTION", "PROCEDURE"} & set(words[1:4]):
                # As psql does it: only the body of such a routine has statements of its own outside of a string.
                # Unlike psql: there are arguments, and routines, that are called begin.
                if (not parens and words[-2:] == ["BEGIN", "ATOMIC"]) or (word == "CASE" and blocks):
                    blocks += 1
                elif word == "END" and blocks:
                    blocks -= 1
        elif found["sign"]:
            if piece in "'\"`\\" or (engine == "postgres" and _DOLLAR.match(text, found.start())):
                raise _unfinished(what, text, found.start())
            parens += (piece == "(") - (piece == ")")
            bare.append(piece)
        elif kind == "comment":
            bare.append(" ")
        else:
            bare.append(piece if found["name"] else "''")
    yield from one(len(text))


def _end_of_block(engine: str, text: str, at: int) -> int | None:
    """Where the comment that begins at ``at`` ends; PostgreSQL's may hold others."""
    depth = 0
    for sign in re.compile(r"/\*|\*/").finditer(text, at):
        if sign[0] == "*/":
            depth -= 1
        elif engine == "postgres" or not depth:
            depth += 1
        if not depth:
            return sign.end()
    return None


def _unfinished(what: str, text: str, at: int) -> MigrationRefused:
    line = text.count("\n", 0, at) + 1
    if text[at] == "\\":
        return MigrationRefused(
            f"{what} has a command of the client's own in line {line}: {text[at : at + 20].splitlines()[0]}",
            hint="only SQL is run: take it out",
        )
    return MigrationRefused(
        f"{what}: what begins in line {line} with {text[at]} has no end", hint="close the string, name or comment"
    )
