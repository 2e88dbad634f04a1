"""A backup's name says when it was taken, and where it lies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upkeep.domain.backup import BackupRef, is_backup_id, new_backup_id, taken_at

AT_TWO = datetime(2026, 11, 21, 2, 0, 3, 39_477, tzinfo=UTC)
ID = "20261121T020003Z-0a1b"


def test_an_id_is_the_second_in_utc_and_which_part_of_it() -> None:
    assert new_backup_id(AT_TWO) == ID
    assert new_backup_id(AT_TWO.replace(microsecond=0)) == "20261121T020003Z-0000"
    assert new_backup_id(AT_TWO.replace(microsecond=999_999)) == "20261121T020003Z-ffff"


def test_an_id_is_in_utc_wherever_the_worker_is() -> None:
    assert new_backup_id(AT_TWO.astimezone(ZoneInfo("Asia/Shanghai"))) == ID


def test_the_two_passes_of_the_hour_that_dst_repeats_get_different_ids() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first, second = (new_backup_id(datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=berlin)) for fold in (0, 1))
    assert (first, second) == ("20261025T003000Z-0000", "20261025T013000Z-0000")


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        new_backup_id(datetime(2026, 11, 21))  # noqa: DTZ001 the missing zone is what is tested


@given(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 hypothesis wants naive bounds
def test_an_id_gives_back_its_second(now: datetime) -> None:
    backup_id = new_backup_id(now)
    assert is_backup_id(backup_id)
    assert taken_at(backup_id) == now.replace(microsecond=0)


@given(st.lists(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)), min_size=2))  # noqa: DTZ001 hypothesis wants naive bounds
def test_ids_sort_as_their_times_do(moments: list[datetime]) -> None:
    ids = [new_backup_id(moment) for moment in moments]
    assert sorted(ids) == [new_backup_id(moment) for moment in sorted(moments)]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("20261121T020003Z", id="no part of a second"),
        pytest.param("20261121T020003Z-0A1B", id="upper case hex"),
        pytest.param("20261121T020003Z-0a1", id="three hex digits"),
        pytest.param("20261121T020003Z-0a1bc", id="five hex digits"),
        pytest.param("20261121T020003-0a1b", id="no Z"),
        pytest.param("20261121T020003Z-0a1b\n", id="a line break behind it"),
        pytest.param(" 20261121T020003Z-0a1b", id="a space before it"),
        pytest.param("20261121T020003Z-0a1b/", id="a slash behind it"),
        pytest.param("２０261121T020003Z-0a1b", id="digits that aren't ASCII"),
        pytest.param("20260229T020003Z-0a1b", id="29 February in a common year"),
        pytest.param("20261121T240003Z-0a1b", id="hour 24"),
        pytest.param("20261121T020060Z-0a1b", id="a leap second"),
        pytest.param("00001121T020003Z-0a1b", id="year 0"),
    ],
)
def test_what_is_not_an_id_is_refused_by_name(text: str) -> None:
    assert not is_backup_id(text)
    with pytest.raises(ValueError) as refused:
        taken_at(text)
    assert repr(text) in str(refused.value)


def test_29_february_of_a_leap_year_is_a_day() -> None:
    assert taken_at("20280229T020003Z-0a1b") == datetime(2028, 2, 29, 2, 0, 3, tzinfo=UTC)


def test_a_prefix_is_a_folder_so_app_never_takes_app_test_along() -> None:
    app, other = BackupRef("kindergarten", "app", ID), BackupRef("kindergarten", "app-test", ID)
    assert app.prefix == f"kindergarten/app/{ID}/"
    assert not other.prefix.startswith(app.prefix)
    assert not other.prefix.startswith("kindergarten/app/")


def test_references_sort_by_target_then_time() -> None:
    later = new_backup_id(AT_TWO + timedelta(days=1))
    newest_first = [BackupRef("b", "app", ID), BackupRef("a", "app", later), BackupRef("a", "app", ID)]
    assert sorted(newest_first) == newest_first[::-1]


@pytest.mark.parametrize("name", ["", ".", "..", ".spool", "a/b", "/etc", "a\\b", "a b", "a\n", "a\x00b"])
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"site .* can't be one folder's name"):
        BackupRef(name, "app", ID)
    with pytest.raises(ValueError, match=r"target .* can't be one folder's name"):
        BackupRef("kindergarten", name, ID)


@pytest.mark.parametrize("name", ["app", "app-test", "app_2", "app.v2", "考勤"])
def test_names_in_any_script_are_fine(name: str) -> None:
    assert BackupRef(name, name, ID).prefix == f"{name}/{name}/{ID}/"


def test_a_reference_survives_the_way_through_a_dict() -> None:
    ref = BackupRef("kindergarten", "app", ID)
    assert ref.to_dict() == {"site": "kindergarten", "target": "app", "backup_id": ID}
    assert BackupRef.from_dict(ref.to_dict()) == ref


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="empty"),
        pytest.param({"site": "kindergarten", "target": "app"}, id="a field is missing"),
        pytest.param({"site": "kindergarten", "target": "app", "backup_id": ID, "size": 1}, id="a field too many"),
        pytest.param({"site": "kindergarten", "target": None, "backup_id": ID}, id="a field of another type"),
        pytest.param({"site": "kindergarten", "target": "app", "backup_id": "latest"}, id="not an id"),
    ],
)
def test_a_broken_dict_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"not a (reference to a backup|backup id)"):
        BackupRef.from_dict(fields)
