"""Samples live beside the ledger, on SQLite and on PostgreSQL, and old ones go."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.ledger.setting import Setting, an_act, must_succeed
from upkeep.domain.capacity import Point, Reading
from upkeep.errors import LedgerUnavailable
from upkeep.ledger import samples as samples_module
from upkeep.ledger import verify
from upkeep.ledger.database import Database
from upkeep.ledger.samples import Samples

NIGHT = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
DISK = Reading("disk_pct", "worker-1:/", 61.25, "%")
CPU = Reading("cpu_pct", "worker-1", 12.5, "%")


def samples_in(setting: Setting) -> Samples:
    return Samples(Database(setting.url))


def count(setting: Setting) -> int:
    return int(setting.execute("SELECT count(*) FROM upkeep_samples")[0][0])


def test_a_sampling_is_one_row_for_each_figure(setting: Setting) -> None:
    assert samples_in(setting).append("kindergarten", NIGHT, [DISK, CPU]) == 2
    rows = setting.execute("SELECT site, metric, target, at, value, unit FROM upkeep_samples ORDER BY metric")
    assert [tuple(row) for row in rows] == [
        ("kindergarten", "cpu_pct", "worker-1", "2026-11-21T18:00:00.000000+00:00", 12.5, "%"),
        ("kindergarten", "disk_pct", "worker-1:/", "2026-11-21T18:00:00.000000+00:00", 61.25, "%"),
    ]


def test_a_series_comes_back_in_the_order_of_time_whatever_zone_it_was_written_in(setting: Setting) -> None:
    samples = samples_in(setting)
    later = (NIGHT + timedelta(hours=1)).astimezone(ZoneInfo("Asia/Shanghai"))
    samples.append("kindergarten", later, [Reading("disk_pct", "worker-1:/", 62, "%")])
    samples.append("kindergarten", NIGHT, [DISK])
    assert samples.series("kindergarten", since=NIGHT) == {
        DISK.key: [Point(NIGHT, 61.25), Point(NIGHT + timedelta(hours=1), 62.0)]
    }


def test_a_series_holds_one_site_one_metric_one_target_and_nothing_older(setting: Setting) -> None:
    samples = samples_in(setting)
    samples.append("chronoretrace", NIGHT, [DISK])
    samples.append("kindergarten", NIGHT - timedelta(seconds=1), [DISK])
    samples.append("kindergarten", NIGHT, [DISK, CPU, Reading("disk_pct", "worker-1:/var", 9, "%")])
    found = samples.series("kindergarten", since=NIGHT, metric="disk_pct", target="worker-1:/")
    assert found == {DISK.key: [Point(NIGHT, 61.25)]}
    assert samples.series("kindergarten", since=NIGHT, metric="disk_pct").keys() == {
        DISK.key,
        ("disk_pct", "worker-1:/var"),
    }


def test_a_sampling_said_twice_is_kept_once(setting: Setting) -> None:
    samples = samples_in(setting)
    assert samples.append("kindergarten", NIGHT, [DISK, CPU]) == 2
    assert samples.append("kindergarten", NIGHT, [DISK, CPU]) == 0
    assert count(setting) == 2


def test_nothing_read_is_nothing_kept(setting: Setting) -> None:
    assert samples_in(setting).append("kindergarten", NIGHT, []) == 0


def test_a_name_that_no_database_takes_as_text_is_kept_escaped(setting: Setting) -> None:
    samples = samples_in(setting)
    name = "worker-1:/mnt/\udcff\0é"
    samples.append("kindergarten", NIGHT, [Reading("disk_pct", name, 1, "%")])
    (key,) = samples.series("kindergarten", since=NIGHT, target=name)
    assert key == ("disk_pct", "worker-1:/mnt/\\udcff\\x00é")


def test_thinning_removes_what_is_older_in_batches_and_nothing_else(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples_module, "BATCH", 3)
    samples = samples_in(setting)
    for hours in range(10):
        samples.append("kindergarten", NIGHT + timedelta(hours=hours), [DISK])
    samples.append("chronoretrace", NIGHT, [DISK])
    before = NIGHT + timedelta(hours=8)
    assert samples.thin_out("kindergarten", before=before, batches=2) == 6
    assert samples.thin_out("kindergarten", before=before) == 2
    assert samples.thin_out("kindergarten", before=before) == 0
    left = samples.series("kindergarten", since=NIGHT)[DISK.key]
    assert [point.at for point in left] == [before, NIGHT + timedelta(hours=9)]
    assert count(setting) == 3


def test_many_who_sample_at_once_lose_nothing_and_make_the_table_once(setting: Setting) -> None:
    program = """
from datetime import UTC, datetime, timedelta
from upkeep.domain.capacity import Reading
from upkeep.ledger.database import Database
from upkeep.ledger.samples import Samples
samples = Samples(Database(os.environ["LEDGER"]))
for hour in range(20):
    at = datetime(2026, 11, 21, hour, tzinfo=UTC)
    samples.append("kindergarten", at, [Reading("disk_pct", f"worker-{os.getpid()}:/", hour, "%")])
samples.thin_out("kindergarten", before=datetime(2026, 11, 21, 5, tzinfo=UTC))
"""
    children = [setting.child(program) for _ in range(4)]
    for child in children:
        must_succeed(child)
    samples_in(setting).thin_out("kindergarten", before=datetime(2026, 11, 21, 5, tzinfo=UTC))
    assert count(setting) == 4 * 15


def test_threads_may_share_one(setting: Setting) -> None:
    samples = samples_in(setting)
    threads = [
        threading.Thread(
            target=samples.append, args=("kindergarten", NIGHT, [Reading("cpu_pct", f"worker-{number}", 1, "%")])
        )
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(setting) == 8


def test_the_ledger_beside_them_stays_whole_and_can_still_be_written(setting: Setting) -> None:
    ledger = setting.ledger()
    with ledger.record(an_act()):
        Samples(ledger.database).append("kindergarten", NIGHT, [DISK])
    assert verify(ledger).clean
    assert [record.state for record in ledger.acts("kindergarten")] == ["done"]


def test_a_database_that_is_away_is_said_without_its_password(setting: Setting) -> None:
    samples = samples_in(setting)
    samples.append("kindergarten", NIGHT, [DISK])
    setting.take_away()
    try:
        with pytest.raises(LedgerUnavailable) as raised:
            samples.append("kindergarten", NIGHT + timedelta(days=1), [DISK])
    finally:
        setting.bring_back()
    assert "HINT:" in str(raised.value)
    assert samples.append("kindergarten", NIGHT + timedelta(days=1), [DISK]) == 1


def test_a_moment_without_a_zone_is_refused(setting: Setting) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        samples_in(setting).append("kindergarten", NIGHT.replace(tzinfo=None), [DISK])
