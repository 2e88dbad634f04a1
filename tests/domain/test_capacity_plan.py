"""What runs out first stands first, with what would change it; and what is nobody's business stays green."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from upkeep.domain.capacity import Key, Point
from upkeep.domain.capacity_plan import CapacityPlan, Levers, Line, plan_capacity, shown, signed

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
DAYS = np.arange(120)
LIMITS: Mapping[Key, float] = {
    ("disk_pct", ""): 85, ("cpu_pct", ""): 80, ("connections_pct", ""): 80, ("cache_memory_pct", "sessions"): 70,
}  # fmt: skip


def samples(values: Iterable[float]) -> list[Point]:
    values = list(values)
    first = NOW - timedelta(days=len(values) - 1)
    return [Point(first + timedelta(days=day), float(value)) for day, value in enumerate(values)]


def plan(**series: Iterable[float]) -> CapacityPlan:
    """``disk_pct__w1`` is ``disk_pct`` of ``w1``."""
    given = {(name.partition("__")[0], name.partition("__")[2]): samples(values) for name, values in series.items()}
    return plan_capacity(given, LIMITS, Levers(), now=NOW)


def line(found: CapacityPlan, metric: str) -> Line:
    (one,) = (one for one in found.lines if one.metric == metric)
    return one


@pytest.mark.parametrize(
    ("last", "rate", "light"),
    [
        (60, 0.1, "green"),
        (60, 0.4, "amber"),
        (80, 0.1, "amber"),
        (80, 0.6, "red"),
        (96, 0.0, "red"),
        (20, 0.0, "green"),
    ],
    ids=["far", "within three months", "soon", "full within a month", "full", "still"],
)
def test_a_disk_is_amber_three_months_ahead_and_red_when_it_is_full_before_the_next_forecast(
    last: float, rate: float, light: str
) -> None:
    found = plan(disk_pct__w1=last - rate * 119 + rate * DAYS)
    assert (found.light, found.lines[0].light) == (light, light)


@pytest.mark.parametrize(("last", "light"), [(84, "green"), (90, "amber"), (99, "red")])
def test_a_disk_that_is_full_today_is_told_before_there_is_a_trend(last: float, light: str) -> None:
    for values in ([50.0] * 100 + [last], [50.0, last]):
        found = plan(disk_pct__w1=values)
        assert found.lines[0].light == light
        assert ("over it in its last sample" in found.lines[0].says) == (last >= 85)


def test_a_busy_processor_stops_nothing_and_is_amber_at_most() -> None:
    assert plan(cpu_pct__w1=[99.0] * 120).light == "amber"


def test_the_limit_of_one_thing_goes_before_that_of_all() -> None:
    assert line(plan(cache_memory_pct__sessions=[75.0] * 20), "cache_memory_pct").forecast.reached
    assert line(plan(cache_memory_pct__other=[75.0] * 20), "cache_memory_pct").forecast.limit is None


def test_what_is_reached_first_stands_first() -> None:
    found = plan(disk_pct__a=50 + 0.1 * DAYS, disk_pct__b=50 + 0.25 * DAYS, disk_pct__c=[10.0] * 120)
    assert [one.target for one in found.lines] == ["b", "a", "c"]
    assert found.summary == "disk_pct b in 21 days (21 to 21) at 85 %"
    assert plan(disk_pct__a=50 + 0.1 * DAYS).summary == (
        "1 limit, none reached within 92 days; the first is disk_pct a in 231 days (231 to 231)"
    )
    assert plan().summary == "nothing has been sampled yet"


def test_a_line_says_all_that_is_known() -> None:
    values = 50 + 0.2 * DAYS
    assert line(plan(disk_pct__w1=values), "disk_pct").says == (
        "73.8 % now, +6.0 % a month, reaches 85 % in 56 days (56 to 56); 120 days from 2026-07-26 to 2026-11-22"
    )


def test_a_disk_that_fills_is_told_with_all_that_would_change_it() -> None:
    levers = Levers(
        purged={"app/audit_logs": "rows go 30 days after created_at"},
        retention="14 daily",
        stores=frozenset({"w1"}),
        endless_logs=("/var/log/nginx",),
    )
    given: dict[Key, list[Point]] = {
        ("disk_pct", "w1"): samples(50 + 0.25 * DAYS),
        ("disk_used_bytes", "w1"): samples((50 + 0.25 * DAYS) * 2e9),
        ("table_bytes", "app/audit_logs"): samples(1e9 + 4e6 * DAYS),
        ("table_bytes", "app/users"): samples([1e9] * 120),
        ("store_bytes", "kindergarten"): samples(5e9 + 9e6 * DAYS),
        ("store_bytes", "kindergarten/app"): samples(5e9 + 9e6 * DAYS),
    }
    found = plan_capacity(given, LIMITS, levers, now=NOW)
    assert line(found, "disk_pct").changes == (
        "a disk 2.0 times as large, 402.4 GB instead of 200.0 GB: stays below 85 % for a year",
        "backups lie on it: a shorter retention (now 14 daily) or another store",
        "grows: backups of kindergarten/app +270.0 MB a month (14 daily)",
        "grows: table app/audit_logs +120.0 MB a month (rows go 30 days after created_at)",
        "logs that are never removed: /var/log/nginx (keep_days)",
    )


def test_a_larger_maximum_is_named_in_connections() -> None:
    found = plan(connections_pct__app=20 + 0.3 * DAYS, connections_max__app=[200.0] * 120)
    (change,) = line(found, "connections_pct").changes
    assert change.startswith("max_connections 2.1 times as high (413 instead of 200): stays below 80 % for a year")


def test_what_is_never_reached_needs_no_change() -> None:
    assert plan(disk_pct__w1=[50.0] * 120).lines[0].changes == ()


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (4e8, "the backup of k/app fell from 1.0 GB to 400.0 MB on 2026-11-13 (-60 %)"),
        (3e9, "the backup of k/app rose from 1.0 GB to 3.0 GB on 2026-11-13 (+200 %)"),
    ],
)
def test_a_backup_whose_size_changes_at_once_is_told(after: float, words: str) -> None:
    found = plan(backup_bytes__k_app=np.where(DAYS < 110, 1e9, after))
    assert [odd.words.replace("k_app", "k/app") for odd in found.odd_backups] == [words]
    assert found.light == "amber"
    assert words.replace("k/app", "k_app") in found.summary


def test_last_nights_small_backup_is_told_at_once() -> None:
    found = plan(backup_bytes__app=[*(1e9 + 1e6 * DAYS), 2e8])
    assert [odd.shift.on for odd in found.odd_backups] == [NOW.date()]


def test_a_backup_that_grows_as_always_or_changed_long_ago_is_no_news() -> None:
    assert plan(backup_bytes__app=1e9 + 2e7 * DAYS).odd_backups == ()
    assert plan(backup_bytes__app=np.where(DAYS < 60, 1e9, 4e8)).odd_backups == ()


def test_replicas_follow_the_autoscalers_formula_where_the_cluster_was_sampled() -> None:
    found = plan(
        deployment_replicas__api=[3.0] * 20, deployment_cpu_pct__api=[90.0] * 20,
        deployment_replicas__web=[4.0] * 20, deployment_cpu_pct__web=[72.0] * 20,
        deployment_replicas__job=[4.0] * 20,
    )  # fmt: skip
    assert found.replicas == (
        "api: 4 replicas, now 3 (ceil(3 * 90 / 70) = 4)",
        "web: 4 replicas, now 4 (72 is within 10 % of the target 70)",
    )


def test_a_counter_is_told_by_what_it_gains_a_day() -> None:
    found = plan(network_in_bytes__eth0=5e9 * DAYS)
    assert line(found, "network_in_bytes").now == "5.0 GB"


def test_what_has_a_limit_is_shown_first_then_what_grows_fastest_in_bytes() -> None:
    found = plan(
        disk_pct__w1=[50.0] * 120, table_bytes__slow=1e9 + 1e3 * DAYS, table_bytes__fast=1e9 + 1e6 * DAYS,
        table_rows__fast=1e9 + 1e8 * DAYS,
    )  # fmt: skip
    assert [one.name for one in found.shown(3)] == ["disk_pct w1", "table_bytes fast", "table_bytes slow"]


def test_a_machine_that_is_gone_is_left_aside() -> None:
    gone = [Point(at - timedelta(days=15), value) for at, value in samples(50 + 0.3 * DAYS)]
    found = plan_capacity({("disk_pct", "w1"): gone}, LIMITS, Levers(), now=NOW)
    assert (found.lines, found.ended, found.light) == ((), 1, "amber")
    assert found.summary == "nothing was sampled in the last 14 days"


@pytest.mark.parametrize(("days", "light"), [(15, "amber"), (100, "green")])
def test_what_was_about_to_run_out_is_not_forgotten_once_it_is_no_longer_sampled(days: int, light: str) -> None:
    filling = [Point(at - timedelta(days=days), value) for at, value in samples(60 + 0.3 * DAYS)]
    healthy = samples(50 + 0 * DAYS)
    found = plan_capacity({("disk_pct", "db:/"): filling, ("disk_pct", "w1"): healthy}, LIMITS, Levers(), now=NOW)
    assert found.light == light
    assert ("disk_pct db:/ was about to run out, and has not been sampled for 14 days" in found.summary) == (
        light == "amber"
    )


def test_figures_are_told_in_their_units() -> None:
    figures = {"disk_pct": 62.14, "table_bytes": 41.2e6, "cache_keys": 12345.0, "load_1m": 0.4}
    assert [shown(metric, value) for metric, value in figures.items()] == ["62.1 %", "41.2 MB", "12,345", "0.4"]
    assert [signed("disk_pct", rate) for rate in (0.04, 1.0, -1.0)] == ["0.0 %", "+1.0 %", "-1.0 %"]
