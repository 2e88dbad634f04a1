"""Accounts of MySQL and MariaDB that are too easily had or may too much. No hash is kept or shown."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from upkeep.domain.findings import Inspection
from upkeep.engines.degrading import degrading
from upkeep.engines.mysql_statements import literal, text_of
from upkeep.resources import sql

if TYPE_CHECKING:
    from upkeep.engines.mysql_engine import MySqlEngine

_BY_PASSWORD = {
    "", "mysql_native_password", "mysql_old_password", "caching_sha2_password", "sha256_password", "ed25519", "parsec",
}  # fmt: skip
_BY_SOCKET = {"unix_socket", "auth_socket"}
_HERE = {"localhost", "127.0.0.1", "::1"}
_SUPER = 1 << 15
"""MariaDB's bit of the privilege SUPER, in ``access`` of mysql.global_priv."""


_Key = tuple[str, str]
"""User and host; roles of MariaDB have no host."""


@dataclass(frozen=True)
class _Account:
    user: str
    host: str
    no_password: bool
    """Whoever connects and says the name is in."""
    superuser: bool
    by_socket_only: bool = False
    is_nobody: bool = False
    """It can't log in: a role, or locked. What it may do, others may have through it."""

    @property
    def key(self) -> _Key:
        return self.user, self.host

    @property
    def name(self) -> str:
        """As statements take it."""
        return f"{literal(self.user)}@{literal(self.host)}" if self.host or not self.is_nobody else literal(self.user)

    @property
    def from_anywhere(self) -> bool:
        return self.host in ("%", "")


def mysql_accounts(engine: MySqlEngine) -> Inspection:
    """Errors: ``SourceError`` when the server doesn't answer."""
    import pymysql

    inspection = Inspection()
    server = engine.endpoint.address(3306)
    surprises = (pymysql.MySQLError, ValueError)
    with (
        closing(engine.connect()) as connection,
        connection.cursor() as cursor,
        degrading(inspection.unread, f"accounts of {server}", surprises, engine.secrets),
    ):
        cursor.execute(sql("mysql", "list_limits"))
        mariadb = "mariadb" in str((cursor.fetchone() or {})["version"]).lower()
        cursor.execute(sql("mysql", "list_mariadb_accounts" if mariadb else "list_accounts"))
        accounts = {one.key: one for one in (_of_mariadb if mariadb else _of_mysql)(list(cursor.fetchall()))}
        given: defaultdict[_Key, list[_Key]] = defaultdict(list)
        with degrading(inspection.unread, f"roles of {server}", surprises, engine.secrets):
            cursor.execute(sql("mysql", "list_role_members_mariadb" if mariadb else "list_role_members"))
            for row in cursor.fetchall():
                user, host, role, role_host = (text_of(row[key]) for key in ("user", "host", "role", "role_host"))
                given[user, host].append((role, role_host))
        for account in accounts.values():
            if not account.is_nobody:
                roles = [accounts[key] for key in given[account.key] if _may_all(key, given, accounts)]
                _judge(inspection, account, roles[0] if roles else None, server)
    return inspection


def _may_all(
    key: _Key,
    given: Mapping[_Key, Sequence[_Key]],
    accounts: Mapping[_Key, _Account],
    seen: frozenset[_Key] = frozenset(),
) -> bool:
    """Whether an account or a role may do everything, by itself or through a role that it has."""
    if key in seen or key not in accounts:
        return False
    beyond = (_may_all(role, given, accounts, seen | {key}) for role in given.get(key, ()))
    return accounts[key].superuser or any(beyond)


def _judge(inspection: Inspection, account: _Account, role: _Account | None, server: str) -> None:
    """``role``: the one of the account's through which it may do everything."""
    where = f"{account.name} on {server}"
    superuser = account.superuser or role is not None
    if not account.user:
        inspection.add(
            "anonymous-account",
            where,
            "high" if account.no_password else "medium",
            f"{where} lets in whatever name is said",
            f"DROP USER {account.name}",
        )
    elif account.no_password:
        inspection.add(
            "account-without-password",
            where,
            "high",
            f"{where} has no password",
            f"ALTER USER {account.name} IDENTIFIED BY '...', or DROP USER {account.name}",
        )
    expected = account.host in _HERE and (account.user == "root" or account.by_socket_only)
    if superuser and not expected:
        through = role.name if role and not account.superuser else ""
        inspection.add(
            "superuser-account",
            where,
            "high" if account.from_anywhere else "medium",
            f"{where} may do everything{f' through the role {through}' if through else ''}"
            f"{', from every address' if account.from_anywhere else ''}",
            f"REVOKE {through or 'ALL PRIVILEGES, GRANT OPTION'} FROM {account.name}; "
            "then grant what it needs, on its own database",
        )
    elif account.from_anywhere and not superuser:
        inspection.add(
            "account-from-anywhere",
            where,
            "medium",
            f"{where} may log in from every address",
            f"RENAME USER {account.name} TO {literal(account.user)}@'the network it comes from, as 10.1.%'",
        )


def _of_mysql(rows: list[Mapping[str, Any]]) -> Iterator[_Account]:
    """A locked account can't log in; the server's own (mysql.sys, ...) and roles are locked."""
    for row in rows:
        plugin = str(row["plugin"] or "")
        yield _Account(
            text_of(row["user"]),
            text_of(row["host"]),
            plugin in _BY_PASSWORD and bool(row["no_password"]),
            bool(row["superuser"]),
            plugin in _BY_SOCKET,
            is_nobody=bool(row["locked"]) or plugin == "mysql_no_login",
        )


def _of_mariadb(rows: list[Mapping[str, Any]]) -> Iterator[_Account]:
    """``Priv`` holds ``access``, ``plugin``, ``authentication_string``, ``account_locked``, ``is_role``, and in
    ``auth_or`` the ways to log in, of which an empty one stands for the outer plugin.
    """
    for row in rows:
        privileges = json.loads(row["privileges"])
        ways = [way or privileges for way in privileges.get("auth_or") or [privileges]]
        usable = [way for way in ways if way.get("authentication_string") != "invalid"]  # how root is shut out
        yield _Account(
            text_of(row["user"]),
            text_of(row["host"]),
            any(_is_open(way) for way in usable),
            bool(int(privileges.get("access", 0)) & _SUPER),
            bool(usable) and all(way.get("plugin") in _BY_SOCKET for way in usable),
            is_nobody=bool(privileges.get("account_locked") or privileges.get("is_role")),
        )


def _is_open(way: Mapping[str, Any]) -> bool:
    return way.get("plugin", "") in _BY_PASSWORD and not way.get("authentication_string")
