"""What PostgreSQL says about the use of its indexes, its statements, locks and settings. Only read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.rows import DictRow

from upkeep.domain.findings import Inspection
from upkeep.domain.masking import mask
from upkeep.domain.names import quoted
from upkeep.domain.review_indexes import SMALL_ROWS, Index, judge_indexes, judge_use
from upkeep.domain.review_settings import POSTGRES_RULES, Advice, Server, judge_settings
from upkeep.domain.review_statements import Reviewed, Statement, Wait, judge_statements, judge_wait, without_values
from upkeep.engines.degrading import in_a_line
from upkeep.engines.postgres_engine import PostgresEngine
from upkeep.engines.review_host import memory_of
from upkeep.resources import sql

STATEMENT_LIMIT_S = 30
_HIDDEN = "<insufficient privilege>"


def postgres_index_review(engine: PostgresEngine) -> Reviewed:
    """Errors: ``SourceError`` when the server doesn't answer."""
    reviewed = Reviewed()
    with _session(engine) as session:
        with session.reading(reviewed, "indexes"):
            indexes = [_index(row) for row in session.all("list_all_indexes")]
            judge_indexes(reviewed, indexes, server=session.where, drop=_drop)
            age = timedelta(seconds=float(session.all("measure_statistics_age")[0]["seconds"]))
            judge_use(reviewed, indexes, age, server=session.where, drop=_drop, elsewhere=" and no standby's reader")
        with session.reading(reviewed, "foreign keys"):
            for row in session.all("list_bare_keys"):
                _judge_key(reviewed, row, session.where)
    return reviewed


def postgres_statement_review(engine: PostgresEngine) -> Reviewed:
    reviewed = Reviewed()
    with _session(engine) as session, session.reading(reviewed, "statements", "pg_read_all_stats"):
        place = session.all("list_statements_place")
        if not place:
            reviewed.add(
                "not-measured",
                f"statements of {session.where}",
                "low",
                f"statements of {session.where} can't be reviewed: pg_stat_statements isn't installed there",
                "shared_preload_libraries = 'pg_stat_statements' in postgresql.conf, a restart, and in the database "
                "CREATE EXTENSION pg_stat_statements",
            )
            return reviewed
        names = {"schema": quoted("postgres", place[0]["schema"])}
        names |= (
            {"total": "total_time", "worst": "max_time"}
            if place[0]["is_old"]
            else {"total": "total_exec_time", "worst": "max_exec_time"}
        )
        rows = session.all("measure_statements", **names)
        if any(row["text"] == _HIDDEN for row in rows):
            reviewed.unread.append(
                f"statements of other accounts of {session.where} (the account may not read them: "
                "GRANT pg_read_all_stats to it)"
            )
        judge_statements(
            reviewed,
            (
                Statement(
                    str(row["id"]),
                    mask(without_values(str(row["text"] or "")), engine.secrets),
                    int(row["calls"]),
                    float(row["total_s"]),
                    float(row["worst_s"]),
                )
                for row in rows
                if row["text"] != _HIDDEN
            ),
            server=session.where,
        )
    return reviewed


def postgres_lock_review(engine: PostgresEngine) -> Inspection:
    inspection = Inspection()
    with _session(engine) as session, session.reading(inspection, "lock waits", "pg_read_all_stats"):
        if not session.all("list_reviewer")[0]["sees_all"]:
            inspection.unread.append(
                f"what other accounts of {session.where} wait for (the account may not read it: "
                "GRANT pg_read_all_stats to it)"
            )
        for row in session.all("list_lock_waits"):
            wait = Wait(
                int(row["waiting"]),
                int(row["blocking"]),
                str(row["table_name"] or "rows"),
                float(row["waited_s"] or 0),
                float(row["open_s"] or 0),
                mask(without_values(str(row["query"] or "")), engine.secrets),
            )
            end = f"SELECT pg_terminate_backend({wait.blocking})"
            judge_wait(inspection, wait, server=session.where, lock_timeout_s=engine.lock_timeout_s, end=end)
    return inspection


def postgres_settings_review(engine: PostgresEngine) -> Inspection:
    inspection = Inspection()
    with _session(engine) as session, session.reading(inspection, "settings"):
        rows = session.all("list_settings")
        values = {str(row["name"]): str(row["value"]) for row in rows}
        restart = {str(row["name"]) for row in rows if row["needs_restart"]}
        sizes = {str(row["name"]) for row in rows if row["is_size"]}
        server = Server(memory_of(engine.endpoint), int(session.all("measure_data")[0]["size"]))

        def how(advice: Advice) -> str:
            then = "restart the server" if advice.setting in restart else "SELECT pg_reload_conf()"
            unit = "B" if advice.setting in sizes else ""
            return f"ALTER SYSTEM SET {advice.setting} = '{advice.value}{unit}', then {then}"

        judge_settings(inspection, POSTGRES_RULES, values, server, where=session.server, how=how)
    return inspection


@contextmanager
def postgres_backend(engine: PostgresEngine) -> Iterator[int]:
    """A process of the server, as its own machine numbers it, alive in the block. Errors: ``SourceError``."""
    with _session(engine) as session:
        yield int(session.all("list_reviewer")[0]["pid"])


@dataclass
class _Session:
    engine: PostgresEngine
    connection: psycopg.Connection[DictRow]

    @property
    def server(self) -> str:
        return self.engine.endpoint.address(5432)

    @property
    def where(self) -> str:
        return f"{self.server}/{self.engine.database}"

    def all(self, name: str, **names: str) -> list[DictRow]:
        text = sql("postgres", name)
        return self.connection.execute((text.format(**names) if names else text).encode()).fetchall()

    @contextmanager
    def reading(self, inspection: Inspection, what: str, grant: str = "SELECT") -> Iterator[None]:
        """What can't be read is said, with the grant that is missing, and the rest is read."""
        try:
            yield
        except psycopg.errors.InsufficientPrivilege as error:
            said = mask(in_a_line(error), self.engine.secrets)
            inspection.unread.append(f"{what} of {self.where} ({said}: GRANT {grant} to the account)")
        except psycopg.Error as error:
            inspection.unread.append(f"{what} of {self.where} ({mask(in_a_line(error), self.engine.secrets)})")


@contextmanager
def _session(engine: PostgresEngine) -> Iterator[_Session]:
    with closing(engine.connect()) as connection:
        connection.autocommit = True
        connection.execute(f"SET statement_timeout = '{STATEMENT_LIMIT_S}s'".encode())
        connection.execute(f"SET lock_timeout = '{engine.lock_timeout_s}s'".encode())
        yield _Session(engine, connection)


def _index(row: DictRow) -> Index:
    return Index(
        table=f"{row['schema']}.{row['table_name']}",
        name=str(row["name"]),
        keys=tuple(row["keys"]),
        method=str(row["method"]),
        unique=bool(row["is_unique"]),
        primary=bool(row["is_primary"]),
        constraint=bool(row["is_constraint"]),
        includes=frozenset(row["includes"]),
        predicate=str(row["predicate"]),
        needed=str(row["needed"]),
        size=int(row["size"] or 0),
        scans=None if row["scans"] is None else int(row["scans"]),
    )


def _drop(index: Index) -> str:
    schema, _, table = index.table.partition(".")
    if index.constraint:
        return f"ALTER TABLE {quoted('postgres', schema, table)} DROP CONSTRAINT {quoted('postgres', index.name)}"
    return f"DROP INDEX CONCURRENTLY {quoted('postgres', schema, index.name)}"


def _judge_key(inspection: Inspection, row: dict[str, Any], where: str) -> None:
    table = quoted("postgres", row["schema"], row["table_name"])
    label = f"{row['schema']}.{row['table_name']}"
    columns = ", ".join(row["columns"])
    inspection.add(
        "bare-foreign-key",
        f"{label}.{row['name']} on {where}",
        "medium" if row["row_estimate"] > SMALL_ROWS else "low",
        f"foreign key {row['name']} of {label} on {where} ({columns}) has no index: each delete in {row['refers_to']} "
        f"reads all of {label}",
        f"CREATE INDEX CONCURRENTLY ON {table} ({', '.join(quoted('postgres', name) for name in row['columns'])})",
    )
