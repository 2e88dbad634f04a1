"""Which backups a drill takes, up to when a copy holds what was written, and what the figures mean."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from upkeep.domain.drill import Goals, Rebuilt, judge_drill, pick_backup
from upkeep.domain.proof import ProofLevel
from upkeep.domain.recovery import Recovered, Stamps, recovered_until
from upkeep.domain.retention import Candidate

NOW = datetime(2026, 12, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TAKEN = NOW - 23 * HOUR


def backup(days_ago: float, **fields: Any) -> Candidate:
    taken_at = NOW - timedelta(days=days_ago)
    known = {"level": ProofLevel.STRUCTURE, "failed": False, "size": 1, **fields}
    return Candidate("shop", "app", f"{taken_at:%Y%m%dT%H%M%SZ}-0a1b", taken_at, **known)


def picked(*backups: Candidate, how: str = "newest", **settings: Any) -> Any:
    return pick_backup("app", backups, NOW, how, seed="run-1", **settings)


def test_the_newest_proven_backup_is_taken() -> None:
    backups = [backup(3), backup(2), backup(1, level=ProofLevel.STORED), backup(0, failed=True), backup(-1)]
    assert picked(*backups).backup_id == backups[1].backup_id


def test_a_random_one_is_among_the_proven_and_the_same_for_every_try_of_a_run() -> None:
    backups = [backup(days, failed=days % 2 == 0) for days in range(20)]
    chosen = {pick_backup("app", backups, NOW, "random", seed=f"run-{n}").backup_id for n in range(100)}
    assert chosen == {one.backup_id for one in backups if not one.failed}
    assert picked(*backups, how="random") == picked(*backups, how="random")


@pytest.mark.parametrize(
    ("backups", "settings", "why"),
    [
        ([], {}, "it has no backup"),
        ([backup(1, failed=True)], {}, "none of its 1 backups is proven"),
        ([backup(1, level=ProofLevel.CHECKSUM)], {"has_key": False}, "encrypted, and the site names no identity"),
        ([backup(1)], {"how": "20200101T000000Z-0a1b"}, "the store holds no backup"),
        ([backup(1, level=ProofLevel.STORED)], {"how": backup(1).backup_id}, "is only stored"),
    ],
)
def test_where_none_can_be_taken_the_reason_is_given(backups: list[Candidate], settings: Any, why: str) -> None:
    found = picked(*backups, **settings)
    assert found.backup_id == ""
    assert why in found.reason


def until(copy: dict[str, datetime], live: dict[str, datetime] | None = None) -> tuple[datetime, str]:
    found = recovered_until(Stamps(copy, live), TAKEN, TAKEN + timedelta(minutes=2))
    return found.at, found.by


def test_the_newest_row_counts_where_the_source_can_not_be_asked() -> None:
    assert until({"t.made": TAKEN - HOUR, "u.made": TAKEN - 2 * HOUR}) == (TAKEN - HOUR, "its newest row (t.made)")


def test_a_column_with_moments_after_the_backup_holds_plans_and_shows_nothing() -> None:
    assert until({"t.made": TAKEN - 2 * HOUR, "t.ends": TAKEN + 9 * HOUR})[0] == TAKEN - 2 * HOUR
    at, by = until({"t.ends": TAKEN + 9 * HOUR})
    assert at == TAKEN
    assert "no column" in by


def test_silence_before_the_backup_is_no_loss_if_the_source_confirms_it() -> None:
    at, by = until({"t.made": TAKEN - 5 * HOUR}, {"t.made": TAKEN - 5 * HOUR})
    assert at == TAKEN
    assert "wrote nothing" in by
    at, by = until({"t.made": TAKEN - 5 * HOUR}, {"t.made": TAKEN - HOUR})
    assert at == TAKEN - 5 * HOUR, "the source has rows that the copy lacks"
    assert "later ones" in by


def test_rows_written_while_the_backup_began_are_recovered() -> None:
    assert until({"t.made": TAKEN + timedelta(seconds=5)})[0] == TAKEN + timedelta(seconds=5)


def rebuilt(target: str, lost_h: float, **seconds: float) -> Rebuilt:
    recovered = Recovered(NOW - lost_h * HOUR, "its newest row")
    return Rebuilt(target, "id", {"fetch": 1, "decrypt": 1, "load": 1, "verify": 1, **seconds}, recovered)


def test_both_goals_are_judged_and_the_slowest_step_is_named() -> None:
    parts = [rebuilt("app", 23, load=4000.0), rebuilt("sessions", 25, fetch=300.0)]
    verdict = judge_drill(parts, begun=NOW, total_s=7500, goals=Goals(7200, 24 * 3600))
    assert verdict.slowest == ("app", "load", 4000.0)
    assert (verdict.rpo_target, verdict.rpo_s) == ("sessions", 25 * 3600)
    slow, lost = verdict.breaches
    assert slow == (
        "the site stood again after 2 h 5 min, its goal is 2 h: the slowest step was to load app, 1 h 6 min"
    )
    assert lost.startswith("sessions lost 1 d 1 h, the goal is 1 d")
    assert judge_drill(parts, begun=NOW, total_s=7200, goals=Goals(7200, 25 * 3600)).breaches == ()
    assert judge_drill(parts, begun=NOW, total_s=9e9, goals=Goals()).breaches == ()
    assert judge_drill([], begun=NOW, total_s=1, goals=Goals(10, 10)).breaches == ()


def test_only_the_newest_backups_tell_what_a_disaster_would_cost() -> None:
    backups = [backup(days) for days in (1, 2, 3)]
    assert picked(*backups).newest and picked(*backups, how=backups[0].backup_id).newest
    assert not picked(*backups, how=backups[2].backup_id).newest
    drawn = [pick_backup("app", backups, NOW, "random", seed=f"run-{n}") for n in range(20)]
    assert {one.newest for one in drawn} == {True, False}
    assert all(one.newest == (one.backup_id == backups[0].backup_id) for one in drawn)
    parts = [rebuilt("app", 23), replace(rebuilt("sessions", 70), newest=False)]
    verdict = judge_drill(parts, begun=NOW, total_s=1, goals=Goals(7200, 24 * 3600))
    assert (verdict.rpo_target, verdict.rpo_s, verdict.breaches) == ("app", 23 * 3600, ())
    assert judge_drill(parts[1:], begun=NOW, total_s=1, goals=Goals(rpo_s=1)).rpo_s is None
