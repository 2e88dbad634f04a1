"""Purging, decided: cut-offs in every kind of zone, refusals with their remedy, batch sizes, and when to hold still."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upkeep.domain.load import Limits, Pressure, Replica, why_wait
from upkeep.domain.names import quoted
from upkeep.domain.purge import (
    LARGEST,
    SHARED_TARGET_S,
    SMALLEST,
    TARGET_S,
    Estimate,
    Pace,
    Rule,
    counts_from_its_rows,
    create_index,
    cut_off,
    find_index,
    find_refusals,
    make_plan,
    moments_to_convert,
    rest_after,
)
from upkeep.domain.row_archive import archives_folder, line_of, row_of
from upkeep.domain.tables import Column, ForeignKey, Table
from upkeep.domain.units import human_count

NOW = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
RULE = Rule("logs", "created_at", 30)
TABLE = Table(
    engine="mysql",
    place=("logs",),
    columns=(
        Column("id", "bigint(20)", "other", nullable=False),
        Column("created_at", "datetime", "wall clock"),
        Column("seen_on", "date", "date"),
        Column("epoch", "int(11)", "other"),
    ),
    primary_key=("id",),
    indexes={"id": ("PRIMARY",), "created_at": ("by_date", "by_date_and_user")},
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# The cut-off


def test_the_last_days_stay_whole_in_the_sites_time_zone() -> None:
    cut = cut_off(NOW, 30, "Asia/Shanghai")
    assert cut.isoformat() == "2026-10-23T00:00:00+08:00"
    assert cut == utc("2026-10-22T16:00")


def test_which_day_it_is_depends_on_the_site_and_not_on_utc() -> None:
    evening_in_utc = utc("2026-11-22T20:00")
    assert cut_off(evening_in_utc, 1, "Asia/Shanghai") == utc("2026-11-21T16:00")
    assert cut_off(evening_in_utc, 1, "UTC") == utc("2026-11-21T00:00")


def test_what_expires_goes_from_the_very_moment_on() -> None:
    assert cut_off(NOW, 0, "Asia/Shanghai") == NOW


@pytest.mark.parametrize(
    ("now", "zone", "days", "expected"),
    [
        ("2026-04-10T12:00", "Europe/Berlin", 30, "2026-03-10T23:00"),  # winter time then, summer time now
        ("2026-03-30T12:00", "Europe/Berlin", 1, "2026-03-28T23:00"),  # the day has 23 hours
        ("2026-10-26T12:00", "Europe/Berlin", 1, "2026-10-24T22:00"),  # the day has 25 hours
        (
            "2018-11-05T12:00",
            "America/Sao_Paulo",
            1,
            "2018-11-04T03:00",
        ),  # midnight is skipped: the day begins at 01:00
        ("2026-11-02T12:00", "America/Havana", 1, "2026-11-01T04:00"),  # midnight comes twice: the first one counts
    ],
)
def test_a_day_begins_when_it_really_does(now: str, zone: str, days: int, expected: str) -> None:
    assert cut_off(utc(now), days, zone).timestamp() == utc(expected).timestamp()


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        cut_off(datetime(2026, 11, 22), 30, "UTC")  # noqa: DTZ001 - that is the point


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)),  # noqa: DTZ001 - made aware below
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Shanghai", "Africa/Casablanca"]),
    st.integers(0, 10_000),
)
def test_no_younger_row_says_less_than_the_earliest_wall_clock(moment: datetime, name: str, later: int) -> None:
    """What is asked of the server is enough: a row written from the cut-off on is never taken for an older one."""
    zone, cut = ZoneInfo(name), moment.replace(tzinfo=UTC)
    bound = min(each.astimezone(zone).replace(tzinfo=None) for each in moments_to_convert(cut))
    row = (cut + timedelta(seconds=later)).astimezone(zone).replace(tzinfo=None)
    assert row >= bound


def test_in_the_hour_that_comes_twice_rows_stay_rather_than_go() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first_half_past_two = datetime(2026, 10, 25, 2, 30, tzinfo=berlin)
    clocks = [each.astimezone(berlin).replace(tzinfo=None) for each in moments_to_convert(first_half_past_two)]
    assert min(clocks) == datetime(2026, 10, 25, 2, 0)  # noqa: DTZ001 - a wall clock


# Refusals


def reasons(rule: Rule, table: Table | None, read_only: str = "") -> dict[str, str]:
    return {refusal.reason: refusal.remedy for refusal in find_refusals(rule, table, read_only=read_only)}


def test_a_table_that_fits_is_not_refused() -> None:
    assert reasons(RULE, TABLE) == {}
    assert find_index(RULE, TABLE) == "by_date"


def test_every_reason_comes_at_once() -> None:
    table = replace(TABLE, primary_key=(), indexes={}, transactional=False, storage="MyISAM")
    assert len(reasons(RULE, table, "the server db:3306 is read-only, as replicas are")) == 4


def test_a_missing_table_says_where_to_look() -> None:
    ((reason, remedy),) = reasons(RULE, None).items()
    assert reason == "there is no table 'logs' in this database"
    assert "schema.table on PostgreSQL" in remedy


def test_a_view_is_not_a_table() -> None:
    assert "is a view" in next(iter(reasons(RULE, replace(TABLE, kind="view"))))


def test_a_missing_column_lists_those_there_are() -> None:
    ((reason, remedy),) = reasons(Rule("logs", "createdat", 30), TABLE).items()
    assert reason == "logs has no column 'createdat'"
    assert "created_at" in remedy


def test_a_number_is_not_a_date() -> None:
    ((reason, remedy),) = reasons(Rule("logs", "epoch", 30), TABLE).items()
    assert reason == "column epoch is of type int(11), which is not a date or a time"
    assert "created_at, seen_on" in remedy


@pytest.mark.parametrize(
    ("engine", "place", "statement"),
    [
        ("mysql", ("logs",), "CREATE INDEX `logs_seen_on_idx` ON `logs` (`seen_on`) ALGORITHM=INPLACE LOCK=NONE"),
        (
            "postgres",
            ("public", "logs"),
            'CREATE INDEX CONCURRENTLY "logs_seen_on_idx" ON "public"."logs" ("seen_on")',
        ),
    ],
)
def test_without_an_index_the_statement_that_makes_it_is_the_remedy(
    engine: str, place: tuple[str, ...], statement: str
) -> None:
    table = replace(TABLE, engine=engine, place=place)
    ((reason, remedy),) = reasons(Rule("logs", "seen_on", 30), table).items()
    assert "no usable index that begins with seen_on" in reason
    assert remedy == statement


def test_a_partitioned_postgresql_table_gets_an_index_that_it_can_have() -> None:
    assert "CONCURRENTLY" not in create_index(replace(TABLE, engine="postgres", partitioned=True), "seen_on")


def test_hostile_names_stay_names() -> None:
    assert quoted("mysql", "a`; DROP TABLE b; --") == "`a``; DROP TABLE b; --`"
    assert quoted("postgres", "pub", 'a"b') == '"pub"."a""b"'


def test_a_foreign_key_that_blocks_is_refused_even_with_cascade() -> None:
    table = replace(TABLE, foreign_keys=(ForeignKey("fk", "items", ("log_id",), "NO ACTION"),))
    for rule in (RULE, replace(RULE, cascade=True)):
        ((reason, remedy),) = reasons(rule, table).items()
        assert "fk of items (log_id)" in reason
        assert "ON DELETE NO ACTION" in reason
        assert "ON DELETE CASCADE" in remedy


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_a_foreign_key_that_changes_other_rows_needs_the_sites_word(action: str) -> None:
    table = replace(TABLE, foreign_keys=(ForeignKey("fk", "items", ("log_id",), action),))
    ((reason, remedy),) = reasons(RULE, table).items()
    assert f"ON DELETE {action}" in reason
    assert "cascade: true" in remedy
    assert reasons(replace(RULE, cascade=True), table) == {}


def test_rows_that_no_archive_holds_do_not_go_by_cascade() -> None:
    table = replace(TABLE, foreign_keys=(ForeignKey("fk", "items", ("log_id",), "CASCADE"),))
    assert "no archive holds" in next(iter(reasons(replace(RULE, cascade=True, archive=True), table)))


@pytest.mark.parametrize(("child", "named"), [("items", "items"), ("items", "public.items"), ('"Items"', "Items")])
def test_rows_that_a_rule_of_their_own_archives_do_not_go_by_cascade(child: str, named: str) -> None:
    table = replace(TABLE, foreign_keys=(ForeignKey("fk", child, ("log_id",), "CASCADE"),))
    ((reason, remedy),) = [
        (refusal.reason, refusal.remedy)
        for refusal in find_refusals(replace(RULE, cascade=True), table, archived=[named])
    ]
    assert f"rows of {child} would go that its own rule has not archived yet" in reason
    assert remedy == f"drop that key, or take archive: true out of the rule for {child}"
    assert find_refusals(replace(RULE, cascade=True), table, archived=["other"]) == ()


def test_a_cascade_that_would_read_a_whole_table_for_each_row_is_refused() -> None:
    table = replace(TABLE, foreign_keys=(ForeignKey("fk", "items", ("log_id",), "CASCADE", indexed=False),))
    ((_, remedy),) = reasons(replace(RULE, cascade=True), table).items()
    assert remedy == "CREATE INDEX CONCURRENTLY ON items (`log_id`)"


def test_a_type_without_an_exact_text_is_purged_but_not_archived() -> None:
    table = replace(TABLE, columns=(*TABLE.columns, Column("shape", "vector(3)", "other", form="none")))
    assert reasons(RULE, table) == {}
    assert "column shape is of type vector(3)" in next(iter(reasons(replace(RULE, archive=True), table)))


# The plan


def plan_words(estimate: Estimate, rule: Rule = RULE, table: Table = TABLE) -> str:
    cut = cut_off(NOW, rule.keep_days, "Asia/Shanghai")
    return make_plan(rule, cut, table=table, before="x", estimate=estimate, refusals=()).reason


def test_a_plan_gives_its_reason() -> None:
    assert plan_words(Estimate(812_412, 5_012_345, "2026-01-01 00:00:00")) == (
        "about 812,400 of 5.0 M rows are older than 2026-10-23 00:00 Asia/Shanghai (keep_days 30), "
        "the oldest 2026-01-01 00:00:00"
    )
    assert plan_words(Estimate(1_234, 5_012_345, "2026-01-01", exact=True)).startswith("1,234 of about 5.0 M rows are")


def test_nothing_old_says_so() -> None:
    assert plan_words(Estimate(0, 10, None)) == "no row is older than 2026-10-23 00:00 Asia/Shanghai (keep_days 30)"


def test_an_estimate_of_none_does_not_hide_a_row_that_was_seen() -> None:
    """Statistics may be older than the table."""
    plan = make_plan(RULE, NOW, table=TABLE, before="x", estimate=Estimate(0, 0, "2020-01-01"), refusals=())
    assert plan.rows == 1


def test_a_plan_tells_what_a_reader_would_not_guess() -> None:
    table = replace(
        TABLE,
        partitioned=True,
        delete_triggers=("log_gone",),
        spared=(7,),
        foreign_keys=(ForeignKey("fk", "items", ("log_id",), "SET NULL"),),
    )
    estimate = Estimate(5, 10, "2026-01-01")
    plan = make_plan(RULE, NOW, table=table, before="2026-10-22 16:00:00", estimate=estimate, refusals=())
    said = "\n".join(plan.notes)
    for words in ("the server's own, where the cut-off is 2026-10-22 16:00:00", "partitioned", "log_gone", "SET NULL"):
        assert words in said
    assert "highest AUTO_INCREMENT" in said


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0"), (9_999, "9,999"), (812_412, "812,400"), (5_012_345, "5.0 M"), (5_000_000_000, "5,000.0 M")],
)
def test_counts_are_as_exact_as_they_deserve(count: int, shown: str) -> None:
    assert human_count(count) == shown


@pytest.mark.parametrize(
    ("flavour", "version", "resets"),
    [
        ("mysql", (5, 7, 44), True),
        ("mysql", (8, 0, 11), False),
        ("mariadb", (10, 2, 3), True),
        ("mariadb", (10, 2, 4), False),
        ("mariadb", (10, 11, 19), False),
    ],
)
def test_the_highest_row_stays_where_a_restart_would_hand_out_its_number_again(
    flavour: str, version: tuple[int, ...], resets: bool
) -> None:
    assert counts_from_its_rows(flavour, version) is resets


# Pace


def test_batches_come_to_take_the_time_they_should() -> None:
    pace, per_row = Pace(), 0.00005
    for _ in range(10):
        pace = pace.after(pace.size, pace.size * per_row)
    assert pace.size * per_row == pytest.approx(TARGET_S, rel=0.01)


def test_batches_are_shorter_while_others_are_at_work() -> None:
    pace, per_row = Pace(), 0.00002
    for _ in range(10):
        pace = pace.after(pace.size, pace.size * per_row, shared=True)
    assert pace.size * per_row == pytest.approx(SHARED_TARGET_S, rel=0.01)


def test_others_at_work_get_a_share_of_the_time() -> None:
    assert rest_after(0.05, shared=True) > 0
    assert rest_after(0.3, shared=False) == 0
    assert rest_after(60, shared=True) <= 1, "what took long was waiting itself"


def test_one_fast_batch_no_more_than_doubles_the_next() -> None:
    assert Pace(1000).after(1000, 0.0001).size == 2000


def test_a_slow_batch_shrinks_the_next_at_once() -> None:
    assert Pace(10_000).after(10_000, 3.0).size == 1000


def test_the_small_rest_of_a_chunk_does_not_speed_things_up() -> None:
    assert Pace(10_000).after(3, 0.000_001).size == 10_000


def test_meeting_a_lock_halves_the_batch() -> None:
    assert Pace(10_000).slower().size == 5_000
    assert Pace(SMALLEST).slower().size == SMALLEST
    assert Pace(SMALLEST).is_slowest


@given(st.lists(st.tuples(st.integers(0, 100_000), st.floats(0, 1000)), max_size=50))
def test_a_batch_keeps_within_its_bounds(measured: list[tuple[int, float]]) -> None:
    pace = Pace()
    for rows, seconds in measured:
        pace = pace.after(rows, seconds)
        assert SMALLEST <= pace.size <= LARGEST


# Holding still


def test_an_idle_server_is_not_waited_for() -> None:
    assert why_wait(Pressure(0), Limits()) is None
    assert why_wait(Pressure(25, (Replica("r", 5), Replica("s", 0))), Limits()) is None


@pytest.mark.parametrize(
    ("pressure", "words"),
    [
        (Pressure(26), "26 sessions are at work, the limit is 25"),
        (Pressure(0, (Replica("db2:3306", 61),)), "replica db2:3306 is 1 min 1 s behind, the limit is 5 s"),
        (Pressure(0, (Replica("db2:3306", None),)), "replication to db2:3306 has stopped"),
        (Pressure(0, (Replica("a", 0), Replica("b", None))), "replication to b has stopped"),
    ],
)
def test_any_single_factor_is_enough_to_wait(pressure: Pressure, words: str) -> None:
    assert why_wait(pressure, Limits()) == words


# Archives


def test_a_tables_name_cannot_lead_out_of_its_folder() -> None:
    for table in ("../../etc", "a/b", "..", "a b", "日志", "%2F", 'x"y', "x" * 500):
        folder = archives_folder("shop", "app", table)
        assert folder.startswith("shop/app/rows-")
        assert folder.count("/") == 3
        assert len(folder) < 220
    assert archives_folder("shop", "app", "audit_logs") == "shop/app/rows-audit_logs/"


def test_no_two_tables_share_a_folder() -> None:
    names = ["a/b", "a%2Fb", "A/b", "x" * 500, "x" * 501, "日志", "日記"]
    assert len({archives_folder("shop", "app", name) for name in names}) == len(names)


@given(st.dictionaries(st.text(max_size=8), st.none() | st.text(max_size=40), max_size=5))
def test_a_line_says_exactly_what_the_row_said(row: dict[str, str | None]) -> None:
    line = line_of(row)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert row_of(line) == row
