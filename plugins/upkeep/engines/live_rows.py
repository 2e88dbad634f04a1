"""How many rows each table of a live database has, without getting in anybody's way."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pymysql
from psycopg.sql import Identifier

from upkeep.engines import mysql_catalogue, postgres_catalogue
from upkeep.engines.mysql_errors import is_about_the_connection
from upkeep.engines.mysql_statements import limit_statements, rows_of
from upkeep.errors import RestoreUnavailable
from upkeep.resources import sql

EACH_S = 5
"""For counting one table; one that takes longer is guessed."""
ALL_S = 60
"""After so long the rest is guessed."""


def count_rows(connection: Any, engine: str) -> dict[str, tuple[int, bool]]:
    """Rows by the manifest's names, and whether they were counted; else they are the server's guess.

    Errors: ``RestoreUnavailable`` when the database doesn't answer.
    """
    try:
        return _of_mysql(connection) if engine == "mysql" else _of_postgres(connection)
    except (pymysql.MySQLError, psycopg.Error) as error:
        raise RestoreUnavailable(
            f"the live database can't be looked at: {str(error.args[-1] if error.args else error).strip()}",
            hint="see the server's log; its account has to read all tables",
        ) from error


def _of_mysql(connection: Any) -> dict[str, tuple[int, bool]]:
    limit_statements(connection, EACH_S)
    until = time.monotonic() + ALL_S
    found = {}
    for table in rows_of(connection, sql("mysql", "list_tables")):
        name = str(table["name"])
        found[name] = int(table["row_estimate"] or 0), False
        if time.monotonic() < until:
            try:
                found[name] = mysql_catalogue.count(connection, name), True
            except pymysql.err.OperationalError as error:  # a limit that was reached is no reason to give up
                if is_about_the_connection(error):
                    raise
    return found


def _of_postgres(connection: Any) -> dict[str, tuple[int, bool]]:
    until = time.monotonic() + ALL_S
    found = {}
    connection.autocommit = True
    for table in connection.execute(sql("postgres", "list_tables").encode()).fetchall():
        name = f"{table['schema']}.{table['name']}"
        found[name] = max(0, int(table["row_estimate"])), False
        if time.monotonic() < until:
            try:
                with connection.transaction():
                    connection.execute(f"SET LOCAL statement_timeout = '{EACH_S}s'".encode())
                    count = postgres_catalogue.count(connection, Identifier(table["schema"], table["name"]))
                    found[name] = count, True
            except psycopg.errors.QueryCanceled:
                continue
    return found
