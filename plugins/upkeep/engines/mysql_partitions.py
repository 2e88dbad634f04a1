"""Partitions of MySQL and MariaDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self

import pymysql
from pymysql.connections import Connection
from pymysql.constants import ER

from upkeep.domain.partition_bounds import NotUnderstood, mysql_kind
from upkeep.domain.partitions import ROWS_PER_S, CatchAll, Existing, Layout, Measured, Rule, Step
from upkeep.domain.purge import quoted
from upkeep.engines.mysql_engine import MySqlEngine, server_release
from upkeep.engines.partitions import LOOK_LIMIT_S, Partitioning
from upkeep.engines.row_purge import LockedOut
from upkeep.resources import sql

_LOCKED = {ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK, 1969}
"""1969: MariaDB's max_statement_time."""
_CHANGES_TWICE = 2
"""A change waits for its lock, and then has as long again to do its work; MySQL itself has no limit for the latter."""


class MySqlPartitioning(Partitioning):
    """Use as a context manager; entering logs in."""

    def __init__(self, engine: MySqlEngine) -> None:
        self._engine = engine
        self._stack = ExitStack()
        self._facts: dict[str, Any] = {}
        self._connection: Connection[Any]
        self._flavour = ""

    def __enter__(self) -> Self:
        with self._engine.told("look into"), ExitStack() as stack:
            self._connection = stack.enter_context(self._engine.connect())
            self._facts = self._rows(sql("mysql", "list_purge_server"))[0]
            self._flavour, version = server_release(str(self._facts["version"]))
            self.server = f"{self._flavour} {'.'.join(map(str, version))}"
            wait = self._engine.lock_timeout_s
            self._rows(sql("mysql", "set_purge_patience"), wait, wait)
            if self._flavour == "mysql" and version >= (8,):
                self._rows(sql("mysql", "set_fresh_statistics"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(pymysql.MySQLError, OSError):  # a connection that is gone needs no farewell
            self._stack.close()

    def read_only(self) -> str:
        off = {"0", "OFF", ""}
        if str(self._facts["read_only"]).upper() in off and str(self._facts["innodb_read_only"]).upper() in off:
            return ""
        where = f"{self._engine.endpoint.host}:{self._engine.endpoint.port or 3306}"
        return f"the server {where} is read-only, as replicas are"

    def look(self, rule: Rule, timezone: str) -> Layout | None:
        with self._engine.told("look into"):
            self._limit(LOOK_LIMIT_S)
            found = self._rows(sql("mysql", "list_table"), rule.table)
            if not found:
                return None
            place = (str(found[0]["name"]),)
            partitions = self._rows(sql("mysql", "list_partitions"), *place)
            if not partitions:
                return Layout("mysql", place, partitioned=False)
            return self._described(place, partitions, rule)

    def _described(self, place: tuple[str, ...], rows: Sequence[Mapping[str, Any]], rule: Rule) -> Layout:
        columns = {str(row["name"]): str(row["data_type"]) for row in self._columns(place)}
        layout = Layout(
            "mysql",
            place,
            partitioned=True,
            existing=tuple(
                Existing(name, bound) for name, bound in {str(row["name"]): str(row["bound"]) for row in rows}.items()
            ),
        )
        method, expression = str(rows[0]["method"]), str(rows[0]["expression"])
        if rows[0]["subpartitioned"]:
            return replace(layout, trouble=f"by {method} ({expression}), with subpartitions")
        try:
            kind = mysql_kind(method, expression, rule.column, columns.get(rule.column, ""))
        except NotUnderstood as error:
            return replace(layout, trouble=str(error))
        layout = replace(layout, kind=kind)
        last = rows[-1]
        if str(last["bound"]).strip("()") == "MAXVALUE":
            layout = replace(layout, catch_all=self._catch_all(layout, rule, str(last["name"]), int(last["size"] or 0)))
        return layout

    def _columns(self, place: tuple[str, ...]) -> list[dict[str, Any]]:
        return self._rows(sql("mysql", "list_columns_of_table"), *place)

    def _catch_all(self, layout: Layout, rule: Rule, name: str, size: int) -> CatchAll:
        most = ROWS_PER_S * self._engine.lock_timeout_s
        names = {"table": layout.quoted, "partition": quoted("mysql", name), "column": quoted("mysql", rule.column)}
        counted = self._rows(sql("mysql", "measure_partition").format(**_percent(names)), most + 1)
        rows = int(counted[0]["row_count"])
        if rows > most:
            return CatchAll(name, rows, size)
        landed = self._rows(sql("mysql", "measure_landed").format(**_percent(names)), *())
        return CatchAll(name, rows, size, {str(row["month"]): int(row["row_count"]) for row in landed})

    def measure(self, layout: Layout, rule: Rule, partition: str) -> Measured:
        with self._engine.told("look into"):
            if partition == layout.existing[0].name and self._holds_undated(layout, rule, partition):
                return Measured(trouble="rows without a date lie in it as well, which the rule says nothing about")
            moments = [
                row["changed_at"]
                for row in self._rows(sql("mysql", "list_partitions"), *layout.place)
                if str(row["name"]) == partition and isinstance(row["changed_at"], datetime)
            ]
        return Measured(changed_at=max(moments).replace(tzinfo=UTC) if moments else None)  # the session speaks UTC

    def _holds_undated(self, layout: Layout, rule: Rule, partition: str) -> bool:
        names = {
            "table": layout.quoted,
            "partition": quoted("mysql", partition),
            "column": quoted("mysql", rule.column),
        }
        return bool(self._rows(sql("mysql", "measure_undated").format(**_percent(names)), *())[0]["row_count"])

    def statement(self, layout: Layout, rule: Rule, step: Step) -> str:
        makes = [f"PARTITION {quoted('mysql', new.name)} VALUES LESS THAN ({new.upper})" for new in step.makes]
        names = {
            "table": layout.quoted,
            "partition": quoted("mysql", step.partition),
            "makes": ", ".join(makes),
            "most": "(MAXVALUE)" if layout.kind in ("day", "wall clock") else "MAXVALUE",
        }
        template = {"add": "add_partitions", "split": "split_partition", "drop": "drop_partition"}[step.action]
        text = sql("mysql", template).format(**names)
        return "\n".join(line for line in text.splitlines() if not line.startswith("--"))

    def apply(self, layout: Layout, rule: Rule, step: Step) -> None:
        try:
            self._limit(self._engine.lock_timeout_s * _CHANGES_TWICE)
            with self._connection.cursor() as cursor:
                cursor.execute(self.statement(layout, rule, step))
        except pymysql.MySQLError as error:
            if error.args and error.args[0] in _LOCKED:
                raise LockedOut(str(error.args[-1])) from error
            raise self._engine.failed(f"{step.what} of {layout.label} in", error) from error

    def _limit(self, seconds: int) -> None:
        if self._flavour == "mariadb":
            self._rows(sql("mysql", "set_statement_limit_mariadb"), seconds)
        else:
            self._rows(sql("mysql", "set_statement_limit_mysql"), seconds * 1000)

    def _rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())


def _percent(names: Mapping[str, str]) -> dict[str, str]:
    """In a statement that takes values a lone percent sign would be read as a place for one."""
    return {key: name.replace("%", "%%") for key, name in names.items()}
