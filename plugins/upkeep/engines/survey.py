"""A first look at a database that nobody has described yet: how large it is, and what the account may not do there."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from upkeep.engines.grants import Grant, Names, grants, written
from upkeep.resources import sql

if TYPE_CHECKING:
    from upkeep.engines.mysql_engine import MySqlEngine
    from upkeep.engines.postgres_engine import PostgresEngine

Tables = Mapping[str, Sequence[str]]
EVERY_TABLE: Tables = {"tend_tables": ["*"]}
"""What the week wants where the site names no tables."""
_ON_TABLE = re.compile(r"GRANT (?P<rights>[A-Z, ]+) ON (?P<table>\"(?:[^\"]|\"\")*\".*) TO ")
_ON_FUNCTION = re.compile(r"GRANT EXECUTE ON FUNCTION (?P<function>.*) TO ")
_TO_ROLE = re.compile(r'GRANT "?(?P<role>[^" ]+)"? TO ')


@dataclass(frozen=True)
class SurveyedTable:
    name: str
    bytes: int
    has_key: bool


@dataclass(frozen=True)
class Surveyed:
    """``lacking``: statements that would give the account what it lacks, with its own name in them."""

    flavour: str
    version: tuple[int, ...]
    account: str
    tables: tuple[SurveyedTable, ...] = ()
    lacking: tuple[Grant, ...] = field(default_factory=tuple)

    @property
    def server(self) -> str:
        title = {"mysql": "MySQL", "mariadb": "MariaDB", "postgres": "PostgreSQL"}[self.flavour]
        return f"{title} {'.'.join(map(str, self.version))}"

    @property
    def bytes(self) -> int:
        return sum(table.bytes for table in self.tables)


def mysql_survey(engine: MySqlEngine, parts: Sequence[str], tables: Tables = EVERY_TABLE) -> Surveyed:
    """``parts``: what the account is for (``grants.PARTS``); ``tables``: by duty. Errors: ``SourceError``."""
    from upkeep.engines.mysql_engine import server_release
    from upkeep.engines.mysql_grants import lacks
    from upkeep.engines.mysql_statements import literal

    with engine.told("look into"), closing(engine.connect()) as connection, connection.cursor() as cursor:

        def rows(statement: str) -> list[dict[str, Any]]:
            cursor.execute(sql("mysql", statement))
            return list(cursor.fetchall())

        (who,) = rows("list_who")
        user, _, host = str(who["account"]).rpartition("@")
        flavour, version = server_release(str(who["version"]))
        held = [str(next(iter(row.values()))) for row in rows("list_grants")]
        known = {str(row["Privilege"]).upper() for row in rows("list_privileges")}
        account = f"{literal(user)}@{literal(host)}"
        wanted = _wanted(flavour, parts, Names(account, engine.database, tables))
        return Surveyed(
            flavour,
            version,
            account,
            tuple(
                SurveyedTable(str(r["name"]), int(r["bytes"]), bool(r["has_key"])) for r in rows("list_surveyed_tables")
            ),
            tuple(grant for grant in wanted if lacks(held, grant.statement, known)),
        )


def postgres_survey(engine: PostgresEngine, parts: Sequence[str], tables: Tables = EVERY_TABLE) -> Surveyed:
    """``parts``: what the account is for (``grants.PARTS``); ``tables``: by duty. Errors: ``SourceError``."""
    from upkeep.engines.tools import numbers

    with engine.told("look into"), closing(engine.connect()) as connection:
        connection.autocommit = True

        def rows(statement: str, *values: str) -> list[dict[str, Any]]:
            return connection.execute(sql("postgres", statement).encode(), values or None).fetchall()

        (who,) = rows("list_who")
        account, there = str(who["account"]), rows("list_surveyed_tables")
        owners = sorted({str(row["owner"]) for row in there})
        mighty = {str(row["owner"]) for row in there if row["of_superuser"]}
        wanted = [
            grant
            for owner in owners or ["{owner}"]
            for grant in _wanted("postgres", parts, Names(account, engine.database, tables, owner))
        ]

        def held(statement: str) -> bool:
            if who["superuser"] or "{" in statement:
                return True
            if statement.endswith(" CREATEDB"):
                return bool(who["may_create"])
            if found := _ON_FUNCTION.match(statement):
                return bool(rows("list_function_right", found["function"])[0]["held"])
            if found := _ON_TABLE.match(statement):
                table, rights = found["table"], found["rights"].split(", ")
                return all(rows("list_table_right", table, right)[0]["held"] for right in rights)
            found = _TO_ROLE.match(statement)
            return found is not None and bool(rows("list_role_right", found["role"])[0]["held"])

        return Surveyed(
            "postgres",
            numbers(str(who["version"])),
            account,
            tuple(SurveyedTable(str(r["name"]), int(r["bytes"]), bool(r["has_key"])) for r in there),
            tuple(_warned(grant, mighty) for grant in dict.fromkeys(wanted) if not held(grant.statement)),
        )


def _warned(grant: Grant, mighty: Container[str]) -> Grant:
    """Whoever is a member of a superuser may become it: nobody should run that statement unaware."""
    found = _TO_ROLE.match(grant.statement)
    if found is None or found["role"] not in mighty:
        return grant
    note = f"{found['role']} is a superuser, so the account would be one: give the tables an owner of their own first"
    return replace(grant, note=note)


def _wanted(flavour: str, parts: Iterable[str], names: Names) -> list[Grant]:
    return [grant for part in parts for grant in written(flavour, grants(flavour, part), names)]
