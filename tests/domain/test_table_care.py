"""The care of tables, decided: what the evidence asks for, what is refused and why, and in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from upkeep.domain.plan_care import covers, plan_care
from upkeep.domain.table_care import Care, IndexFacts, Item, Past, Rebuilt, Server, TableFacts

MB, GB, DAY = 1_000_000, 1_000_000_000, 86_400.0
MYSQL = Server("mysql", (10, 11, 6), free=500 * GB)
POSTGRES = Server("postgres", (15, 4), free=500 * GB)
USERS = TableFacts("mysql", ("users",), bytes=GB, rows=2 * MB, waste=0, storage="InnoDB", statistics_age=DAY, changed=1)
ORDERS = TableFacts(
    "postgres", ("public", "orders"), bytes=GB, rows=2 * MB, waste=0, statistics_age=DAY, changed=0, inserted=0
)
PKEY = IndexFacts(("public", "orders_pkey"), bytes=400 * MB, waste=0)
BLOATED = replace(PKEY, waste=200 * MB)


def judged(server: Server, table: TableFacts, past: Past | None = None, **care: Any) -> list[Item]:
    return list(plan_care(server, [table], Care(**care), past).items)


def only(server: Server, table: TableFacts, past: Past | None = None, **care: Any) -> Item:
    (item,) = judged(server, table, past, **care)
    return item


# MySQL and MariaDB


@pytest.mark.parametrize(
    ("change", "verdict", "kind", "reason"),
    [
        ({}, "none", None, "0 B of 1.0 GB is waste (0 %), statistics 1 d old"),
        ({"waste": 400 * MB}, "act", "optimize", "about 400.0 MB of 1.0 GB is waste (40 %)"),
        ({"waste": 299 * MB}, "none", None, "299.0 MB of 1.0 GB is waste (29 %), statistics 1 d old"),
        ({"waste": 90 * MB, "bytes": 120 * MB}, "none", None, "90.0 MB of 120.0 MB is waste (75 %)"),
        ({"waste": 400 * MB, "why_not": "it is partitioned"}, "refused", "optimize", "it is partitioned"),
        ({"has_statistics": False}, "act", "analyze", "it has no statistics yet"),
        ({"statistics_age": 8 * DAY}, "act", "analyze", "statistics are 8 d old, and it has been changed since"),
        ({"statistics_age": 8 * DAY, "changed": None}, "act", "analyze", "it may have been changed since"),
        ({"statistics_age": 8 * DAY, "changed": 0}, "none", None, "statistics 8 d old"),
        # A rebuild makes the statistics anew: one action, not two.
        ({"statistics_age": 8 * DAY, "waste": 400 * MB}, "act", "optimize", "400.0 MB"),
    ],
)
def test_an_innodb_table_is_judged_by_its_waste_and_the_age_of_its_statistics(
    change: dict[str, Any], verdict: str, kind: str | None, reason: str
) -> None:
    item = only(MYSQL, replace(USERS, **change))
    assert (item.verdict, item.kind) == (verdict, kind)
    assert reason in item.reason


@pytest.mark.parametrize(
    ("server", "size", "reason"),
    [
        (replace(MYSQL, free=GB), GB, "needs 1.2 GB of free disk, and there are 1.0 GB"),
        (replace(MYSQL, free=None, why_free_unknown="it runs elsewhere"), 100 * GB, "isn't known: it runs elsewhere"),
        (replace(MYSQL, free=None, why_free_unknown="it runs elsewhere"), GB, ""),
        (replace(MYSQL, why_no_rebuilds="this is a Galera cluster"), GB, "this is a Galera cluster"),
    ],
)
def test_a_rebuild_is_refused_where_there_may_be_no_room_for_it(server: Server, size: int, reason: str) -> None:
    item = only(server, replace(USERS, bytes=size, waste=size // 2))
    assert item.verdict == ("refused" if reason else "act")
    assert reason in item.reason
    assert bool(item.remedy) == bool(reason)


def test_a_rebuild_that_did_not_help_is_not_repeated_until_the_table_has_grown() -> None:
    past = Past(rebuilt={("optimize", "users"): Rebuilt(before=1000 * MB, after=980 * MB, promised=400 * MB)})
    bloated = replace(USERS, waste=400 * MB)
    item = only(MYSQL, bloated, past)
    assert item.verdict == "refused"
    assert "the last rebuild freed 20.0 MB where 400.0 MB were promised" in item.reason
    assert only(MYSQL, replace(bloated, bytes=1300 * MB), past).verdict == "act"


def test_a_table_that_locks_itself_is_left_alone_and_said_where_it_was_named() -> None:
    table = replace(USERS, storage="MyISAM", waste=900 * MB)
    assert only(MYSQL, table).verdict == "none"
    named = only(MYSQL, table, tables=("users",))
    assert named.verdict == "refused"
    assert named.remedy.startswith("ALTER TABLE `users` ENGINE=InnoDB")


def test_only_what_the_site_names_is_tended_and_analyze_names_what_is_only_analyzed() -> None:
    old = replace(USERS, statistics_age=9 * DAY, waste=400 * MB)
    assert judged(MYSQL, old, tables=("other", "users"), analyze=())[0].kind == "optimize"
    analyzed = [item for item in judged(MYSQL, old, tables=("other",), analyze=("users",)) if item.verdict == "act"]
    assert [item.statement for item in analyzed] == ["ANALYZE LOCAL TABLE `users`"]
    assert [item.label for item in judged(MYSQL, old, tables=("other",))] == ["other"]


def test_a_name_without_a_table_is_refused_and_a_view_is_said_to_be_one() -> None:
    view = replace(USERS, place=("v",), kind="view")
    plan = plan_care(MYSQL, [view], Care(tables=("gone", "v")))
    assert [(item.label, item.verdict) for item in plan.items] == [("gone", "refused"), ("v", "refused")]
    assert "there is no such table" in plan.items[0].reason
    assert "it is a view" in plan.items[1].reason
    assert judged(MYSQL, view) == []


# PostgreSQL


@pytest.mark.parametrize(
    ("change", "statement", "reason"),
    [
        ({"dead": 200_000}, 'VACUUM (ANALYZE) "public"."orders"', "200,000 of 2.2 M rows are dead (9 %)"),
        ({"dead": 90_000}, "", "90,000 dead rows"),
        ({"rows": 3_000, "dead": 900, "bytes": MB}, "", "900 dead rows"),
        ({"inserted": 500_000}, 'VACUUM (ANALYZE) "public"."orders"', "500,000 rows were put in since"),
        ({"xid_age": 150_000_000}, 'VACUUM (FREEZE, ANALYZE) "public"."orders"', "150.0 M old, 75 % of the age"),
        ({"xid_age": 149_000_000}, "", "0 dead rows"),
        ({"mxid_age": 300_000_000}, 'VACUUM (FREEZE, ANALYZE) "public"."orders"', "oldest multixact id"),
        ({"xid_age": 190_000_000, "vacuum_running": True}, "", "a VACUUM is at work on it"),
        ({"changed": 50_000}, 'ANALYZE "public"."orders"', "50,000 rows were changed"),
        ({"changed": 40_000}, "", "statistics 1 d old"),
        ({"changed": 10, "statistics_age": 8 * DAY}, 'ANALYZE "public"."orders"', "8 d old, and 10 rows"),
        ({"has_statistics": False}, 'ANALYZE "public"."orders"', "it has no statistics yet"),
        ({"kind": "partitioned", "statistics_age": None}, 'ANALYZE "public"."orders"', "were never made"),
        ({"waste": 700 * MB}, "", "700.0 MB of 1.0 GB is waste (70 %): new rows fill it; only VACUUM FULL"),
    ],
)
def test_a_table_of_postgres_is_judged_by_dead_rows_changes_and_transaction_ids(
    change: dict[str, Any], statement: str, reason: str
) -> None:
    item = only(POSTGRES, replace(ORDERS, **change))
    assert item.statement == statement
    assert reason in item.reason


def test_a_table_is_rewritten_under_lock_only_where_the_site_names_it_and_its_indexes_with_it() -> None:
    bloated = replace(ORDERS, waste=700 * MB, indexes=(BLOATED,))
    assert only(POSTGRES, bloated).statement == 'REINDEX INDEX CONCURRENTLY "public"."orders_pkey"'
    named = only(POSTGRES, bloated, vacuum_full=("orders",))
    assert named.statement == 'VACUUM (FULL, ANALYZE) "public"."orders"'


@pytest.mark.parametrize(
    ("index", "table", "act"),
    [
        (BLOATED, ORDERS, True),
        (PKEY, ORDERS, False),
        (replace(BLOATED, waste=None), ORDERS, False),
        (replace(BLOATED, valid=False, building=True), ORDERS, False),
        (BLOATED, replace(ORDERS, rows=100_000, changed=11_000), False),  # statistics that no longer fit
        (replace(BLOATED, exact=True), replace(ORDERS, rows=100_000, changed=11_000), True),
    ],
)
def test_an_index_is_rebuilt_on_its_own_waste_but_never_by_stale_statistics(
    index: IndexFacts, table: TableFacts, act: bool
) -> None:
    items = judged(POSTGRES, replace(table, indexes=(index,)))
    assert ("reindex" in [item.kind for item in items]) is act


def test_what_a_broken_reindex_left_is_dropped_and_any_other_invalid_index_is_told() -> None:
    leftover = IndexFacts(("public", "orders_pkey_ccnew"), MB, valid=False, leftover=True)
    other = IndexFacts(("public", "by_date"), MB, valid=False)
    dropped, told = judged(POSTGRES, replace(ORDERS, indexes=(leftover, other)))
    assert dropped.statement == 'DROP INDEX CONCURRENTLY IF EXISTS "public"."orders_pkey_ccnew"'
    assert told.verdict == "refused"
    assert told.remedy.startswith('REINDEX INDEX CONCURRENTLY "public"."by_date"')
    busy = replace(ORDERS, indexes=(replace(leftover, building=True),))
    assert only(POSTGRES, busy).verdict == "none"


def test_a_partition_is_tended_by_its_parents_name_and_plain_names_mean_public() -> None:
    part = replace(ORDERS, place=("public", "orders_2026_11"), parents=("public.orders",))
    assert covers(("orders",), part)
    assert not covers(("sales.orders",), part)
    assert only(POSTGRES, replace(part, dead=900_000), tables=("orders",)).kind == "vacuum"


# Order and time


def test_danger_comes_first_then_what_was_put_off_then_the_worst() -> None:
    def table(name: str, **change: Any) -> TableFacts:
        index = replace(BLOATED, place=("public", f"{name}_pkey"), waste=change.pop("waste", 0))
        return replace(ORDERS, place=("public", name), indexes=(index,), **change)

    tables = [
        table("little", waste=130 * MB),
        table("much", waste=300 * MB),
        table("late", waste=150 * MB),
        table("dead", dead=500_000),
        table("ancient", xid_age=199_000_000),
    ]
    past = Past(postponed=frozenset({("reindex", "public.late_pkey")}))
    actions = plan_care(POSTGRES, tables, Care(), past).actions
    assert [item.label.removeprefix("public.") for item in actions] == [
        "ancient", "late_pkey", "dead", "much_pkey", "little_pkey",
    ]  # fmt: skip
    assert "an earlier window had no time for it" in actions[1].reason


def test_how_long_work_takes_is_told_by_this_sites_own_speed_once_it_is_known() -> None:
    bloated = replace(USERS, waste=400 * MB)
    assert only(MYSQL, bloated).seconds == pytest.approx(102)
    assert only(MYSQL, bloated, Past(speeds={"optimize": 100e6})).seconds == pytest.approx(12)
