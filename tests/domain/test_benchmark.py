"""Which statements may be timed, what a plan does at heart, and what counts as slower."""

from __future__ import annotations

from typing import Any

import pytest

from upkeep.domain.benchmark import Timed, compare_times, digest, essence, plan_words, timed, why_refused


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1",
        "  select count(*) from t where updated_at > '2026-01-01; DELETE FROM t';",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "(SELECT 1) UNION (SELECT 2)",
        "SELECT a->>'x', b #>> '{c}', `update` FROM t -- it's the newest; INSERT INTO t",
        "SELECT INSERT('abc', 1, 1, 'x'), deleted FROM t /* FOR UPDATE; DROP TABLE t */",
    ],
)
def test_what_reads_may_be_timed(statement: str) -> None:
    assert why_refused(statement) == ""


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM t", "begins with SELECT"),
        ("SELECT 1; DROP TABLE t", "one statement"),
        ("SELECT '--'; DROP TABLE t", "one statement"),
        ("/* it's */ SELECT 1; DROP TABLE t -- '", "one statement"),
        ("WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone", "this has DELETE"),
        ("SELECT * FROM t FOR  UPDATE", "this has FOR UPDATE"),
        ("SELECT * FROM t LOCK IN SHARE MODE", "LOCK IN SHARE MODE"),
        ("SELECT * INTO OUTFILE '/tmp/x' FROM t", "INTO"),
        ("SELECT nextval('s')", "NEXTVAL"),
        ("SELECT pg_terminate_backend(1)", "PG_TERMINATE_BACKEND"),
        ("SELECT * FROM pg_logical_slot_get_changes('s', NULL, NULL)", "PG_LOGICAL_SLOT_GET_CHANGES"),
        ("SELECT pg_stat_reset()", "PG_STAT_RESET"),
        ("SELECT 1 /*!50000 INTO OUTFILE '/tmp/x' */", "comments"),
        ("SELECT 1 # it's\n; DELETE FROM t -- '", "begin with --"),
        ("SHOW TABLES", "begins with SELECT"),
    ],
)
def test_what_writes_locks_or_acts_is_refused(statement: str, why: str) -> None:
    assert why in why_refused(statement)


def one(ms: list[float], plan: Any = None, statement: str = "SELECT 1") -> Timed:
    return timed("q", statement, [value / 1000 for value in ms], plan or {"Node Type": "Result"})


def test_slower_is_what_is_slower_beyond_both_spreads() -> None:
    last = one([10, 11, 12, 13, 14])
    assert last.median_ms == 12
    assert last.spread_ms == 2
    assert compare_times(one([10, 12, 13, 14, 16]), last).verdict == "same"
    assert compare_times(one([20, 21, 22, 23, 24]), last).slower
    assert compare_times(one([8, 9, 40, 41, 42]), last).verdict == "same", "its spread reaches into the last one's"
    assert compare_times(one([1, 2, 3, 4, 5]), last).verdict == "faster"
    assert compare_times(one([0.2] * 5), one([0.1] * 5)).verdict == "same", "a tenth of a millisecond is noise"
    assert compare_times(last, None).verdict == "new"
    assert compare_times(last, one([1, 1], statement="SELECT 2")).verdict == "new"


POSTGRES = [
    {
        "Plan": {
            "Node Type": "Aggregate", "Startup Cost": 8.4, "Total Cost": 8.5, "Plan Rows": 1, "Plan Width": 8,
            "Plans": [{"Node Type": "Index Only Scan", "Relation Name": "logs", "Index Name": "by_kind",
                       "Index Cond": "(kind = 7)", "Plan Rows": 20, "Total Cost": 8.3}],
        },
    }
]  # fmt: skip


def test_a_plan_is_the_same_whatever_it_is_estimated_to_cost() -> None:
    dearer = [{"Plan": {**POSTGRES[0]["Plan"], "Total Cost": 99.0, "Plan Rows": 7}, "Planning Time": 3.1}]
    assert digest(essence(dearer)) == digest(essence(POSTGRES))
    assert plan_words(POSTGRES) == "Index Only Scan logs by_kind"
    other = [{"Plan": {"Node Type": "Seq Scan", "Relation Name": "logs"}}]
    compared = compare_times(one([10, 11, 12], other), one([10, 11, 12], POSTGRES))
    assert compared.verdict == "plan changed"
    assert compared.says.startswith("another plan: Seq Scan logs; it was: Index Only Scan logs by_kind; 11.00 ms")
    assert not compared.slower


def test_a_new_months_partition_is_no_new_plan() -> None:
    def scans(*months: int) -> Any:
        parts = [{"Node Type": "Seq Scan", "Relation Name": f"visits_2026_{month:02}"} for month in months]
        return [{"Plan": {"Node Type": "Append", "Plans": parts}}]

    assert digest(essence(scans(1, 2, 3))) == digest(essence(scans(1, 2, 3, 4)))
    assert digest(essence(scans(1, 2, 3))) == digest(essence(scans(2, 3, 4))), "the oldest was dropped"
    assert digest(essence(scans(10))) == digest(essence(scans(11))), "only this month's is read"


def test_a_date_that_the_server_put_in_is_no_new_plan_and_another_column_is_one() -> None:
    def node(day: str, *columns: str) -> Any:
        return {"access_type": "range", "used_key_parts": list(columns), "attached_condition": f"made > '{day}'"}

    assert digest(essence(node("2026-11-01", "k1"))) == digest(essence(node("2026-12-01 02:10:59", "k1")))
    assert digest(essence(node("2026-11-01", "k1", "k2", "k3"))) != digest(essence(node("2026-11-01", "k1")))


def test_both_of_mysqls_forms_are_read() -> None:
    newer = {
        "query": "/* select#1 */", "json_schema_version": "2.0",
        "query_plan": {"access_type": "aggregate", "inputs": [
            {"access_type": "index", "table_name": "logs", "index_name": "by_kind", "estimated_rows": 1.0}]},
    }  # fmt: skip
    older = {"query_block": {"select_id": 1, "cost_info": {"query_cost": "0.35"}, "table": {
        "table_name": "logs", "access_type": "ref", "key": "by_kind", "rows_examined_per_scan": 1}}}  # fmt: skip
    assert plan_words(newer) == "index logs by_kind"
    assert plan_words(older) == "ref logs by_kind"
    scan: dict[str, Any] = {
        **newer, "query_plan": {"access_type": "aggregate", "inputs": [{"access_type": "table", "table_name": "logs"}]}
    }  # fmt: skip
    assert digest(essence(scan)) != digest(essence(newer))
