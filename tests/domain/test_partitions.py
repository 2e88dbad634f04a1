"""Which partitions are made and taken away: bounds, months, gaps, catch-alls, and what has to be proven first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from upkeep.domain.partition_ahead import MOST_NEW
from upkeep.domain.partition_bounds import (
    Kind,
    Months,
    NotUnderstood,
    mysql_kind,
    postgres_kind,
    read_range,
    read_upper,
    write_bound,
)
from upkeep.domain.partition_plan import find_old, make_plan
from upkeep.domain.partitions import Archived, CatchAll, Existing, Layout, Measured, PartitionPlan, Rule
from upkeep.domain.refusal import Refusal

NOW = datetime(2026, 11, 22, 2, tzinfo=UTC)
CHINA = "Asia/Shanghai"
NO_BACKUP = Refusal("it has no backup", "back it up")


def day(text: str) -> datetime:
    return datetime.fromisoformat(text)


def mysql(*bounds: str, catch_all: CatchAll | None = None, names: Sequence[str] = (), kind: Kind = "day") -> Layout:
    """Partitions of MySQL that end at these days."""
    existing = [Existing(name or f"p{bound[:4]}{bound[5:7]}e", f"'{bound}'") for name, bound in
                zip([*names, *[""] * len(bounds)], bounds, strict=False)]  # fmt: skip
    if catch_all:
        existing.append(Existing(catch_all.name, "MAXVALUE"))
    return Layout("mysql", ("logs",), True, kind=kind, existing=tuple(existing), catch_all=catch_all)


def postgres(*ranges: str, catch_all: CatchAll | None = None, kind: Kind = "day", **more: Any) -> Layout:
    """Partitions of PostgreSQL, each ``from/to``."""
    existing = []
    for one in ranges:
        lower, _, upper = one.partition("/")
        existing.append(Existing(f"logs_p{lower[:4]}_{lower[5:7]}", f"FOR VALUES FROM ('{lower}') TO ('{upper}')"))
    if catch_all:
        existing.append(Existing(catch_all.name, "DEFAULT"))
    return Layout(
        "postgres", ("public", "logs"), True, kind=kind, existing=tuple(existing), catch_all=catch_all, **more
    )


def plan(layout: Layout | None, now: datetime = NOW, **changes: Any) -> PartitionPlan:
    """Settings of the rule and of ``make_plan`` alike."""
    of_rule = {name: changes.pop(name) for name in ("ahead", "keep", "old") if name in changes}
    options = {"timezone": CHINA, "lock_timeout_s": 5, "archived": NO_BACKUP, "measured": {}, **changes}
    return make_plan(Rule("logs", "at", **of_rule), layout, now=now, **options)


def made(found: PartitionPlan) -> list[tuple[str, str | None, str]]:
    return [(new.name, new.lower, new.upper) for step in found.steps for new in step.makes]


# Bounds.


@pytest.mark.parametrize(
    ("method", "expression", "data_type", "kind"),
    [
        ("RANGE", "((year(`at`) * 100) + month(`at`))", "date", "year and month"),  # MySQL 8's words
        ("RANGE", "year(`at`) * 100 + month(`at`)", "date", "year and month"),  # MariaDB's
        ("RANGE", "extract(year_month from `at`)", "date", "year and month"),
        ("RANGE", "to_days(`at`)", "datetime", "day number"),
        ("RANGE", "unix_timestamp(`at`)", "timestamp", "epoch"),
        ("RANGE COLUMNS", "`at`", "datetime", "wall clock"),
    ],
)
def test_an_expression_by_months_is_understood(method: str, expression: str, data_type: str, kind: Kind) -> None:
    assert mysql_kind(method, expression, "at", data_type) == kind


@pytest.mark.parametrize(
    ("method", "expression", "data_type"),
    [
        ("RANGE", "year(`at`)", "date"),
        ("RANGE", "year(`at`) * (100 + month(`at`))", "date"),
        ("RANGE", "to_days(`other`)", "date"),
        ("RANGE COLUMNS", "`at`,`id`", "date"),
        ("RANGE COLUMNS", "`at`", "varchar"),
        ("LIST", "year(`at`) * 100 + month(`at`)", "date"),
        ("HASH", "to_days(`at`)", "date"),
    ],
)
def test_any_other_expression_is_not(method: str, expression: str, data_type: str) -> None:
    with pytest.raises(NotUnderstood):
        mysql_kind(method, expression, "at", data_type)


def test_postgres_takes_one_column_of_dates() -> None:
    assert postgres_kind("r", "RANGE (at)", ["at"], "at", "timestamptz") == "instant"
    for strategy, columns, data_type in (("l", ["at"], "date"), ("r", [None], "date"), ("r", ["at", "id"], "date"),
                                         ("r", ["at"], "int8")):  # fmt: skip
        with pytest.raises(NotUnderstood):
            postgres_kind(strategy, "...", columns, "at", data_type)


def test_a_bound_is_read_and_written_as_the_server_has_it() -> None:
    for text, kind, moment in (
        ("202701", "year and month", "2027-01-01"),
        ("202613", "year and month", "2027-01-01"),  # how some end December
        ("740347", "day number", "2027-01-01"),
        ("1798732800", "epoch", "2026-12-31T16:00:00+00:00"),
        ("'2027-01-01'", "day", "2027-01-01"),
        ("'2027-01-01 00:00:00'", "wall clock", "2027-01-01"),
    ):
        assert read_upper(text, kind) == day(moment)  # type: ignore[arg-type]
        if text != "202613":
            assert write_bound(day(moment), kind) == text  # type: ignore[arg-type]
    assert read_upper("MAXVALUE", "day") is None
    found = read_range("FOR VALUES FROM (MINVALUE) TO ('2026-10-31 16:00:00+00')", "instant")
    assert found is not None
    assert (found.lower, found.upper) == (None, datetime(2026, 10, 31, 16, tzinfo=UTC))
    assert read_range("DEFAULT", "instant") is None
    for text in ("FOR VALUES IN ('a')", "FOR VALUES FROM ('0044-03-15 BC') TO ('2026-01-01')"):
        with pytest.raises(NotUnderstood):
            read_range(text, "day")


def test_months_of_instants_begin_at_the_sites_midnight_unless_the_table_keeps_utc() -> None:
    site = Months.of("instant", CHINA, [])
    assert site.start(2027, 1) == datetime(2026, 12, 31, 16, tzinfo=UTC)
    assert Months.of("instant", CHINA, [datetime(2026, 11, 1, tzinfo=UTC)]).zone == ZoneInfo("UTC")
    assert Months.of("instant", CHINA, [datetime(2026, 10, 31, 16, tzinfo=UTC)]).zone == ZoneInfo(CHINA)
    # Clocks change between two midnights of one month; both are midnight all the same.
    berlin = Months.of("instant", "Europe/Berlin", [])
    assert (berlin.start(2026, 10).hour, berlin.start(2026, 11).hour) == (22, 23)


# Ahead.


def test_this_month_is_the_sites() -> None:
    """16:30 UTC on the 30th is half past midnight on the first in Shanghai."""
    late = datetime(2026, 11, 30, 16, 30, tzinfo=UTC)
    assert [name for name, *_ in made(plan(mysql("2026-12-01"), late, ahead=1))] == ["p202612", "p202701"]
    assert [name for name, *_ in made(plan(mysql("2026-12-01"), late - timedelta(hours=1), ahead=1))] == ["p202612"]


def test_nothing_is_made_twice() -> None:
    layout = mysql("2026-12-01", "2027-01-01", "2027-02-01", "2027-03-01")
    found = plan(layout)
    assert (found.steps, found.advice, found.light(NOW)) == ((), (), "green")
    assert "nothing to do: partitions reach to 2027-03-01" in found.summary


def test_wider_partitions_are_left_and_continued_by_months() -> None:
    layout = postgres("2026-01-01/2027-01-01", "2027-02-01/2027-03-01")
    assert made(plan(layout)) == [("logs_p2027_01", "'2027-01-01'", "'2027-02-01'")]
    assert made(plan(mysql("2027-01-01"), ahead=2)) == [("p202701", "'2027-01-01'", "'2027-02-01'")]


def test_a_table_nobody_looked_after_for_ten_years_is_not_ours() -> None:
    found = plan(mysql("2010-01-01"))
    assert not found.steps
    assert f"more than are made in one go ({MOST_NEW})" in found.advice[0].reason
    assert found.light(NOW) == "red", "its rows are refused"


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    layout = postgres("2026-11-01/2026-12-01", taken=frozenset({"logs_p2026_12"}))
    assert [name for name, *_ in made(plan(layout, ahead=1))] == ["logs_p2026_12_2"]


def test_a_catch_all_too_large_to_move_within_the_lock_timeout_is_advised_about() -> None:
    large = CatchAll("pmax", 50_001, 9_000_000)
    found = plan(mysql("2026-12-01", catch_all=large))
    assert (found.steps, found.light(NOW)) == ((), "amber")
    assert "pmax holds at least 50,001 rows" in found.summary
    assert "lock_timeout_s (5 s)" in found.summary
    assert "REORGANIZE PARTITION `pmax`" in found.advice[0].remedy
    wide = CatchAll("pmax", 1, 101_000_000, {"2026-12": 1})
    assert not plan(mysql("2026-12-01", catch_all=wide)).steps
    assert plan(mysql("2026-12-01", catch_all=wide), lock_timeout_s=6).steps


def test_a_table_whose_partitions_end_soon_is_red_when_they_can_not_be_made() -> None:
    stuck = Layout("postgres", ("public", "logs"), True, kind=None, trouble="by LIST (at)")
    assert plan(stuck).light(NOW) == "amber"
    assert plan(postgres("2026-11-01/2026-12-01")).light(NOW) == "red"
    assert plan(postgres("2026-11-01/2027-01-01")).light(NOW) == "green"


def test_an_open_end_on_postgres_takes_every_row_and_leaves_no_room_for_months() -> None:
    layout = Layout("postgres", ("public", "logs"), True, kind="day",
                    existing=(Existing("logs_new", "FOR VALUES FROM ('2026-11-01') TO (MAXVALUE)"),))  # fmt: skip
    found = plan(layout)
    assert (found.steps, found.covered_until, found.light(NOW)) == ((), None, "amber")
    assert "logs_new has no end" in found.summary


# Behind.

OLD = ("2026-07-01", "2026-08-01", "2026-09-01", "2026-10-01", "2026-11-01", "2026-12-01", "2027-03-01")


def archived(**changes: Any) -> Archived:
    taken = NOW - timedelta(hours=1)
    return Archived(**{"backup_id": "B", "taken_at": taken, "rows": {"logs": 9}, "proven_at": taken,
                       "counts_from": "structure", **changes})  # fmt: skip


def dropped(layout: Layout, backup: Archived | Refusal, **changes: Any) -> list[str]:
    found = plan(layout, **{"keep": 3, "old": "drop", "archived": backup, **changes})
    return [step.partition for step in found.steps if step.action == "drop"]


def test_only_whole_months_of_the_past_beyond_keep_go() -> None:
    layout = mysql(*OLD)
    assert dropped(layout, archived()) == ["p202607e", "p202608e"]
    assert dropped(layout, archived(), keep=5) == []
    assert dropped(layout, archived(), keep=None) == []


def test_the_last_partition_stays() -> None:
    layout = postgres("2026-01-01/2026-02-01", "2026-02-01/2026-03-01", catch_all=CatchAll("rest", 0, 0))
    rule = Rule("logs", "at", keep=1)
    assert find_old(rule, layout, now=NOW, timezone=CHINA) == ["logs_p2026_01"]
    assert find_old(rule, mysql("2026-02-01"), now=NOW, timezone=CHINA) == []


@pytest.mark.parametrize(
    ("backup", "measured", "why"),
    [
        (NO_BACKUP, Measured(), "it has no backup"),
        (archived(rows={"users": 1}), Measured(), "backup B doesn't hold logs"),
        (archived(proven_at=None, counts_from="restored"), Measured(), "no backup taken after it ended is restored"),
        (archived(proven_at=datetime(2026, 6, 30, tzinfo=UTC)), Measured(), "no backup taken after it ended"),
        (archived(), Measured(changed_at=NOW), "it was changed after backup B was taken"),
        (archived(), Measured(trouble="its rows can't be counted"), "its rows can't be counted"),
    ],
)
def test_without_a_backup_that_holds_it_an_old_partition_stays(
    backup: Archived | Refusal, measured: Measured, why: str
) -> None:
    layout = mysql(*OLD)
    found = plan(layout, keep=4, old="drop", archived=backup, measured={"p202607e": measured})
    assert not found.steps
    assert why in found.summary
    assert found.light(NOW) == "amber"


def test_an_end_at_the_sites_midnight_is_compared_with_the_backup_as_an_instant() -> None:
    """June ends in Shanghai at 16:00 UTC on the 30th."""
    layout = mysql(*OLD)
    ended = datetime(2026, 6, 30, 16, tzinfo=UTC)
    assert dropped(layout, archived(proven_at=ended), keep=4) == ["p202607e"]
    assert dropped(layout, archived(proven_at=ended - timedelta(seconds=1)), keep=4) == []


def test_postgres_compares_rows_with_the_manifest_and_estimates_will_not_do() -> None:
    layout = postgres("2026-09-01/2026-10-01", "2026-10-01/2026-11-01", "2026-11-01/2027-03-01")
    name = "public.logs_p2026_09"
    for then, now, goes in ((7, 7, True), (7, 8, False), (None, 8, False)):
        went = dropped(layout, archived(rows={name: then}), keep=1, measured={"logs_p2026_09": Measured(rows=now)})
        assert bool(went) is goes
