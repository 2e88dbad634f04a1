"""Partitions of PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, Self

import psycopg
from psycopg.rows import DictRow

from upkeep.domain.names import quoted
from upkeep.domain.partition_bounds import NotUnderstood, postgres_kind
from upkeep.domain.partition_plan import months_of
from upkeep.domain.partitions import ROWS_PER_S, CatchAll, Existing, Layout, Measured, New, Rule, Step
from upkeep.engines.degrading import in_a_line
from upkeep.engines.partitions import LOOK_LIMIT_S, Partitioning
from upkeep.engines.postgres_engine import PostgresEngine
from upkeep.engines.postgres_session import PostgresSession, identifier, percent, why_read_only
from upkeep.engines.row_purge import LockedOut
from upkeep.errors import SourceError
from upkeep.resources import sql

_LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, psycopg.errors.QueryCanceled)
_COUNTED = 1_000_000_000
_PAUSE_S = 0.1
_KEPT = {"f": "a foreign table, whose rows no backup holds", "p": "partitioned itself"}


class PostgresPartitioning(PostgresSession, Partitioning):
    def __init__(self, engine: PostgresEngine) -> None:
        super().__init__(engine)
        self._tables: dict[str, dict[str, Any]] = {}
        """What a statement needs of each table that was looked at, by its label."""
        self._names: dict[tuple[str, str], str] = {}
        """Quoted full names of partitions, by table and by the name that a plan knows."""

    def __enter__(self) -> Self:
        with self.engine.told("look into"), ExitStack() as stack:
            self._connection = stack.enter_context(self.engine.connect())
            self._connection.autocommit = True
            self._facts = self._rows(sql("postgres", "list_purge_server"))[0]
            self.server = f"postgres {self._facts['version']}"
            self._limit(LOOK_LIMIT_S)
            self._stack = stack.pop_all()
        return self

    def read_only(self) -> str:
        return why_read_only(self._facts, self.engine.endpoint)

    def look(self, rule: Rule, timezone: str) -> Layout | None:
        with self.engine.told("look into"):
            found = self._rows(sql("postgres", "list_partitioned_table"), rule.column, rule.table, rule.table)
            if len(found) > 1:
                raise SourceError(
                    f"{rule.table!r} may mean tables of two schemas in database {self.engine.database!r}",
                    hint=f"write public.{rule.table} in the site file if that is meant, else rename one of them",
                )
            if not found or not found[0]["is_table"]:
                return None
            facts = found[0]
            place = (str(facts["schema"]), str(facts["name"]))
            if not facts["partitioned"]:
                return Layout("postgres", place, partitioned=False)
            return self._described(place, facts, rule, timezone)

    def _described(self, place: tuple[str, str], facts: dict[str, Any], rule: Rule, timezone: str) -> Layout:
        rows = self._rows(sql("postgres", "list_partitions"), facts["oid"])
        existing = []
        for row in rows:
            name = str(row["name"]) if row["schema"] == place[0] else f"{row['schema']}.{row['name']}"
            self._names[".".join(place), name] = quoted("postgres", row["schema"], row["name"])
            existing.append(Existing(name, str(row["bound"]), bool(row["pending"]), _KEPT.get(row["kind"], "")))
        layout = Layout(
            "postgres", place, partitioned=True, existing=tuple(existing), taken=frozenset(facts["taken"] or ())
        )
        self._tables[layout.label] = facts
        if any(row["kind"] == "p" for row in rows):
            return replace(layout, trouble=f"by {facts['key']}, and its partitions are partitioned again")
        try:
            kind = postgres_kind(
                facts["strategy"], facts["key"], facts["columns"], rule.column, str(facts["data_type"] or "")
            )
            layout = replace(layout, kind=kind)
            zone = months_of(layout, timezone).zone
        except NotUnderstood as error:
            return replace(layout, kind=None, trouble=str(error))
        for row, one in zip(rows, existing, strict=True):
            if one.bound == "DEFAULT":
                catch_all = self._catch_all(layout, rule, one.name, row, zone.key if zone else None)
                layout = replace(layout, catch_all=catch_all)
        return layout

    def _catch_all(self, layout: Layout, rule: Rule, name: str, row: Mapping[str, Any], zone: str | None) -> CatchAll:
        most = ROWS_PER_S * self.engine.lock_timeout_s
        column = identifier(rule.column)
        names = {"partition": percent(self._names[layout.label, name]), "column": column, "local": column}
        if zone:
            names["local"] = f"{column} AT TIME ZONE '{zone}'"  # an IANA name, checked when the site was read
        counted = int(self._rows(sql("postgres", "measure_partition").format(**names), most + 1)[0]["row_count"])
        if counted > most:
            return CatchAll(name, counted, int(row["size"]))
        landed = self._rows(sql("postgres", "measure_landed").format(**names), *())
        return CatchAll(
            name,
            counted,
            int(row["size"]),
            {str(one["month"]): int(one["row_count"]) for one in landed},
            tuple(self._hindrances(layout, int(row["oid"]))),
        )

    def _hindrances(self, layout: Layout, oid: int) -> Iterator[str]:
        """Moving a row deletes it here, and to triggers and foreign keys that is a delete like any other."""
        for row in self._rows(sql("postgres", "list_delete_triggers"), oid):
            yield f"trigger {row['name']}"
        for row in self._rows(sql("postgres", "list_keys_to_table"), self._tables[layout.label]["oid"]):
            yield f"foreign key {row['name']} of {row['table_name']}"

    def measure(self, layout: Layout, rule: Rule, partition: str) -> Measured:
        names = {"partition": percent(self._names[layout.label, partition])}
        with self.engine.told("count rows in"):
            try:
                counted = self._rows(sql("postgres", "measure_partition").format(**names), _COUNTED)
            except _LOCKED:
                return Measured(trouble=f"its rows can't be counted within {LOOK_LIMIT_S} s, or others hold it")
        return Measured(rows=int(counted[0]["row_count"]))

    # Changing.

    def statement(self, layout: Layout, rule: Rule, step: Step) -> str:
        return ";\n".join(_bare(text) for text in self._statements(layout, rule, step))

    def apply(self, layout: Layout, rule: Rule, step: Step) -> None:
        statements = self._statements(layout, rule, step)
        limit = self.engine.lock_timeout_s
        try:
            if step.action in ("add", "split"):
                self._limit(limit * 2)
                self._together(statements, limit)
            else:
                # A concurrent detach waits for every transaction that uses the table, and locks out nobody meanwhile.
                self._limit(LOOK_LIMIT_S if step.action != "drop" else limit * 2)
                self._run(statements)
        except _LOCKED as error:
            raise LockedOut(in_a_line(error)) from error
        except psycopg.Error as error:
            raise self.engine.failed(f"{step.what} of {layout.label} in", error) from error
        finally:
            with suppress(psycopg.Error):  # what went wrong before is what counts
                self._limit(LOOK_LIMIT_S)

    def _together(self, statements: Sequence[str], limit_s: int) -> None:
        """In one transaction. The second of its locks is asked for shortly and again, rather than waited for: whoever
        has it may be waiting for the first.
        """
        until = time.monotonic() + limit_s
        while True:
            try:
                with self._connection.transaction():
                    self._run(statements)
                return
            except _LOCKED:
                if time.monotonic() >= until:
                    raise
            time.sleep(_PAUSE_S)

    def _statements(self, layout: Layout, rule: Rule, step: Step) -> list[str]:
        names = {"table": layout.quoted}
        if step.partition:
            names["partition"] = self._names[layout.label, step.partition]
        if step.action in ("add", "split"):
            return [text for new in step.makes for text in self._making(layout, rule, step, new, names)]
        if step.action == "drop":
            return [sql("postgres", "drop_partition").format(**names)]
        how = "FINALIZE" if step.action == "finish detach" else "CONCURRENTLY"
        if how == "CONCURRENTLY" and (layout.catch_all or self._connection.info.server_version < 140000):
            how = ""  # a default partition's bound changes with each detach, so there the table has to be locked
        return [sql("postgres", "detach_partition").format(**names, how=how).rstrip()]

    def _making(self, layout: Layout, rule: Rule, step: Step, new: New, names: Mapping[str, str]) -> Iterator[str]:
        facts = self._tables[layout.label]
        every = {
            **names,
            "new": quoted("postgres", layout.place[0], new.name),
            "column": quoted("postgres", rule.column),
            "columns": ", ".join(facts["stored_columns"]),
            "lower": str(new.lower),
            "upper": new.upper,
            "mode": "SHARE UPDATE EXCLUSIVE",
            "owner": quoted("postgres", facts["owner"]),
            "tablespace": f"TABLESPACE {quoted('postgres', facts['tablespace'])}" if facts["tablespace"] else "",
        }
        wanted = ["lock_partitions"]
        if layout.catch_all:
            every |= {"mode": "SHARE ROW EXCLUSIVE", "partition": self._names[layout.label, layout.catch_all.name]}
            wanted += ["set_short_wait", "lock_default"]
        wanted.append("create_partition")
        if step.action == "split":
            wanted.append("move_rows")
        if facts["of_another"]:
            wanted.append("set_owner")
        for name in [*wanted, "attach_partition"]:
            yield sql("postgres", name).format(**every).rstrip()

    def _run(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self._connection.execute(statement.encode())

    def _limit(self, seconds: int) -> None:
        self._rows(sql("postgres", "set_partition_session"), f"{self.engine.lock_timeout_s}s", f"{seconds}s")

    def _rows(self, statement: str, *values: object) -> list[DictRow]:
        return self._connection.execute(statement.encode(), values).fetchall()


def _bare(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("--"))
