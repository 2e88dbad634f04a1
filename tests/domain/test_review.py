"""Which indexes are redundant or unused, which settings are advised about, and that no value leaves a statement."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from upkeep.domain.findings import Inspection
from upkeep.domain.review_indexes import Index, find_redundant, judge_use
from upkeep.domain.review_settings import KERNEL_RULES, MYSQL_RULES, POSTGRES_RULES, Server, advise
from upkeep.domain.review_statements import Reviewed, Statement, judge_statements, top, without_values

PLAIN = Index("t", "i", ("a", "b"))
OTHER = replace(PLAIN, name="other")
WEEK = timedelta(days=7)
GB = 1_000_000_000


def redundant(*indexes: Index) -> list[tuple[str, str, str]]:
    return [(one.index.name, one.by.name, one.why) for one in find_redundant(indexes)]


# Indexes.


def test_of_two_equal_indexes_one_is_redundant_and_only_one() -> None:
    assert redundant(PLAIN, OTHER, replace(PLAIN, name="third")) == [
        ("i", "third", "the same keys"), ("other", "third", "the same keys")
    ]  # fmt: skip


def test_the_one_that_keeps_a_promise_stays() -> None:
    for kept in (replace(OTHER, unique=True), replace(OTHER, unique=True, primary=True)):
        assert redundant(kept, PLAIN) == [("i", "other", "the same keys")]
    named = replace(OTHER, unique=True, constraint=True)
    assert redundant(named, replace(PLAIN, unique=True)) == [("i", "other", "the same keys")]


def test_an_index_that_another_one_begins_with_is_redundant() -> None:
    longer = replace(OTHER, keys=("a", "b", "c"))
    assert redundant(PLAIN, longer) == [("i", "other", "it begins with the same keys")]
    assert redundant(replace(PLAIN, keys=("b",)), longer) == []


def test_a_unique_index_is_not_replaced_by_a_longer_one() -> None:
    assert redundant(replace(PLAIN, unique=True), replace(OTHER, keys=("a", "b", "c"), unique=True)) == []


@pytest.mark.parametrize(
    "other",
    [
        replace(OTHER, table="u"),
        replace(OTHER, method="gin"),
        replace(OTHER, predicate="a > 0"),
        replace(OTHER, keys=("a", "b text_pattern_ops")),
        replace(OTHER, keys=("a", 'b COLLATE "C"')),
        replace(OTHER, keys=("a", "b DESC")),
        replace(OTHER, keys=("a", "b(10)")),
    ],
    ids=["table", "method", "predicate", "operator class", "collation", "direction", "prefix"],
)
def test_what_differs_in_more_than_its_name_is_no_duplicate(other: Index) -> None:
    assert redundant(PLAIN, other) == []


def test_included_columns_have_to_be_in_the_other_one_too() -> None:
    covering = replace(PLAIN, includes=frozenset({"c"}))
    assert redundant(covering, OTHER) == [("other", "i", "the same keys")]
    assert redundant(covering, replace(OTHER, keys=("a", "b", "c"))) == [("i", "other", "it begins with the same keys")]
    assert redundant(covering, replace(OTHER, keys=("a", "b", "d"))) == []


def test_methods_without_an_order_have_no_beginning() -> None:
    hashed = replace(PLAIN, method="fulltext")
    assert redundant(hashed, replace(OTHER, keys=("a", "b", "c"), method="fulltext")) == []
    assert len(redundant(hashed, replace(OTHER, method="fulltext"))) == 1


def unused(index: Index, measured_for: timedelta | None = WEEK) -> list[str]:
    inspection = Inspection()
    judge_use(inspection, [index], measured_for, server="db1", drop=lambda one: f"DROP INDEX {one.name}")
    return [one.kind for one in inspection.findings]


def test_only_a_whole_week_without_use_counts() -> None:
    idle = replace(PLAIN, scans=0)
    assert unused(idle) == ["unused-index"]
    assert unused(idle, WEEK - timedelta(seconds=1)) == ["young-statistics"]
    assert unused(idle, None) == ["young-statistics"]
    assert unused(replace(PLAIN, scans=1)) == []
    assert unused(replace(PLAIN, scans=None)) == [], "nobody counted"


@pytest.mark.parametrize("change", [{"unique": True}, {"primary": True}, {"constraint": True}, {"needed": "a key"}])
def test_an_index_that_does_more_than_being_read_is_not_unused(change: dict[str, object]) -> None:
    assert unused(replace(PLAIN, scans=0, **change)) == []  # type: ignore[arg-type]


# Statements.


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("SELECT * FROM t1 WHERE a = 'x' AND b=-12.5e3", "SELECT * FROM t1 WHERE a = ? AND b=-?"),
        ("CREATE ROLE r PASSWORD 'it''s \\' s3cret'", "CREATE ROLE r PASSWORD ?"),
        ("UPDATE t SET a = $1 WHERE b = $$s3\ncret$$ OR c = $q$s3'cret$q$", "UPDATE t SET a = $1 WHERE b = ? OR c = ?"),
        ("INSERT INTO t VALUES (0xDEAD, N'中文', E'\\x41')", "INSERT INTO t VALUES (?, ?, ?)"),
        ("SELECT 'cut off in the midd", "SELECT ?"),
        ('SELECT "Name 2" FROM "t" WHERE a = "cut off', 'SELECT "Name 2" FROM "t" WHERE a = ?'),
        ("SELECT c1, c2x FROM `t_3`", "SELECT c1, c2x FROM `t_3`"),
    ],
)
def test_no_value_stays_in_a_statement(said: str, shown: str) -> None:
    assert without_values(said) == shown


def test_in_double_quotes_mysql_has_values_and_others_names() -> None:
    said = 'SELECT `n "2"` FROM t WHERE a = "s3""cret" AND b = 2'
    assert without_values(said, quotes_are_text=True) == 'SELECT `n "2"` FROM t WHERE a = ? AND b = ?'
    assert without_values('SELECT "n 2" FROM t') == 'SELECT "n 2" FROM t'


def statement(id: str, calls: int, total_s: float, worst_s: float, text: str = "SELECT ?") -> Statement:
    return Statement(id, text, calls, total_s, worst_s)


def test_the_most_expensive_come_first_then_the_worst() -> None:
    found = top([statement("a", 9, 9, 1), statement("b", 1, 1, 8), statement("c", 5, 5, 2), statement("a", 9, 9, 1)], 2)
    assert [one.id for one in found] == ["a", "c", "b"]


def test_a_statement_is_slow_when_it_is_so_each_time_and_no_dump() -> None:
    reviewed = Reviewed()
    judge_statements(
        reviewed,
        [
            statement("slow", 10, 12, 3),
            statement("once", 1, 60, 60),
            statement("quick", 1000, 900, 30),
            statement("dump", 7, 700, 100, "SELECT SQL_NO_CACHE * FROM `t`"),
            statement("copy", 7, 700, 100, "COPY public.t TO stdout"),
        ],
        server="db1",
    )
    assert [one.where for one in reviewed.findings] == ["slow on db1"]
    assert len(reviewed.statements) == 5


# Settings.


def advised(rules: object, values: dict[str, str], server: Server | None = None) -> dict[str, str]:
    return {one.setting: one.value for one in advise(rules, values, server or Server())}  # type: ignore[arg-type]


def test_the_buffer_pool_is_measured_by_the_data_and_the_machine() -> None:
    small = {"innodb_buffer_pool_size": str(GB)}
    assert advised(MYSQL_RULES, small, Server(data=GB // 2)) == {}
    assert advised(MYSQL_RULES, small, Server(data=20 * GB)) == {"innodb_buffer_pool_size": str(5 * GB)}
    assert advised(MYSQL_RULES, small, Server(data=3 * GB)) == {}, "of a machine nobody knows only the ratio says much"
    assert advised(MYSQL_RULES, small, Server(memory=8 * GB, data=20 * GB)) == {"innodb_buffer_pool_size": str(4 * GB)}


def test_every_commit_reaches_the_binary_log_where_there_is_one() -> None:
    assert advised(MYSQL_RULES, {"sync_binlog": "0"}, Server(logs_binary=False)) == {}
    assert advised(MYSQL_RULES, {"sync_binlog": "0"}, Server(logs_binary=True)) == {"sync_binlog": "1"}


def test_postgres_memory_follows_the_manual() -> None:
    default = {"shared_buffers": "134217728", "effective_cache_size": "4294967296", "max_connections": "100",
               "work_mem": "4194304", "maintenance_work_mem": "67108864"}  # fmt: skip
    machine = Server(memory=16 * GB, data=100 * GB)
    assert advised(POSTGRES_RULES, default, machine) == {
        "shared_buffers": str(4 * GB), "effective_cache_size": str(12 * GB)
    }  # fmt: skip
    assert advised(POSTGRES_RULES, default, Server(memory=16 * GB, data=10_000_000)).keys() == {"effective_cache_size"}
    greedy = {**default, "work_mem": str(GB)}
    assert advised(POSTGRES_RULES, greedy, machine)["work_mem"] == str(16 * GB // 100)


def test_what_protects_the_data_is_grave_when_it_is_off() -> None:
    values = dict.fromkeys(("autovacuum", "fsync", "full_page_writes", "track_counts"), "off")
    assert {one.severity for one in advise(POSTGRES_RULES, values, Server())} == {"high"}
    assert advised(POSTGRES_RULES, dict.fromkeys(values, "on")) == {}


def test_a_setting_a_release_lacks_and_a_word_for_a_number_are_no_advice() -> None:
    assert advised(MYSQL_RULES, {}) == advised(POSTGRES_RULES, {}) == {}
    assert advised(KERNEL_RULES, {"nofile": "unlimited", "vm.swappiness": "10"}) == {}
    assert advised(POSTGRES_RULES, {"log_min_duration_statement": "-1", "wal_compression": "lz4"}) == {
        "log_min_duration_statement": "1000"
    }
