"""Which backups are restored to prove them, what they are called, and what counts as a difference."""

from __future__ import annotations

from typing import Any

import pytest

from tests.domain.test_drill import NOW, backup
from upkeep.domain.copy_comparison import compare_catalogues, compare_tables, not_compared
from upkeep.domain.proof import ProofLevel
from upkeep.domain.proving import choose_backups, in_sample, is_foreign, is_scratch_of, scratch_name
from upkeep.domain.retention import Candidate


def chosen(*backups: Candidate, prove: str = "all", **settings: Any) -> list[int]:
    """How many days ago the chosen ones were taken."""
    taken = {one.backup_id: round((NOW - one.taken_at).days) for one in backups}
    return [taken[choice.backup_id] for choice in choose_backups(backups, NOW, prove, **settings) if choice.chosen]


def reason(one: Candidate, *others: Candidate, prove: str = "all", **settings: Any) -> str:
    choices = choose_backups([one, *others], NOW, prove, **settings)
    return next(choice.reason for choice in choices if choice.backup_id == one.backup_id)


def test_all_backups_of_the_week_that_nobody_has_restored_are_newest_first() -> None:
    week = [backup(days) for days in range(12)]
    assert chosen(*week) == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert chosen(backup(0, level=ProofLevel.RESTORED), backup(1), backup(2, level=ProofLevel.DRILLED)) == [1]


@pytest.mark.parametrize(
    ("fields", "settings", "why"),
    [
        ({"failed": True}, {}, "damaged: a proof failed"),
        ({"level": ProofLevel.CHECKSUM}, {}, "reached checksum only: it is verified first"),
        ({"level": ProofLevel.CHECKSUM}, {"has_key": False}, "nobody here can open it"),
        ({"level": ProofLevel.RESTORED}, {}, "restored already"),
    ],
)
def test_each_backup_passed_over_has_a_reason(fields: dict[str, Any], settings: dict[str, Any], why: str) -> None:
    assert why in reason(backup(1, **fields), **settings)


def test_a_backup_from_the_future_and_one_older_than_a_week_are_passed_over() -> None:
    assert reason(backup(-1)) == "dated in the future: check the clocks"
    assert reason(backup(9), backup(0)) == "older than 8 days"


def test_newest_is_the_newest_that_can_be_restored_and_nothing_older_takes_its_place() -> None:
    assert chosen(backup(0, failed=True), backup(1), backup(2), prove="newest") == [1]
    assert chosen(backup(0, level=ProofLevel.RESTORED), backup(1), prove="newest") == []


def test_a_sample_is_the_same_whoever_asks_and_always_holds_the_newest() -> None:
    week = [backup(days) for days in range(8)]
    first = chosen(*week, prove="1/3")
    assert first[0] == 0
    assert first == chosen(*reversed(week), prove="1/3")
    assert set(first) - {0} == {days for days in range(1, 8) if in_sample(week[days].backup_id, 3)}
    assert chosen(*week, prove="1/1") == chosen(*week)


def test_a_sample_of_one_in_n_takes_about_so_many() -> None:
    ids = [f"20261122T{number:06}Z-0a1b" for number in range(3000)]
    assert 250 < sum(in_sample(one, 10) for one in ids) < 350


def test_a_copy_has_a_name_that_only_its_own_target_takes_for_its_own() -> None:
    name = scratch_name("shop", "app", "20261122T030000Z-0a1b")
    assert name == "upkeep_shop_app_20261122t030000z-0a1b"
    assert is_scratch_of(name, "shop", "app")
    assert not is_scratch_of(name, "shop", "ap")
    assert not is_scratch_of(scratch_name("shop", "app-test", "20261122T030000Z-0a1b"), "shop", "app")
    assert not is_scratch_of("upkeep_shop_app_by_hand", "shop", "app")
    assert scratch_name("a_b", "c", "20261122T030000Z-0a1b") != scratch_name("a", "b_c", "20261122T030000Z-0a1b")
    assert is_foreign("precious")
    assert not is_foreign(name)


def test_long_names_fit_into_what_servers_take_and_stay_apart() -> None:
    names = {scratch_name("s" * 63, "t" * length, "20261122T030000Z-0a1b") for length in (61, 62, 63)}
    assert len(names) == 3
    assert all(len(name) <= 63 for name in names)
    assert is_scratch_of(scratch_name("s" * 63, "t" * 63, "20261122T030000Z-0a1b"), "s" * 63, "t" * 63)


def test_rows_and_contents_are_compared_where_the_manifest_knows_them() -> None:
    recorded: dict[str, dict[str, Any]] = {
        "lost": {"rows": 1},
        "short": {"rows": 3, "checksum": "a"},
        "other": {"rows": 3, "checksum": "a"},
        "same": {"rows": 3, "checksum": "a", "checksum_without": ["f"]},
        "beside": {"rows": 9, "rows_are": "counted beside the dump"},
        "large": {"rows": 5},
    }
    found: dict[str, dict[str, Any]] = {
        "short": {"rows": 2, "checksum": "b"},
        "other": {"rows": 3, "checksum": "b"},
        "same": {"rows": 3, "checksum": "a"},
        "beside": {"rows": 8},
        "large": {"rows": 5},
        "new": {"rows": 0},
    }
    assert compare_tables(recorded, found, exact=True) == [
        "table lost is missing",
        "table new is not in the manifest",
        "table other has its 3 rows, but not their content: the checksum differs",
        "table short has 2 rows, its manifest says 3",
    ]
    assert compare_tables(recorded, found, exact=False) == ["table lost is missing", "table new is not in the manifest"]
    assert not_compared(recorded, "exact") == [
        "rows of beside are not compared: counted outside of the snapshot",
        "content of large, lost is not compared: no checksum in the manifest",
        "FLOAT columns of same are not compared: f",
    ]


def test_objects_are_compared_by_definition_only_on_the_same_release() -> None:
    recorded = {
        "release": "mysql 8.4",
        "views": {"v": "1", "gone": "1"},
        "indexes": {"t.i": "1"},
        "routines": {"r": ""},
        "constraints": {"t.c": "1"},
    }
    found = {
        "release": "mysql 8.4",
        "views": {"v": "2"},
        "indexes": {"t.i": "2"},
        "routines": {"r": "5"},
        "constraints": {"t.c": "1"},
    }
    differences, notes = compare_catalogues(recorded, found)
    assert differences == ["index t.i differs", "view gone is missing", "view v differs"], "what nobody may read is not"
    assert notes == ["compared by name only, since an account may not read what defines them: routine r"]
    differences, notes = compare_catalogues(recorded, {**found, "indexes": {}, "release": "mysql 9.7"})
    assert differences == ["index t.i is missing", "view gone is missing"]
    assert notes == [
        "objects are compared by name only, constraints not at all: recorded on mysql 8.4, restored on mysql 9.7"
    ]
