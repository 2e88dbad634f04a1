"""Who may do what in one MySQL or MariaDB database: a script that makes them again with stock mysql, and its check.

mysqldump leaves accounts out: they are in the database ``mysql``, not in the one that is dumped. Read beside the dump:
rights have no snapshot, and what is granted meanwhile is in the next one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pymysql
from pymysql.constants import ER

from upkeep.domain.units import human_bytes
from upkeep.engines.base import StructureCheck
from upkeep.engines.mysql_grants import covers_database
from upkeep.engines.mysql_statements import literal, quoted, rows_of, text_of
from upkeep.engines.writes_held import NO_PRIVILEGE
from upkeep.errors import ProofFailed
from upkeep.resources import sql

GRANTS = "grants.sql"
"""The stream. A backup of a database in which nobody has rights of his own has none."""
PUBLIC = ("PUBLIC", "")
END = "-- Grants completed: "
NOT_READ = "accounts and their rights on this database are not in the backup: "
MAY_NOT = "the account may not read them; grant SELECT ON mysql.*"
CLIENT_ERRORS = range(2000, 3000)
"""About the connection; the others come from the server, about the statement."""
_NAME = r"(?:`(?:[^`]|``)*`|'(?:[^'\\]|''|\\.)*')"
_GRANT = re.compile(
    r"GRANT (?P<what>(?:[^`]|`(?:[^`]|``)*`)+?) ON (?P<kind>(?:[A-Z]+ )*)"
    rf"(?P<database>`(?:[^`]|``)+`)\.(?P<object>\*|{_NAME}) TO (?P<who>PUBLIC|{_NAME}(?:@{_NAME})?)"
    r"(?P<rest> WITH GRANT OPTION)?;?"
)
_DEFAULT_ROLE = re.compile(rf" DEFAULT ROLE {_NAME}(?:@{_NAME})?(?:, ?{_NAME}(?:@{_NAME})?)*")
_STATEMENT = re.compile(rb"(?:CREATE|GRANT|SET) .*;")
LONGEST_LINE = 1 << 20

Account = tuple[str, str]
"""User and host; a role of MariaDB has no host."""


@dataclass(frozen=True)
class Right:
    """One line of SHOW GRANTS about a database. ``database``, quoted, is a pattern where ``object`` is ``*``."""

    what: str
    kind: str
    database: str
    object: str
    who: str
    rest: str

    @classmethod
    def read(cls, line: str) -> Right | None:
        """None for what isn't about one database."""
        found = _GRANT.fullmatch(line)
        return cls(**{name: text or "" for name, text in found.groupdict().items()}) if found else None

    def __str__(self) -> str:
        """Without whose it is, as the manifest has it."""
        return f"{self.what} ON {self.kind}{self.database}.{self.object}{self.rest}"

    def statement(self, who: str, database: str = "") -> str:
        """Give it to ``who``, in ``database`` (quoted) instead of its own."""
        return f"GRANT {self.what} ON {self.kind}{database or self.database}.{self.object} TO {who}{self.rest}"


@dataclass
class Accounts:
    """``rights`` by account, ``script`` makes both again; empty where nobody has any."""

    was_read: bool = True
    script: str = ""
    rights: dict[str, list[str]] = field(default_factory=dict)
    everywhere: list[str] = field(default_factory=list)
    """Who has rights in all databases: only named, for what is theirs doesn't belong to this one."""
    statements: int = 0
    with_passwords: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def contents(self) -> dict[str, Any]:
        """What goes into the manifest: no statement that makes an account, for that may hold a hash."""
        if not self.was_read:
            return {}
        return {
            "grants": {
                "accounts": self.rights,
                "everywhere": self.everywhere,
                "statements": self.statements,
                "account_passwords": self.with_passwords,
            }
        }


def read_accounts(connection: Any, database: str, flavour: str, *, with_passwords: bool) -> Accounts:
    """``with_passwords``: keep the hashes; without them accounts are made locked.

    What the server refuses is a warning: rows without their accounts are a backup all the same. Errors:
    ``pymysql.MySQLError`` when the connection is lost.
    """
    try:
        return _Reader(connection, database, flavour, with_passwords=with_passwords).read()
    except pymysql.MySQLError as error:
        if error.args[0] in CLIENT_ERRORS:
            raise
        why = MAY_NOT if error.args[0] in NO_PRIVILEGE else str(error.args[-1])
        return Accounts(was_read=False, warnings=[NOT_READ + why])


class _Reader:
    def __init__(self, connection: Any, database: str, flavour: str, *, with_passwords: bool) -> None:
        self._connection, self._database = connection, database
        self._mariadb, self._with_passwords = flavour == "mariadb", with_passwords

    def read(self) -> Accounts:
        any_case = bool(self._all("SELECT @@lower_case_table_names AS any_case")[0]["any_case"])
        known = {_account(row): row for row in self._all(sql("mysql", "list_all_accounts"))}
        own = {
            _account(row)
            for row in self._all(sql("mysql", "list_grantees"))
            if self._is_ours(quoted(text_of(row["place"])), bool(row["is_pattern"]), any_case)
        }
        rights = {account: rights for account in sorted(own) if (rights := self._rights(account, any_case))}
        everywhere = [account for account, row in known.items() if row["is_global"]]
        roles, defaults = self._roles(rights, set(everywhere))
        made = sorted({*rights, *(member for member, _, _ in roles)} - {PUBLIC}, key=lambda each: (each[1] != "", each))
        statements = [self._create(account, known.get(account, {})) for account in made]
        told: dict[str, list[str]] = defaultdict(list)
        for account, held in rights.items():
            told[self._name(account)] += [str(right) for right in held]
            statements += [right.statement(self._name(account)) for right in held]
        for member, role, is_admin in roles:
            admin = " WITH ADMIN OPTION" if is_admin else ""
            told[self._name(member)].append(f"role {self._name(role)}{admin}")
            statements.append(f"GRANT {self._name(role)} TO {self._name(member)}{admin}")
        for member, held_roles in defaults.items():
            names = ", ".join(self._name(role) for role in held_roles)
            statements.append(f"SET DEFAULT ROLE {names} {'FOR' if self._mariadb else 'TO'} {self._name(member)}")
        whole = [statement for statement in statements if "\n" not in statement]
        return Accounts(
            script=self._script(whole) if whole else "",
            rights=dict(told),
            everywhere=sorted(self._name(account) for account in everywhere),
            statements=len(whole),
            with_passwords=self._with_passwords,
            warnings=[f"{GRANTS} lacks {len(statements) - len(whole)} statements about names with a line break in them"]
            if len(whole) < len(statements)
            else [],
        )

    def _is_ours(self, place: str, is_pattern: bool, any_case: bool) -> bool:
        if is_pattern:
            return covers_database(f"{place}.*", self._database, any_case=any_case)
        own = quoted(self._database)
        return place == own or (any_case and place.lower() == own.lower())

    def _rights(self, account: Account, any_case: bool) -> list[Right]:
        found = []
        for row in self._all(f"SHOW GRANTS FOR {self._name(account)}"):
            right = Right.read(text_of(next(iter(row.values()))))
            if right and self._is_ours(right.database, right.object == "*", any_case):
                found.append(right)
        return found

    def _roles(
        self, rights: Mapping[Account, Any], everywhere: set[Account]
    ) -> tuple[list[tuple[Account, Account, bool]], dict[Account, list[Account]]]:
        """Who has the roles that have rights here, be it by another role; and which of them are active from login on.

        Not those with rights everywhere: whoever makes a role on MariaDB has it.
        """
        rows = self._all_there_may_be(sql("mysql", f"list_role_members{'_mariadb' if self._mariadb else ''}"))
        given: list[tuple[Account, Account, bool]] = []
        defaults: dict[Account, list[Account]] = {}
        reached = list(rights)
        for role in reached:
            for row in rows:
                member = _account(row)
                if (text_of(row["role"]), text_of(row["role_host"])) != role or member in everywhere - rights.keys():
                    continue
                given.append((member, role, bool(row["is_admin"])))
                if row["is_default"]:
                    defaults.setdefault(member, []).append(role)
                if member not in reached:
                    reached.append(member)
        return given, defaults

    def _create(self, account: Account, row: Mapping[str, Any]) -> str:
        name = self._name(account)
        if self._mariadb and not account[1]:
            return f"CREATE ROLE IF NOT EXISTS {name}"
        if not self._with_passwords:
            return f"CREATE USER IF NOT EXISTS {name}{_required(row)} ACCOUNT LOCK"
        self._all_there_may_be("SET SESSION print_identified_with_as_hex = ON")  # MySQL 8's hashes are no text
        made = text_of(next(iter(self._all(f"SHOW CREATE USER {name}")[0].values())))
        return _DEFAULT_ROLE.sub("", made.replace("CREATE USER ", "CREATE USER IF NOT EXISTS ", 1), count=1)

    def _script(self, statements: list[str]) -> str:
        passwords = "with the hashes of their passwords" if self._with_passwords else "locked, without their passwords"
        head = [
            f"-- Accounts ({passwords}) and their rights on one database, to be run once it is there: mysql --force",
            "SET NAMES utf8mb4;",
        ]
        lines = [*head, *(f"{statement};" for statement in statements), f"{END}{len(statements)} statements", ""]
        return "\n".join(lines)

    def _name(self, account: Account) -> str:
        if account == PUBLIC and self._mariadb:
            return "PUBLIC"
        user, host = account
        return quoted(user) if self._mariadb and not host else f"{quoted(user)}@{quoted(host)}"

    def _all_there_may_be(self, statement: str) -> list[dict[str, Any]]:
        """MySQL 5.7 has no tables of roles, and MariaDB not every variable of MySQL."""
        try:
            return self._all(statement)
        except pymysql.MySQLError as error:
            if error.args[0] not in (ER.NO_SUCH_TABLE, ER.UNKNOWN_SYSTEM_VARIABLE):
                raise
            return []

    def _all(self, statement: str) -> list[dict[str, Any]]:
        return rows_of(self._connection, statement)


class GrantsCheck(StructureCheck):
    """The script is whole when it ends as it should and has as many statements as its manifest says."""

    def __init__(self, recorded: Mapping[str, Any]) -> None:
        self._wanted = int(recorded.get("statements", 0))
        self._found = self._size = 0
        self._rest = b""
        self._last = b""

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            raise ProofFailed(
                f"{GRANTS} has a line of more than {human_bytes(LONGEST_LINE)}",
                hint="it is not such a script: back up again",
            )
        for line in lines:
            self._found += _STATEMENT.fullmatch(line) is not None
            self._last = line

    def close(self) -> dict[str, Any]:
        if self._rest or not self._last.startswith(END.encode()):
            raise ProofFailed(
                f"{GRANTS} has no last line {END.strip()!r}: it broke off",
                hint="don't rely on it: back up again",
            )
        statements = self._found - 1  # SET NAMES
        if statements != self._wanted:
            raise ProofFailed(
                f"{GRANTS} has {statements} statements, its manifest says {self._wanted}",
                hint="don't rely on it: back up again",
            )
        return {"plain_bytes": self._size, "statements": statements}


def rights_in(script: str) -> Iterator[tuple[str, Right | None, str]]:
    """Of each GRANT in the script: whose it is, the right (None for a role), and how the manifest has it."""
    for line in script.split("\n"):
        if right := Right.read(line):
            yield right.who, right, str(right)
        elif found := re.fullmatch(
            rf"GRANT (?P<role>{_NAME}(?:@{_NAME})?) TO (?P<who>{_NAME}(?:@{_NAME})?)(?P<rest> WITH ADMIN OPTION)?;",
            line,
        ):
            yield found["who"], None, f"role {found['role']}{found['rest'] or ''}"


def _required(row: Mapping[str, Any]) -> str:
    """What TLS an account has to come with: it must not be weaker once somebody unlocks it."""
    kind = text_of(row.get("ssl_type"))
    if kind in ("ANY", "X509"):
        return " REQUIRE SSL" if kind == "ANY" else " REQUIRE X509"
    parts = {
        "CIPHER": row.get("ssl_cipher"),
        "ISSUER": row.get("x509_issuer"),
        "SUBJECT": row.get("x509_subject"),
    }
    named = [f"{word} {literal(text_of(value))}" for word, value in parts.items() if value]
    return f" REQUIRE {' AND '.join(named)}" if named else ""


def _account(row: Mapping[str, Any]) -> Account:
    return text_of(row["user"]), text_of(row["host"])
