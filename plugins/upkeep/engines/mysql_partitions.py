"""Partitions of MySQL and MariaDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pymysql
from pymysql.constants import ER

from upkeep.domain.names import quoted
from upkeep.domain.partition_bounds import NotUnderstood, mysql_kind
from upkeep.domain.partitions import ROWS_PER_S, CatchAll, Existing, Layout, Measured, Rule, Step
from upkeep.engines.mysql_engine import server_release
from upkeep.engines.mysql_session import MySqlSession, why_read_only
from upkeep.engines.mysql_statements import limit_statements
from upkeep.engines.partitions import LOOK_LIMIT_S, Partitioning
from upkeep.engines.row_purge import LockedOut
from upkeep.resources import sql

_LOCKED = {ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK, 1969}
"""1969: MariaDB's max_statement_time."""
_CHANGES_TWICE = 2
"""A change waits for its lock, and then has as long again to do its work; MySQL itself has no limit for the latter."""


class MySqlPartitioning(MySqlSession, Partitioning):
    def __enter__(self) -> Self:
        with self.engine.told("look into"), ExitStack() as stack:
            self._connection = stack.enter_context(self.engine.connect())
            self._facts = self.dicts(sql("mysql", "list_purge_server"))[0]
            self.flavour, self.version = server_release(str(self._facts["version"]))
            self.server = f"{self.flavour} {'.'.join(map(str, self.version))}"
            wait = self.engine.lock_timeout_s
            self.dicts(sql("mysql", "set_purge_patience"), wait, wait)
            self.dicts(sql("mysql", "set_fresh_statistics"))
            self._stack = stack.pop_all()
        return self

    def read_only(self) -> str:
        return why_read_only(self._facts, self.engine.endpoint)

    def look(self, rule: Rule, timezone: str) -> Layout | None:
        with self.engine.told("look into"):
            limit_statements(self._connection, LOOK_LIMIT_S)
            found = self.dicts(sql("mysql", "list_table"), rule.table)
            if not found:
                return None
            place = (str(found[0]["name"]),)
            partitions = self.dicts(sql("mysql", "list_partitions"), *place)
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
        return self.dicts(sql("mysql", "list_columns_of_table"), *place)

    def _catch_all(self, layout: Layout, rule: Rule, name: str, size: int) -> CatchAll:
        most = ROWS_PER_S * self.engine.lock_timeout_s
        names = {"table": layout.quoted, "partition": quoted("mysql", name), "column": quoted("mysql", rule.column)}
        counted = self.dicts(sql("mysql", "measure_partition").format(**_percent(names)), most + 1)
        rows = int(counted[0]["row_count"])
        if rows > most:
            return CatchAll(name, rows, size)
        landed = self.dicts(sql("mysql", "measure_landed").format(**_percent(names)))
        return CatchAll(name, rows, size, {str(row["month"]): int(row["row_count"]) for row in landed})

    def measure(self, layout: Layout, rule: Rule, partition: str) -> Measured:
        with self.engine.told("look into"):
            if partition == layout.existing[0].name and self._holds_undated(layout, rule, partition):
                return Measured(trouble="rows without a date lie in it as well, which the rule says nothing about")
            moments = [
                row["changed_at"]
                for row in self.dicts(sql("mysql", "list_partitions"), *layout.place)
                if str(row["name"]) == partition and isinstance(row["changed_at"], datetime)
            ]
            uptime = timedelta(seconds=int(self.dicts(sql("mysql", "measure_uptime"))[0]["Value"]))
        changed_at = max(moments).replace(tzinfo=UTC) if moments else None  # the session speaks UTC
        return Measured(changed_at=changed_at, known_since=datetime.now(UTC) - uptime)

    def _holds_undated(self, layout: Layout, rule: Rule, partition: str) -> bool:
        names = {
            "table": layout.quoted,
            "partition": quoted("mysql", partition),
            "column": quoted("mysql", rule.column),
        }
        return bool(self.dicts(sql("mysql", "measure_undated").format(**_percent(names)))[0]["row_count"])

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
            limit_statements(self._connection, self.engine.lock_timeout_s * _CHANGES_TWICE)
            with self._connection.cursor() as cursor:
                cursor.execute(self.statement(layout, rule, step))
        except pymysql.MySQLError as error:
            if error.args and error.args[0] in _LOCKED:
                raise LockedOut(str(error.args[-1])) from error
            raise self.engine.failed(f"{step.what} of {layout.label} in", error) from error


def _percent(names: Mapping[str, str]) -> dict[str, str]:
    """As ``MySqlSession.dicts`` takes names."""
    return {key: name.replace("%", "%%") for key, name in names.items()}
