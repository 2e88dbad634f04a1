"""SQL in a file: cut into statements, of which some are refused, and shown to people without secrets.

A file is cut as ``psql`` and the ``mysql`` client cut it: the sign that ends a statement means nothing in strings,
comments, quoted names, ``$$`` and ``BEGIN ATOMIC`` bodies, nor until the ``DELIMITER`` that a line names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from upkeep.domain.units import cut
from upkeep.errors import MigrationRefused

MOST_STATEMENTS = 500
"""Each is an act in the ledger; a file of thousands is data, which belongs in another tool."""
WORDS_CHARS, SHOWN_CHARS = 160, 4000
LEAST_SECRET = 6
"""Shorter strings are looked for in a server's words only where it quotes them: they occur in other words too."""
_SECRET = re.compile(
    r"IDENTIFIED|PASSW|PASSPHRASE|PWD|SECRET|TOKEN|CREDENTIAL|(API|PRIVATE|ACCESS)_?KEY|CRYPT", re.IGNORECASE
)
"""A statement that says any of this may hold a secret: its strings are shown to nobody, not even to who approves it."""

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
        (r"(CREATE|ALTER|DROP)\s+SUBSCRIPTION\b|(CREATE|ALTER)\s+EXTENSION\s+(IF\s+NOT\s+EXISTS\s+)?\"?dblink\b",
         "it reaches another server, from the rehearsal's copy too: run it by hand"),
    ],
    "mysql": [
        (_OWN_TRANSACTION, "it begins or ends transactions, which Upkeep does: take that out"),
        (r"USE\b", "it leaves the database: name one database and migrate that"),
        (r"(CREATE|ALTER|DROP)\s+(OR\s+REPLACE\s+)?(DATABASE|SCHEMA|USER|ROLE|TABLESPACE|SERVER|INSTANCE)\b|RENAME\s+USER\b",
         "it changes the whole server, not this database: run it by hand"),
        (r"(GRANT|REVOKE|FLUSH|RESET|RESTART|STOP|CLONE|KILL|SHUTDOWN|PURGE|CHANGE|INSTALL|UNINSTALL)\b",
         "it changes the whole server, not this database: run it by hand"),
        (r"SET\s+(GLOBAL|PERSIST\w*|PASSWORD|(DEFAULT\s+)?ROLE)\b|SET\b.*(@@|,\s*)(GLOBAL|PERSIST)",
         "it changes the whole server, not this database: run it by hand"),
        (r"SET\s+STATEMENT\b", "it hides what it runs behind settings of its own: give what comes after FOR alone"),
        (r"SET\b.*\bautocommit\b", "it changes who commits, which Upkeep does: take that out"),
        (r"(LOCK|UNLOCK)\s+TABLES?\b", "Upkeep's own statements would wait for its lock: take that out"),
        (r"(CREATE|ALTER)\b.*\bENGINE\s*=?\s*(CONNECT|FEDERATED|SPIDER)\b",
         "it reaches another server, from the rehearsal's copy too: run it by hand"),
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
_LAST_ID = "last_insert_id"
_OF_SESSION = re.compile(rf"(?<![@\w])@[\w.]+|\b{_LAST_ID}(?=\s*\()", re.IGNORECASE)
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
    strings: tuple[str, ...] = ()
    """What its strings hold."""
    full: str = ""
    """``bare`` with them."""

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
    def reads(self) -> list[str]:
        """What it names of MySQL's session: its variables, those that it sets included, and its last id."""
        return [name.lower() for name in _OF_SESSION.findall(self.bare)]

    @property
    def makes_ids(self) -> bool:
        return self.verb.startswith(("INSERT", "REPLACE"))

    @property
    def shown(self) -> str:
        """What a person approves: all that runs, but for the strings of a statement that is about secrets."""
        text = self.full or self.bare
        if _SECRET.search(self.text):
            text = f"{self.bare} [it may hold a secret: strings are not shown]" if self.strings else self.bare
        # Characters that can't be seen could make it read otherwise than it runs.
        text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
        rest = len(text) - SHOWN_CHARS
        return text if rest <= 0 else f"{text[:SHOWN_CHARS]} [and {rest:,} more characters: read the text itself]"

    @property
    def words(self) -> str:
        return cut(self.bare, WORDS_CHARS)


def is_whole(statements: tuple[Statement, ...]) -> bool:
    return not any(statement.by_itself for statement in statements)


def missing_from_session(engine: str, statements: tuple[Statement, ...], first: int) -> str:
    """What those from ``first`` on read of a session that is gone, where MySQL would take NULL or 0 for it without a
    word; empty where there is nothing. PostgreSQL refuses such statements itself.

    A plain ``SET`` is run again; one that asks the database could get another answer by now.
    """
    if engine != "mysql":
        return ""
    again = [one for one in statements[: first - 1] if one.is_setting and "(" not in one.bare]
    before = [one for one in statements[: first - 1] if one not in again]
    gone = {name for one in before for name in one.reads}
    gone |= {_LAST_ID for one in before if one.makes_ids}
    for one in (*again, *statements[first - 1 :]):
        for name in sorted(gone & set(one.reads)):
            sets = one.is_setting and re.search(rf"{name}\s*:?=", one.bare, re.IGNORECASE)
            if not sets or one.reads.count(name) > 1:
                return name
            gone.remove(name)
        if one.makes_ids:
            gone.discard(_LAST_ID)
    return ""


def read_statements(engine: str, text: str, what: str) -> tuple[Statement, ...]:
    """Errors: ``MigrationRefused``."""
    found = []
    for number, piece in enumerate(_Cutter(engine, text, what).pieces(), start=1):
        bare = piece.bare
        for pattern, why in _REFUSED[engine]:
            if re.match(pattern, bare, re.IGNORECASE | re.DOTALL):
                raise MigrationRefused(
                    f"{what}: statement {number}, {bare[:60]!r}: {why.split(':')[0]}", hint=_hint(why)
                )
        alone = bool(_ALONE.match(bare)) if engine == "postgres" else not _ROWS.match(bare)
        found.append(Statement(number, piece.text, bare, alone, strings=piece.strings, full=piece.full))
    if not found:
        raise MigrationRefused(f"{what} holds no statement", hint="give the SQL that is to run")
    if len(found) > MOST_STATEMENTS:
        raise MigrationRefused(
            f"{what} has {len(found):,} statements, more than {MOST_STATEMENTS}",
            hint="put rows into fewer INSERTs, or load them with another tool",
        )
    return tuple(found)


def _hint(why: str) -> str:
    return why.partition(": ")[2] or "take it out of the migration"


def without_strings(words: str, statement: Statement) -> str:
    """A server's words, without what it quotes of the statement's strings."""
    for string in sorted(statement.strings, key=len, reverse=True):
        for quote in ("'", '"'):
            words = words.replace(f"{quote}{string}{quote}", f"{quote}...{quote}")
        if len(string) >= LEAST_SECRET:
            words = words.replace(string, "...")
    return words


@dataclass(frozen=True)
class _Piece:
    text: str
    bare: str
    full: str
    strings: tuple[str, ...]


class _Cutter:
    """Cuts a text into its statements where the server's own client would."""

    def __init__(self, engine: str, text: str, what: str) -> None:
        self._engine, self._what = engine, what
        self._text = text.removeprefix("\ufeff").replace("\r\n", "\n")
        self._delimiter, self._at = ";", 0
        self._begin()

    def _begin(self) -> None:
        self._begun = self._at
        self._bare: list[str] = []
        self._full: list[str] = []
        self._strings: list[str] = []
        self._words: list[str] = []
        self._parens = self._blocks = 0

    def pieces(self) -> Iterator[_Piece]:
        while self._at < len(self._text):
            if self._ends():
                yield from self._piece()
                self._at += len(self._delimiter)
                self._begin()
            elif not self._is_delimiter_line():
                self._take()
        yield from self._piece()

    def _ends(self) -> bool:
        within = self._engine == "postgres" and (self._parens > 0 or self._blocks)
        return self._text.startswith(self._delimiter, self._at) and not within

    def _piece(self) -> Iterator[_Piece]:
        if words := " ".join("".join(self._bare).split()):
            text = self._text[self._begun : self._at].strip()
            yield _Piece(text, words, "".join(self._full).strip(), tuple(self._strings))

    def _is_delimiter_line(self) -> bool:
        """Whether a line DELIMITER stands here, outside of any statement; it is passed, and counts from there on."""
        line = _DELIMITER.match(self._text, self._at) if self._engine == "mysql" else None
        if line is None or "".join(self._bare).strip():
            return False
        if self._text[self._text.rfind("\n", 0, self._at) + 1 : self._at].strip():
            return False
        self._delimiter, self._at = line[1], line.end()
        self._begin()
        return True

    def _take(self) -> None:
        found = _TOKENS[self._engine].match(self._text, self._at)
        if found is None:
            raise _unfinished(self._what, self._text, self._at)
        if found["block"]:
            self._take_comment()
            return
        piece = found[0]
        if found["word"] and self._delimiter in piece:
            piece = piece.partition(self._delimiter)[0]  # END$$
        self._at += len(piece)
        if found["word"]:
            self._keep(piece)
            self._follow(piece.upper())
        elif found["sign"]:
            if piece in "'\"`\\" or (self._engine == "postgres" and _DOLLAR.match(self._text, found.start())):
                raise _unfinished(self._what, self._text, found.start())
            self._parens += (piece == "(") - (piece == ")")
            self._keep(piece)
        elif found["comment"] or found["name"]:
            self._keep(piece if found["name"] else " ")
        else:
            self._keep_string(piece)

    def _take_comment(self) -> None:
        end = _end_of_block(self._engine, self._text, self._at)
        if end is None:
            raise _unfinished(self._what, self._text, self._at)
        if self._engine == "mysql" and re.match(r"/\*M?!", self._text[self._at :]):
            raise MigrationRefused(
                f"{self._what} has a /*! comment */ in line {self._text.count(chr(10), 0, self._at) + 1}: what runs of "
                "it depends on the server's release",
                hint="write out the statement that is meant",
            )
        self._keep(" ")
        self._at = end

    def _follow(self, word: str) -> None:
        """As psql does it: only the body of a routine has statements of its own outside of a string. Unlike psql: there
        are arguments, and routines, that are called begin.
        """
        self._words.append(word)
        if self._engine != "postgres" or self._words[0] != "CREATE":
            return
        if not {"FUNCTION", "PROCEDURE"} & set(self._words[1:4]):
            return
        if (not self._parens and self._words[-2:] == ["BEGIN", "ATOMIC"]) or (word == "CASE" and self._blocks):
            self._blocks += 1
        elif word == "END" and self._blocks:
            self._blocks -= 1

    def _keep(self, plain: str) -> None:
        self._bare.append(plain)
        if not (plain.isspace() and self._full and self._full[-1] == " "):
            self._full.append(" " if plain.isspace() else plain)

    def _keep_string(self, string: str) -> None:
        self._bare.append("''")
        self._full.append(string)
        inner = re.sub(r"^(\$\w*\$|[eE]?['\"])|(\$\w*\$|['\"])$", "", string)
        self._strings.extend({inner, inner.replace("''", "'")} - {""})


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
