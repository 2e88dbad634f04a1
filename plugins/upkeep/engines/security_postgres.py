"""Roles of PostgreSQL that may too much, and rules that let people in too easily. No hash is read."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from upkeep.domain.findings import Inspection
from upkeep.domain.names import quoted
from upkeep.engines.degrading import degrading
from upkeep.engines.health import STATEMENT_LIMIT_S
from upkeep.resources import sql

if TYPE_CHECKING:
    from upkeep.engines.postgres_engine import PostgresEngine

_HERE = {"127.0.0.1", "::1", "samehost"}


def postgres_roles(engine: PostgresEngine) -> Inspection:
    """Errors: ``SourceError`` when the server doesn't answer. Passwords and rules are shown to superusers only."""
    import psycopg

    inspection = Inspection()
    server = engine.endpoint.address(5432)
    judges = (
        ("roles", "list_roles", _judge_role),
        ("role passwords", "list_role_passwords", _judge_password),
        ("pg_hba.conf", "list_hba_rules", _judge_rule),
    )
    with closing(engine.connect()) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = '{STATEMENT_LIMIT_S}s'".encode())
            for what, statement, judge in judges:
                with degrading(inspection.unread, f"{what} of {server}", psycopg.Error, engine.secrets):
                    for row in cursor.execute(sql("postgres", statement).encode()).fetchall():
                        judge(inspection, row, server)
    return inspection


def _judge_role(inspection: Inspection, row: Mapping[str, Any], server: str) -> None:
    where = f"role {row['role']} on {server}"
    name = quoted("postgres", str(row["role"]))
    if row["superuser"] and not row["first"]:
        inspection.add(
            "superuser-role",
            where,
            "medium",
            f"{where} is a superuser",
            f"ALTER ROLE {name} NOSUPERUSER, then grant what it needs (pg_read_all_data, pg_monitor, ...)",
        )
    if row["through"]:
        inspection.add(
            "superuser-role",
            where,
            "medium",
            f"{where} may do everything as a member of {row['through']}",
            f"REVOKE {quoted('postgres', str(row['through']))} FROM {name}, or from the role by which it is a member",
        )
    if row["expired"] and row["may_login"]:
        inspection.add(
            "expired-role",
            where,
            "low",
            f"the password of {where} has expired",
            f"set a new one and ALTER ROLE {name} VALID UNTIL '...', or ALTER ROLE {name} NOLOGIN",
        )


def _judge_password(inspection: Inspection, row: Mapping[str, Any], server: str) -> None:
    where = f"role {row['role']} on {server}"
    name = quoted("postgres", str(row["role"]))
    if row["missing"]:
        inspection.add(
            "role-without-password",
            where,
            "low",
            f"{where} may log in and has no password: whatever lets it in asks for none, or nothing does",
            f"\\password {name}, or ALTER ROLE {name} NOLOGIN; leave it where it comes by peer or certificate",
        )
    if row["md5"]:
        inspection.add(
            "md5-password",
            where,
            "low",
            f"the password of {where} is kept as MD5",
            f"SET password_encryption = 'scram-sha-256', then \\password {name}",
        )


def _judge_rule(inspection: Inspection, row: Mapping[str, Any], server: str) -> None:
    columns = ("type", "databases", "roles", "address", "netmask", "method")
    rule = " ".join(str(row[column]) for column in columns if row[column])
    from_here = row["type"] == "local" or row["address"] in _HERE
    where = f"pg_hba.conf line '{rule}' on {server}"
    remedy = f"put scram-sha-256 in place of {row['method']} into pg_hba.conf, then SELECT pg_reload_conf()"
    if row["method"] == "trust":
        who = "everyone on its machine" if from_here else "everyone who reaches the server from there"
        inspection.add("trusting-rule", where, "medium" if from_here else "high", f"{where} lets in {who}", remedy)
    elif not from_here and row["type"] in ("host", "hostnossl"):
        inspection.add("readable-password-rule", where, "medium", f"{where} sends passwords readable", remedy)
