"""Who writes to a MySQL or MariaDB server although it is read only, and has a session on a database now."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pymysql

from upkeep.engines.mysql_engine import server_release
from upkeep.engines.mysql_statements import quoted, rows_of
from upkeep.resources import sql

SUPER_DOES_NOT = (10, 11)
"""The first MariaDB whose SUPER doesn't let an account write."""
_GLOBAL = re.compile(r"GRANT (.*) ON \*\.\* TO ")


def exempt_accounts(connection: Any) -> list[str]:
    """As ``user@host``, all that one may become by a role included; without the account that asks.

    What an account may not see of others isn't in it; who may restore over live sees them all.
    """
    flavour, version = server_release(str(rows_of(connection, "SELECT VERSION() AS version")[0]["version"]))
    by_super = flavour == "mysql" or version < SUPER_DOES_NOT
    found = [
        _account(str(row["grantee"])) for row in rows_of(connection, sql("mysql", "list_exempt_accounts"), by_super)
    ]
    with suppress(pymysql.MySQLError):  # MySQL 5.7 has no roles, and an account may be kept from looking at them
        mariadb = "_mariadb" if flavour == "mariadb" else ""
        if mariadb:
            found += _exempt_roles(connection, by_super)
        members = rows_of(connection, sql("mysql", f"list_role_members{mariadb}"))
        for role in found:  # which grows meanwhile
            given = [f"{row['user']}@{row['host']}" for row in members if f"{row['role']}@{row['role_host']}" == role]
            found += [account for account in given if account not in found]
        found = [account for account in found if not account.endswith("@")]
    own = str(rows_of(connection, "SELECT CURRENT_USER() AS own")[0]["own"])
    return sorted({account for account in found if account != own and not account.startswith("mysql.")})


def exempt_sessions(connection: Any, database: str) -> list[str]:
    """Sessions that have ``database`` open and could write to it, the asking account's others included.

    Errors: the server's, for an account without PROCESS: it would see none but its own, and find nobody.
    """
    rows_of(connection, sql("mysql", "list_transactions"))
    own = str(rows_of(connection, "SELECT CURRENT_USER() AS own")[0]["own"])
    users = sorted({account.rpartition("@")[0] for account in [*exempt_accounts(connection), own]})
    rows = rows_of(connection, sql("mysql", "list_sessions_of_users"), database, users)
    return [f"{row['user']} from {row['host']} (session {row['id']})" for row in rows]


def _exempt_roles(connection: Any, by_super: bool) -> list[str]:
    lets = {"ALL PRIVILEGES", "READ_ONLY ADMIN", *(["SUPER"] if by_super else [])}
    found = []
    for role in (str(row["role"]) for row in rows_of(connection, sql("mysql", "list_roles_mariadb"))):
        for row in rows_of(connection, f"SHOW GRANTS FOR {quoted(role)}"):
            grant = _GLOBAL.match(str(next(iter(row.values()))))
            if grant and lets & set(grant[1].split(", ")):
                found.append(f"{role}@")
    return found


def _account(grantee: str) -> str:
    """``'user'@'host'``, whose quotes are put around it and nothing more."""
    user, _, host = grantee.rpartition("@")
    return f"{user[1:-1]}@{host[1:-1]}"
