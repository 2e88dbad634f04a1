"""Retention as a specification: what is kept, removed or left alone, and the reason a DBA reads.

The tables show the rules one at a time; the properties below hold for every policy and every set of backups, also
after a crash in the middle of the removals.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from upkeep.domain.proof import ProofLevel, is_proven
from upkeep.domain.retention import Candidate, Decision, RetentionPlan, RetentionPolicy, Tonight, plan_retention
from upkeep.errors import PolicyRefused

NOW = datetime(2026, 11, 22, 2, 10, tzinfo=UTC)  # a Sunday
LEVELS = list(ProofLevel)


def backup(taken_at: str | datetime, **fields: Any) -> Candidate:
    """A good backup; a date alone stands for 02:00 UTC."""
    if isinstance(taken_at, str):
        taken_at = datetime.fromisoformat(taken_at if "T" in taken_at else f"{taken_at}T02:00").replace(tzinfo=UTC)
    fields = {
        "site": "kindergarten",
        "target": "app",
        "backup_id": f"{taken_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-0000",
        "level": ProofLevel.STRUCTURE,
        "failed": False,
        "size": 40_000_000,
        **fields,
    }
    return Candidate(taken_at=taken_at, **fields)


def nights(count: int, last: datetime = NOW) -> list[Candidate]:
    return [backup(last - timedelta(days=day, minutes=10)) for day in range(count)]


def policy(**fields: Any) -> RetentionPolicy:
    return RetentionPolicy(**{"keep_at_least": 1, "min_age_days": 0, "timezone": "UTC", **fields})


def plan(
    backups: Iterable[Candidate], rules: RetentionPolicy, now: datetime = NOW, tonight: Tonight = "proven"
) -> RetentionPlan:
    return plan_retention(backups, rules, now, tonight)


def decision(result: RetentionPlan, day: str) -> Decision:
    """The decision about the only backup taken on that UTC day."""
    (found,) = (one for one in result.decisions if f"{one.backup.taken_at:%Y-%m-%d}" == day)
    return found


def ids(decisions: Iterable[Decision]) -> list[str]:
    return [one.backup_id for one in decisions]


def days(decisions: Iterable[Decision]) -> list[str]:
    return [f"{one.backup.taken_at:%m-%d}" for one in decisions]


# --- the ladder ---


def test_the_rungs_are_ordered_and_a_failed_proof_outweighs_them_all() -> None:
    assert [level.label for level in sorted(LEVELS)] == ["stored", "checksum", "structure", "restored", "drilled"]
    assert is_proven(ProofLevel.STRUCTURE, failed=False, counts_from=ProofLevel.STRUCTURE)
    assert not is_proven(ProofLevel.CHECKSUM, failed=False, counts_from=ProofLevel.STRUCTURE)
    assert not is_proven(ProofLevel.DRILLED, failed=True, counts_from=ProofLevel.STRUCTURE)


# --- slots ---


def test_the_newest_of_each_day_week_month_and_year_fills_a_slot() -> None:
    result = plan(nights(400), policy(daily=3, weekly=2, monthly=2, yearly=2))
    assert {day: decision(result, day).why for day in ("2026-11-22", "2026-11-20", "2026-11-15", "2026-10-31")} == {
        "2026-11-22": "newest proven of day 2026-11-22 (daily 1 of 3); newest proven of week 2026-W47 (weekly 1 of 2); "
        "newest proven of month 2026-11 (monthly 1 of 2); newest proven of year 2026 (yearly 1 of 2); "
        "the newest proven backup (keep_at_least)",
        "2026-11-20": "newest proven of day 2026-11-20 (daily 3 of 3)",
        "2026-11-15": "newest proven of week 2026-W46 (weekly 2 of 2)",
        "2026-10-31": "newest proven of month 2026-10 (monthly 2 of 2)",
    }
    assert days(result.keeps) == ["12-31", "10-31", "11-15", "11-20", "11-21", "11-22"]


def test_a_removal_says_for_every_rule_why_it_does_not_keep() -> None:
    result = plan(nights(30), policy(daily=3, weekly=2, monthly=2, keep_last=2))
    assert decision(result, "2026-11-14").why == (
        "no rule keeps it: older than the 3 daily slots, week 2026-W46 is held by 20261115T020000Z-0000, "
        "month 2026-11 is held by 20261122T020000Z-0000, not one of the 2 newest proven backups; "
        "5 proven backups remain"
    )
    assert decision(result, "2026-11-01").why.startswith(
        "no rule keeps it: older than the 3 daily slots, older than the 2 weekly slots, month 2026-11 is held by "
    )


def test_only_periods_that_hold_a_backup_use_up_a_slot() -> None:
    result = plan([backup("2026-11-22"), backup("2026-11-02"), backup("2025-01-07")], policy(daily=3))
    assert decision(result, "2025-01-07").why == "newest proven of day 2025-01-07 (daily 3 of 3)"


def test_within_a_day_the_newest_is_kept() -> None:
    result = plan([backup("2026-11-21T02:00"), backup("2026-11-21T14:00"), backup("2026-11-22")], policy(daily=2))
    assert ids(result.removes) == ["20261121T020000Z-0000"]
    assert result.removes[0].why == (
        "no rule keeps it: day 2026-11-21 is held by 20261121T140000Z-0000; 2 proven backups remain"
    )


def test_two_backups_of_one_second_are_told_apart_by_their_ids() -> None:
    twins = [backup("2026-11-22", backup_id=f"20261122T020000Z-{end}") for end in ("bbbb", "aaaa")]
    assert ids(plan(twins, policy(daily=1)).removes) == ["20261122T020000Z-aaaa"]
    assert ids(plan(twins[::-1], policy(daily=1)).removes) == ["20261122T020000Z-aaaa"]


@pytest.mark.parametrize(
    ("zone", "moment", "periods"),
    [
        pytest.param(
            "Asia/Shanghai",
            "2026-12-31T15:59:59",
            "day 2026-12-31, week 2026-W53, month 2026-12, year 2026",
            id="a second before midnight in Shanghai is still the old year",
        ),
        pytest.param(
            "Asia/Shanghai",
            "2026-12-31T16:00",
            "day 2027-01-01, week 2026-W53, month 2027-01, year 2027",
            id="midnight in Shanghai begins the new year while UTC has 16:00; its ISO week is still week 53",
        ),
        pytest.param(
            "Asia/Shanghai",
            "2027-01-03T16:00",
            "day 2027-01-04, week 2027-W01, month 2027-01, year 2027",
            id="week 1 begins on the Monday after",
        ),
        pytest.param(
            "UTC",
            "2024-12-30T02:00",
            "day 2024-12-30, week 2025-W01, month 2024-12, year 2024",
            id="30 December can be in week 1 of the next year",
        ),
        pytest.param(
            "UTC",
            "2028-02-29T02:00",
            "day 2028-02-29, week 2028-W09, month 2028-02, year 2028",
            id="29 February of a leap year is a day like any other",
        ),
        pytest.param(
            "Europe/Berlin",
            "2026-03-28T23:30",
            "day 2026-03-29, week 2026-W13, month 2026-03, year 2026",
            id="00:30 in the night that loses an hour, at UTC+1",
        ),
        pytest.param(
            "Europe/Berlin",
            "2026-03-29T22:00",
            "day 2026-03-30, week 2026-W14, month 2026-03, year 2026",
            id="midnight after it, at UTC+2: that day had 23 hours",
        ),
        pytest.param(
            "Europe/Berlin",
            "2026-10-25T22:59",
            "day 2026-10-25, week 2026-W43, month 2026-10, year 2026",
            id="the day that repeats an hour has 25, and its last minute is 22:59 UTC",
        ),
    ],
)
def test_periods_are_those_of_the_sites_own_clock(zone: str, moment: str, periods: str) -> None:
    rules = policy(daily=1, weekly=1, monthly=1, yearly=1, timezone=zone)
    result = plan([backup(moment)], rules, now=datetime(2030, 1, 1, tzinfo=UTC))
    named = [reason.split(" (")[0].removeprefix("newest proven of ") for reason in result.keeps[0].reasons[:4]]
    assert ", ".join(named) == periods


def test_one_night_is_one_day_in_shanghai_and_two_in_utc() -> None:
    both = [backup("2026-11-20T20:00"), backup("2026-11-21T04:00")]
    assert not plan(both, policy(daily=2)).removes
    assert len(plan(both, policy(daily=2, timezone="Asia/Shanghai")).removes) == 1


def test_the_second_pass_of_a_repeated_hour_is_the_newer_one() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first, second = (
        backup(datetime(2026, 10, 25, 2, minute, fold=fold, tzinfo=berlin)) for minute, fold in ((45, 0), (15, 1))
    )
    assert ids(plan([first, second], policy(daily=1)).keeps) == [second.backup_id]


@pytest.mark.parametrize(
    ("zone", "hour"), [("UTC", 2), ("Asia/Shanghai", 2), ("Europe/Berlin", 2), ("America/Sao_Paulo", 0)]
)
def test_three_years_of_nights_leave_14_days_8_weeks_and_12_months(zone: str, hour: int) -> None:
    rules = policy(daily=14, weekly=8, monthly=12, keep_at_least=3, min_age_days=7, timezone=zone)
    alive: list[Candidate] = []
    for day in range(3 * 366):
        now = datetime(2016, 1, 1, hour, tzinfo=ZoneInfo(zone)) + timedelta(days=day)
        alive.append(backup(now))
        alive = [one.backup for one in plan(alive, rules, now=now).keeps]
    local = [one.taken_at.astimezone(ZoneInfo(zone)) for one in alive]
    last = local[-1]
    assert [f"{moment:%Y-%m-%d}" for moment in local[-14:]] == [
        f"{last - timedelta(days=day):%Y-%m-%d}" for day in reversed(range(14))
    ]
    assert len({moment.isocalendar()[:2] for moment in local if last - moment <= timedelta(weeks=8)}) >= 8
    assert len({(moment.year, moment.month) for moment in local}) == 12
    assert len(alive) <= 14 + 8 + 12


# --- what a backup must be to count ---


@pytest.mark.parametrize(
    ("newest", "standing"),
    [
        ({"level": ProofLevel.STORED}, "not proven: reached stored, counts from structure"),
        ({"level": ProofLevel.CHECKSUM}, "not proven: reached checksum, counts from structure"),
        (
            {"level": ProofLevel.RESTORED, "failed": True},
            "damaged: a proof failed (had reached restored)",
        ),
    ],
)
def test_an_unproven_or_damaged_backup_takes_no_slot_and_is_left_alone_while_young(
    newest: dict[str, Any], standing: str
) -> None:
    result = plan(
        [backup("2026-11-21T20:00"), backup("2026-11-21T23:00", **newest)], policy(daily=1, keep_last=1, min_age_days=7)
    )
    good, other = result.decisions
    assert "newest proven of day 2026-11-21 (daily 1 of 1)" in good.reasons
    assert "the newest proven backup (keep_last)" in good.reasons
    assert other.action == "leave"
    what = "evidence" if newest.get("failed") else "it is"
    assert other.reasons == (standing, f"left as {what} until min_age_days 7 pass")


def test_the_site_says_from_which_rung_a_backup_counts() -> None:
    restored, checked = backup("2026-11-20", level=ProofLevel.RESTORED), backup("2026-11-21", level=ProofLevel.CHECKSUM)
    strict = plan([restored, checked], policy(daily=1, counts_from=ProofLevel.RESTORED))
    assert (days(strict.keeps), days(strict.leaves)) == (["11-20"], ["11-21"])
    lax = plan([restored, checked], policy(daily=1, counts_from=ProofLevel.CHECKSUM))
    assert (days(lax.keeps), days(lax.removes)) == (["11-21"], ["11-20"])


def test_a_backup_that_waits_for_its_restore_keeps_the_slot_it_would_have_and_no_other_does() -> None:
    """The week restores a sample: the other nights are whole, and must not be removed as bad."""
    week = [
        backup("2026-11-15", level=ProofLevel.RESTORED),
        backup("2026-11-19"),
        backup("2026-11-20T02:00"),
        backup("2026-11-20T14:00"),
        backup("2026-11-21", level=ProofLevel.CHECKSUM),
        backup("2026-11-22", level=ProofLevel.RESTORED),
    ]
    result = plan(week, policy(daily=3, counts_from=ProofLevel.RESTORED))
    assert ids(result.removes) == ["20261120T020000Z-0000", "20261121T020000Z-0000"]
    assert days(result.keeps) == ["11-15", "11-22"]
    assert decision(result, "2026-11-19").why == (
        "not proven: reached structure, counts from restored; "
        "left as it is: whole, and newest proven of day 2026-11-19 (daily 3 of 3)"
    )


def test_an_unproven_backup_goes_when_it_is_old_and_a_newer_one_is_proven() -> None:
    unproven = backup("2026-11-10", level=ProofLevel.CHECKSUM)
    rules = policy(daily=9, min_age_days=7)
    assert plan([unproven, backup("2026-11-12")], rules).removes[0].why == (
        "not proven: reached checksum, counts from structure; min_age_days 7 have passed; "
        "20261112T020000Z-0000 is newer and proven; 1 proven backup remains"
    )
    assert plan([backup("2026-11-09"), unproven], rules).leaves[0].why == (
        "not proven: reached checksum, counts from structure; left as it is: no newer backup is proven"
    )
    assert plan([unproven], rules).leaves[0].why == (
        "not proven: reached checksum, counts from structure; "
        "left as it is: 0 proven backups remain, fewer than keep_at_least 1"
    )


def test_a_damaged_backup_is_evidence_for_min_age_days_and_then_goes_if_enough_good_ones_remain() -> None:
    damaged = backup("2026-11-10", failed=True)
    rules = policy(daily=9, keep_at_least=2, min_age_days=7)
    assert plan([damaged, backup("2026-11-08"), backup("2026-11-09")], rules).removes[0].why == (
        "damaged: a proof failed (had reached structure); min_age_days 7 have passed; 2 proven backups remain"
    )
    assert plan([damaged, backup("2026-11-12")], rules).leaves[0].why == (
        "damaged: a proof failed (had reached structure); "
        "left as it is: 1 proven backup remains, fewer than keep_at_least 2"
    )


def test_damage_found_tonight_in_an_old_backup_is_not_removed_tonight() -> None:
    rules = policy(daily=9, min_age_days=7)
    found_tonight = backup("2026-01-31", failed=True, failed_at=NOW - timedelta(minutes=5))
    assert plan([found_tonight, *nights(3)], rules).leaves[0].why == (
        "damaged: a proof failed (had reached structure); left as evidence until min_age_days 7 pass"
    )
    assert plan([found_tonight, *nights(3)], rules, now=NOW + timedelta(days=7)).removes
    before_the_clock_was_corrected = backup(NOW - timedelta(days=1), failed=True, failed_at=NOW - timedelta(days=99))
    assert plan([before_the_clock_was_corrected, *nights(1)], rules).leaves
    proven_again = replace(found_tonight, failed=False)
    assert plan([proven_again, *nights(3)], policy(daily=3, min_age_days=7)).removes


# --- what is never removed ---


def test_a_pinned_backup_stays_whatever_its_age_or_state_and_the_pin_is_quoted() -> None:
    pin = "li.si: audit 2026"
    old = [
        backup("2019-01-01", pinned=pin),
        backup("2019-01-02", pinned=pin, level=ProofLevel.STORED),
        backup("2019-01-03", pinned=pin, failed=True),
        backup("2019-01-04", pinned=" "),
    ]
    result = plan([*old, *nights(3)], policy(daily=2, max_age_days=30))
    assert [decision(result, f"2019-01-0{day}").why for day in (1, 2, 3)] == [
        "pinned by li.si: audit 2026",
        "pinned by li.si: audit 2026; not proven: reached stored, counts from structure",
        "pinned by li.si: audit 2026; damaged: a proof failed (had reached structure)",
    ]
    assert decision(result, "2019-01-04").reasons[0] == "pinned by somebody unnamed"
    assert days(result.removes) == ["11-20"], "a pin holds its own backup and blocks no other"


def test_a_backup_younger_than_min_age_days_stays_and_at_that_age_it_may_go() -> None:
    at, younger = backup(NOW - timedelta(days=7)), backup(NOW - timedelta(days=7) + timedelta(seconds=1))
    result = plan([at, younger, *nights(1)], policy(daily=1, min_age_days=7))
    assert ids(result.removes) == [at.backup_id]
    assert result.keeps[0].reasons == ("younger than min_age_days 7",)


def test_a_backup_from_the_future_is_left_alone_and_counts_for_nothing() -> None:
    future = backup(NOW + timedelta(minutes=5, seconds=1))
    result = plan([future, *nights(2)], policy(daily=1, keep_last=1))
    assert result.leaves[0].why == "dated 5 min 1 s in the future: check the clocks"
    assert days(result.keeps) == ["11-22"]


def test_five_minutes_between_two_clocks_are_no_future() -> None:
    result = plan([backup(NOW + timedelta(minutes=5)), *nights(2)], policy(daily=1))
    assert result.keeps[0].reasons == (
        "newest proven of day 2026-11-22 (daily 1 of 1)",
        "the newest proven backup (keep_at_least)",
    )
    assert len(result.removes) == 2


def test_after_the_clock_was_set_back_nothing_is_removed_that_the_true_clock_would_keep() -> None:
    rules = policy(daily=3, keep_at_least=2)
    set_back = NOW - timedelta(days=10)
    result = plan([*nights(10), backup(set_back)], rules, now=set_back)
    assert len(result.leaves) == 10
    assert not result.removes


# --- the floor ---


def test_the_newest_proven_backups_stay_even_when_no_slot_holds_them() -> None:
    day = [backup(f"2026-11-21T{hour:02}:00") for hour in range(6)]
    result = plan(day, policy(daily=1, keep_at_least=3))
    assert len(result.keeps) == 3
    assert result.keeps[0].reasons == ("one of the 3 newest proven backups (keep_at_least)",)
    assert all(one.reasons[-1] == "3 proven backups remain" for one in result.removes)


def test_with_fewer_proven_backups_than_the_floor_no_backup_is_removed() -> None:
    few = [backup("2020-01-01"), backup("2020-01-01T03:00"), backup("2020-01-02", failed=True), backup("2019-01-01")]
    result = plan(few, policy(daily=1, keep_at_least=4))
    assert not result.removes
    assert "fewer proven backups than keep_at_least 4: 3" in result.keeps[0].reasons


def test_the_floor_counts_proven_backups_only() -> None:
    unproven = [backup(NOW - timedelta(hours=hour), level=ProofLevel.CHECKSUM) for hour in range(1, 6)]
    result = plan([backup("2026-01-01"), backup("2026-01-01T03:00"), *unproven], policy(daily=1, keep_at_least=2))
    assert len(result.keeps) == 2
    assert not result.removes


# --- keep_last, max_age_days ---


def test_keep_last_keeps_the_newest_whatever_their_days() -> None:
    day = [backup(f"2026-11-21T{hour:02}:00") for hour in range(6)]
    result = plan(day, policy(keep_last=4))
    assert len(result.keeps) == 4
    assert result.removes[-1].why == "no rule keeps it: not one of the 4 newest proven backups; 4 proven backups remain"


def test_max_age_days_ends_the_slots_but_the_newest_older_backup_stays_until_another_is_that_old() -> None:
    ages = [1, 25, 35, 45, 55]  # pgBackRest's own example: 30 days, of the older ones the newest is still needed
    five = [backup(NOW - timedelta(days=age)) for age in ages]
    rules = policy(daily=9, max_age_days=30)
    result = plan(five, rules)
    assert ids(result.keeps) == [one.backup_id for one in five[2::-1]]
    assert result.keeps[0].why == "the newest proven backup older than max_age_days 30: kept until another is"
    assert {one.why for one in result.removes} == {
        "no rule keeps it: older than max_age_days 30; 3 proven backups remain"
    }
    ten_days_later = plan(five, rules, now=NOW + timedelta(days=10))
    assert ids(ten_days_later.keeps) == [one.backup_id for one in five[1::-1]]


def test_a_backup_exactly_max_age_days_old_still_holds_its_slot() -> None:
    result = plan([backup(NOW - timedelta(days=30)), *nights(1)], policy(daily=9, max_age_days=30))
    assert "daily 2 of 9" in result.keeps[0].why


def test_when_backups_stopped_long_ago_the_floor_holds_against_max_age_days() -> None:
    result = plan(nights(9, last=NOW - timedelta(days=400)), policy(daily=9, keep_at_least=3, max_age_days=30))
    assert (len(result.keeps), len(result.removes)) == (3, 6)


# --- tonight ---


@pytest.mark.parametrize("tonight", ["failed", "not run"])
def test_unless_tonights_backup_is_proven_nothing_is_removed_and_every_reason_says_so(tonight: Tonight) -> None:
    backups = [
        *nights(5),
        backup("2026-01-01", level=ProofLevel.STORED),
        backup("2026-01-02", failed=True),
        backup("2027-01-01"),
    ]
    rules = policy(daily=2)
    assert len(plan(backups, rules).removes) == 5
    result = plan(backups, rules, tonight=tonight)
    assert not result.removes
    assert result.removed_bytes == 0
    hold = f"nothing is removed: tonight's backup is not proven ({tonight})"
    assert {one.reasons[-1] for one in result.decisions} == {hold}
    assert decision(result, "2026-11-18").action == "keep"
    assert decision(result, "2026-11-18").why == f"no rule keeps it: older than the 2 daily slots; {hold}"
    assert [decision(result, f"2026-01-0{day}").action for day in (1, 2)] == ["leave", "leave"]


# --- what is refused ---


@pytest.mark.parametrize(
    ("fields", "message", "hint"),
    [
        pytest.param(
            {},
            "it is empty and would keep nothing",
            "set at least one of daily, weekly, monthly, yearly, keep_last, for example daily: 14",
            id="an empty policy",
        ),
        pytest.param(
            {"max_age_days": 30},
            "it is empty and would keep nothing",
            "set at least one of daily, weekly, monthly, yearly, keep_last, for example daily: 14",
            id="an age alone keeps nothing",
        ),
        pytest.param({"daily": -1}, "daily is -1", "set daily to 0 or more", id="a negative count"),
        pytest.param(
            {"daily": 1, "min_age_days": -1}, "min_age_days is -1", "set min_age_days to 0 or more", id="a negative age"
        ),
        pytest.param(
            {"daily": 1, "keep_at_least": 0}, "keep_at_least is 0", "set keep_at_least to 1 or more", id="no floor"
        ),
        pytest.param(
            {"daily": 1, "min_age_days": 7, "max_age_days": 6},
            "max_age_days is 6",
            "set max_age_days to 7 or more, or leave it out",
            id="a maximum below the minimum",
        ),
        pytest.param(
            {"daily": 1, "max_age_days": 0},
            "max_age_days is 0",
            "set max_age_days to 1 or more, or leave it out",
            id="a maximum of no days",
        ),
        pytest.param(
            {"daily": 1, "counts_from": ProofLevel.STORED},
            "counts_from is stored, which proves nothing",
            "set counts_from to checksum, structure, restored or drilled",
            id="counting what nobody has read back",
        ),
        *(
            pytest.param(
                {"daily": 1, "timezone": zone},
                f"no time zone is called {zone!r}",
                "set timezone to an IANA name such as Asia/Shanghai",
                id=f"time zone {zone!r}",
            )
            for zone in ("Mars/Olympus", "Asia", "", "../etc/passwd")
        ),
    ],
)
def test_a_policy_nobody_could_mean_is_refused_with_what_to_set(
    fields: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(PolicyRefused) as refused:
        policy(**fields)
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_every_problem_of_a_policy_is_told_at_once() -> None:
    with pytest.raises(PolicyRefused) as refused:
        policy(keep_at_least=0, timezone="Mars/Olympus")
    assert refused.value.message == (
        "retention policy refused: it is empty and would keep nothing; keep_at_least is 0; "
        "no time zone is called 'Mars/Olympus'"
    )
    assert refused.value.hint.count("; ") == 2


@pytest.mark.parametrize("other", [{"target": "app-test"}, {"site": "chronoretrace"}])
def test_backups_of_two_targets_in_one_plan_are_refused(other: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"one target at a time, not for .*kindergarten/app"):
        plan([backup("2026-11-21"), backup("2026-11-22", **other)], policy(daily=1))


def test_one_backup_listed_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="listed twice in kindergarten/app: 20261122T020000Z-0000"):
        plan([backup("2026-11-22"), backup("2026-11-22")], policy(daily=1))


def test_times_without_a_zone_are_refused() -> None:
    naive = datetime(2026, 11, 22)  # noqa: DTZ001 the missing zone is what is tested
    with pytest.raises(ValueError, match=r"now .* has no time zone"):
        plan([], policy(daily=1), now=naive)
    with pytest.raises(ValueError, match=r"taken_at of x .* has no time zone"):
        replace(backup("2026-11-22"), backup_id="x", taken_at=naive)
    with pytest.raises(ValueError, match=r"failed_at of x .* has no time zone"):
        replace(backup("2026-11-22"), backup_id="x", failed_at=naive)


# --- the dry run ---


def test_a_dry_run_prints_aligned_text_in_the_sites_time() -> None:
    result = plan(
        [
            backup("2026-11-22", level=ProofLevel.RESTORED, size=111_400_000),
            backup("2026-11-19", size=9_900),
            backup("2026-11-20", failed=True, size=41_200_000),
            backup("2026-11-23"),
        ],
        policy(daily=1, min_age_days=3, timezone="Asia/Shanghai"),
    )
    assert (
        "\n".join([*result.lines(), ""])
        == """\
kindergarten/app: keep 1, remove 1 (9.9 kB), leave 2; times in Asia/Shanghai
remove  2026-11-19 10:00  20261119T020000Z-0000  structure    9.9 kB  no rule keeps it: older than the 1 daily slot
                                                                      1 proven backup remains
leave   2026-11-20 10:00  20261120T020000Z-0000  damaged     41.2 MB  damaged: a proof failed (had reached structure)
                                                                      left as evidence until min_age_days 3 pass
keep    2026-11-22 10:00  20261122T020000Z-0000  restored   111.4 MB  newest proven of day 2026-11-22 (daily 1 of 1)
                                                                      the newest proven backup (keep_at_least)
                                                                      younger than min_age_days 3
leave   2026-11-23 10:00  20261123T020000Z-0000  structure   40.0 MB  dated 23 h 50 min in the future: check the clocks
"""
    )
    assert result.removed_bytes == 9_900


def test_without_backups_there_is_nothing_to_decide() -> None:
    result = plan([], policy(daily=1))
    assert (result.decisions, result.removed_bytes) == ((), 0)
    assert result.lines() == ["no backups, nothing to decide"]


# --- properties ---


@st.composite
def some_backups(draw: st.DrawFn) -> list[Candidate]:
    """Up to 40 backups of one target around NOW: crowded days, gaps of years, equal seconds, every state."""
    offsets = st.one_of(
        st.integers(-3, 24 * 12).map(lambda hours: timedelta(hours=hours)),
        st.integers(-2, 900).map(lambda day: timedelta(days=day)),
        st.sampled_from([timedelta(days=7), timedelta(days=30), timedelta(minutes=-5), timedelta(minutes=-6)]),
    )
    ages = draw(st.lists(offsets, max_size=40))
    return [
        backup(
            NOW - age,
            backup_id=f"{NOW - age:%Y%m%dT%H%M%SZ}-{number:04x}",
            level=draw(st.sampled_from([*LEVELS, ProofLevel.STRUCTURE, ProofLevel.STRUCTURE])),
            failed=draw(st.sampled_from([False, False, False, True])),
            size=number,
            pinned=draw(st.sampled_from([None] * 5 + ["li.si: audit 2026"])),
        )
        for number, age in enumerate(ages)
    ]


@st.composite
def some_policies(draw: st.DrawFn) -> RetentionPolicy:
    counts = {
        name: draw(st.integers(0, 4), label=name) for name in ("daily", "weekly", "monthly", "yearly", "keep_last")
    }
    if not any(counts.values()):
        counts[draw(st.sampled_from(sorted(counts)))] = 1
    return policy(
        **counts,
        keep_at_least=draw(st.integers(1, 5), label="keep_at_least"),
        min_age_days=draw(st.integers(0, 10), label="min_age_days"),
        max_age_days=draw(st.none() | st.integers(10, 400), label="max_age_days"),
        timezone=draw(st.sampled_from(["UTC", "Asia/Shanghai", "Europe/Berlin", "America/Havana"])),
        counts_from=draw(st.sampled_from(LEVELS[1:])),
    )


def good(backups: Iterable[Candidate], rules: RetentionPolicy) -> list[Candidate]:
    """The backups that count, by the words of the policy and not by the plan's own code."""
    return [
        one
        for one in backups
        if one.level >= rules.counts_from and not one.failed and one.taken_at <= NOW + timedelta(minutes=5)
    ]


def without(backups: Iterable[Candidate], removed: Iterable[Decision]) -> list[Candidate]:
    gone = set(ids(removed))
    return [one for one in backups if one.backup_id not in gone]


@given(some_backups(), some_policies(), st.sampled_from(["proven", "failed", "not run"]))
def test_every_backup_gets_one_decision_with_a_reason(
    backups: list[Candidate], rules: RetentionPolicy, tonight: Tonight
) -> None:
    result = plan(backups, rules, tonight=tonight)
    assert sorted(ids(result.decisions)) == sorted(one.backup_id for one in backups)
    assert len(result.keeps) + len(result.removes) + len(result.leaves) == len(backups)
    assert all(one.reasons and all(one.reasons) for one in result.decisions)
    assert result.removed_bytes == sum(one.backup.size for one in result.removes)
    assert [one.backup.taken_at for one in result.decisions] == sorted(one.taken_at for one in backups)


@given(some_backups(), some_policies())
def test_the_floor_of_proven_backups_is_never_undercut(backups: list[Candidate], rules: RetentionPolicy) -> None:
    before = good(backups, rules)
    after = good(without(backups, plan(backups, rules).removes), rules)
    assert len(after) >= min(len(before), rules.keep_at_least)
    if before:
        newest = max(before, key=lambda one: (one.taken_at, one.backup_id))
        assert newest in after


@given(some_backups(), some_policies())
def test_pinned_future_and_young_backups_are_never_removed(backups: list[Candidate], rules: RetentionPolicy) -> None:
    for one in plan(backups, rules).removes:
        assert one.backup.pinned is None
        assert one.backup.taken_at <= NOW + timedelta(minutes=5)
        assert rules.min_age_days == 0 or NOW - one.backup.taken_at >= timedelta(days=rules.min_age_days)


@given(some_backups(), some_policies())
def test_keep_means_good_or_pinned_and_leave_never_means_good(backups: list[Candidate], rules: RetentionPolicy) -> None:
    counted = good(backups, rules)
    result = plan(backups, rules)
    assert all(one.backup in counted or one.backup.pinned for one in result.keeps)
    assert not any(one.backup in counted for one in result.leaves)


@given(some_backups(), some_policies(), st.sampled_from(["failed", "not run"]))
def test_nothing_is_removed_on_a_night_without_a_proven_backup(
    backups: list[Candidate], rules: RetentionPolicy, tonight: Tonight
) -> None:
    assert not plan(backups, rules, tonight=tonight).removes


@given(some_backups(), some_policies(), st.randoms(use_true_random=False))
def test_the_order_of_the_listing_does_not_matter(
    backups: list[Candidate], rules: RetentionPolicy, order: random.Random
) -> None:
    shuffled = list(backups)
    order.shuffle(shuffled)
    assert plan(shuffled, rules) == plan(backups, rules)


@given(some_backups(), some_policies())
def test_planning_again_after_the_removals_removes_nothing_and_keeps_for_the_same_reasons(
    backups: list[Candidate], rules: RetentionPolicy
) -> None:
    first = plan(backups, rules)
    again = plan(without(backups, first.removes), rules)
    assert not again.removes
    assert again.keeps == first.keeps
    assert again.leaves == first.leaves


@settings(deadline=None)
@given(some_backups(), some_policies())
@example(nights(30), policy(daily=2, weekly=2, monthly=1, keep_at_least=3, max_age_days=10))
def test_a_crash_after_any_number_of_removals_leaves_the_rest_of_the_same_plan(
    backups: list[Candidate], rules: RetentionPolicy
) -> None:
    first = plan(backups, rules)
    for done in range(len(first.removes) + 1):
        alive = without(backups, first.removes[:done])
        again = plan(alive, rules)
        assert again.removes == first.removes[done:]
        assert again.keeps == first.keeps


@given(some_backups(), some_policies(), st.data())
def test_removals_that_failed_or_overtook_each_other_are_planned_again_for_the_same_reasons(
    backups: list[Candidate], rules: RetentionPolicy, data: st.DataObject
) -> None:
    first = plan(backups, rules)
    done = {one.backup_id for one in first.removes if data.draw(st.booleans())}
    again = plan([one for one in backups if one.backup_id not in done], rules)
    assert again.removes == tuple(one for one in first.removes if one.backup_id not in done)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["proven", "proven", "proven", "proven twice", "failed", "not run"]), max_size=70),
    st.sampled_from(["UTC", "Asia/Shanghai", "Europe/Berlin"]),
)
def test_over_weeks_of_good_and_bad_nights_no_slot_is_lost(outcomes: list[str], zone: str) -> None:
    """The newest proven backup of each of the last 3 days and 4 weeks that ever held one is still there at the end."""
    rules = policy(daily=3, weekly=4, keep_at_least=2, min_age_days=2, timezone=zone)
    alive: list[Candidate] = []
    ever: list[Candidate] = []
    for night, outcome in enumerate(outcomes):
        now = NOW + timedelta(days=night)
        if outcome != "not run":
            alive.append(backup(now, failed=outcome == "failed"))
        if outcome == "proven twice":
            alive.append(backup(now + timedelta(hours=3)))
            now += timedelta(hours=3)
        ever += [one for one in alive[-2:] if not one.failed and one not in ever]
        tonight: Tonight = "proven" if outcome.startswith("proven") else "failed" if outcome == "failed" else "not run"
        alive = without(alive, plan(alive, rules, now=now, tonight=tonight).removes)

    by_day = {one.taken_at.astimezone(ZoneInfo(zone)).date(): one for one in ever}
    by_week = {one.taken_at.astimezone(ZoneInfo(zone)).isocalendar()[:2]: one for one in ever}
    for held in (*list(by_day.values())[-3:], *list(by_week.values())[-4:]):
        assert held in alive
