"""Findings are compared with the last review's: what came, what stayed, what went."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upkeep.domain.findings import SEVERITIES, Finding, Severity, compare

NIGHT = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
NEXT = NIGHT + timedelta(days=1)


def finding(
    where: str, severity: Severity = "medium", *, kind: str = "world-writable", source: str = "files"
) -> Finding:
    return Finding(kind, where, severity, f"{where} can be changed by anyone", f"chmod o-w {where}", source)


def test_what_was_not_there_last_time_is_new_and_dated() -> None:
    found = compare([], [finding("/etc/app")], at=NIGHT.astimezone(ZoneInfo("Asia/Shanghai")))
    assert [one.first_seen for one in found.new] == ["2026-11-21T18:00:00+00:00"]
    assert (found.standing, found.gone, found.unseen) == ((), (), ())


def test_what_stays_keeps_the_day_it_was_first_seen() -> None:
    first = compare([], [finding("/etc/app")], at=NIGHT)
    second = compare(first.open, [finding("/etc/app")], at=NEXT)
    assert second.new == ()
    assert [one.first_seen for one in second.standing] == ["2026-11-21T18:00:00+00:00"]


def test_what_stays_is_told_as_it_is_now() -> None:
    before = replace(finding("tls"), what="ends in 20 days", first_seen="2026-11-01T00:00:00+00:00")
    now = replace(finding("tls"), what="ends in 19 days")
    assert [one.what for one in compare([before], [now], at=NIGHT).standing] == ["ends in 19 days"]


def test_what_got_worse_is_new_again_with_its_old_date_and_what_got_better_is_not() -> None:
    before = replace(finding("tls", "medium"), first_seen="2026-11-01T00:00:00+00:00")
    worse = compare([before], [finding("tls", "high")], at=NIGHT)
    better = compare([before], [finding("tls", "low")], at=NIGHT)
    assert [one.first_seen for one in worse.new] == ["2026-11-01T00:00:00+00:00"]
    assert [one.severity for one in better.standing] == ["low"]
    assert better.new == ()


def test_what_is_not_found_any_more_is_gone() -> None:
    found = compare([finding("/etc/app")], [], at=NIGHT)
    assert [one.where for one in found.gone] == ["/etc/app"]
    assert found.open == ()


def test_what_could_not_be_looked_at_is_not_taken_for_gone() -> None:
    before = [finding("/etc/app"), finding("root@%", source="database/app")]
    found = compare(before, [], at=NIGHT, unread=["database/app"])
    assert [one.where for one in found.gone] == ["/etc/app"]
    assert [one.where for one in found.unseen] == ["root@%"]
    assert found.open == found.unseen


def test_what_comes_back_into_sight_was_never_away() -> None:
    first = compare([], [finding("root@%", source="database/app")], at=NIGHT)
    away = compare(first.open, [], at=NEXT, unread=["database/app"])
    back = compare(away.open, [finding("root@%", source="database/app")], at=NEXT + timedelta(days=1))
    assert back.new == ()
    assert back.standing[0].first_seen == first.new[0].first_seen


def test_the_most_severe_come_first() -> None:
    found = compare(
        [], [finding("c", "low"), finding("b", "high"), finding("a", "medium"), finding("a2", "high")], at=NIGHT
    )
    assert [one.where for one in found.new] == ["a2", "b", "a", "c"]


def test_what_is_found_twice_counts_once_and_as_severe_as_it_can_be() -> None:
    found = compare([], [finding("a", "low"), finding("a", "high"), finding("a", "medium")], at=NIGHT)
    assert [one.severity for one in found.new] == ["high"]


def test_two_rules_broken_by_one_thing_are_two_findings() -> None:
    found = compare([], [finding("a"), finding("a", kind="readable-key")], at=NIGHT)
    assert {one.id for one in found.new} == {"world-writable:a", "readable-key:a"}


@pytest.mark.parametrize(
    ("severities", "light"),
    [(("low", "high"), "red"), (("low", "medium"), "amber"), (("low",), "green"), ((), "green")],
)
def test_the_light_is_that_of_the_worst_open_finding(severities: tuple[Severity, ...], light: str) -> None:
    found = compare([], [finding(str(place), severity) for place, severity in enumerate(severities)], at=NIGHT)
    assert found.light == light


def test_a_finding_survives_being_written_down() -> None:
    (one,) = compare([], [finding("/etc/应用")], at=NIGHT).new
    assert Finding.from_dict(one.as_dict()) == one


def test_what_was_never_a_finding_is_refused() -> None:
    with pytest.raises((KeyError, TypeError)):
        Finding.from_dict({"id": "x"})


findings = st.lists(
    st.builds(finding, st.sampled_from("abcdef"), st.sampled_from(SEVERITIES), source=st.sampled_from("xy"))
)


@given(findings, findings, st.sets(st.sampled_from("xy")))
def test_every_finding_of_either_review_is_in_exactly_one_list(
    previous: list[Finding], current: list[Finding], unread: set[str]
) -> None:
    found = compare(previous, current, at=NIGHT, unread=unread)
    ids = [one.id for part in found for one in part]
    assert sorted(ids) == sorted({one.id for one in (*previous, *current)})
    assert {one.id for one in (*found.new, *found.standing)} == {one.id for one in current}
