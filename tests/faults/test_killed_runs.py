"""A run is killed at every stage, and run again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from tests.faults.scene import Moment, Scene, days_later, files_scene
from upkeep.duties.back_up import back_up
from upkeep.duties.catalogue import read_catalogue
from upkeep.errors import Busy
from upkeep.ledger import Ledger, default_url

STAGES = [
    Moment("writing", "files.tar", 1),
    Moment("writing", "files.tar", 4_000_000),
    Moment("wrote", "files.tar"),
    Moment("wrote", "manifest.json"),
    Moment("wrote", "proofs/"),
]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return files_scene(tmp_path)


@pytest.mark.parametrize("moment", STAGES, ids=lambda moment: f"{moment.operation}-{moment.match}-{moment.after}")
def test_a_run_killed_while_backing_up_loses_nothing_and_its_rerun_succeeds(scene: Scene, moment: Moment) -> None:
    before = scene.night("last night", now=days_later(-1))
    scene.killed_at(moment)
    assert before in scene.good()
    after_kill = scene.good()
    again = scene.night("night")
    assert scene.good() == [before, again]
    assert [backup.ref.backup_id for backup in scene.backups()] == [before, again], "a rerun makes no second backup"
    assert set(after_kill) <= {before, again}
    assert scene.leftovers() == []
    scene.require_clean_ledger()


def test_a_killed_act_stands_in_the_ledger_as_died(scene: Scene) -> None:
    scene.killed_at(Moment("writing", "files.tar", 1))
    acts = list(Ledger(default_url(scene.folder)).acts(site="shop", duty="back_up"))
    assert [act.state for act in acts] == ["died"]


def test_a_run_killed_after_the_manifest_keeps_its_backup_on_the_rerun(scene: Scene) -> None:
    scene.killed_at(Moment("wrote", "manifest.json"))
    (finished,) = scene.backups()
    assert scene.night("night") == finished.ref.backup_id


def test_removal_killed_between_manifest_and_files_leaves_nothing_that_looks_whole(scene: Scene) -> None:
    nights = [scene.night(f"night {-days}", now=days_later(-days)) for days in (3, 2)]
    scene.killed_at(Moment("deleted", "manifest.json"), "tonight")
    standing = [backup.ref.backup_id for backup in scene.backups()]
    assert nights[0] not in standing
    assert nights[1] in standing
    catalogue = read_catalogue(scene.job("look").store, "shop", "app")
    assert list(catalogue.orphans) == [nights[0]]
    scene.night("tomorrow", now=days_later(1))
    assert scene.leftovers() == []
    scene.require_clean_ledger()


def test_two_runs_of_one_target_at_once_make_one_backup_and_one_clear_error(scene: Scene) -> None:
    first = scene.in_process(Moment("writing", "files.tar", 1), "first", pause=True)
    assert first.stdout is not None
    assert first.stdin is not None
    assert first.stdout.readline() == b"paused\n"
    with pytest.raises(Busy, match="shop/app") as raised:
        back_up(scene.job("second"), "app")
    assert "HINT:" in str(raised.value)
    first.stdin.write(b"go on\n")
    output = first.communicate()[0]
    assert first.returncode == 0, output.decode()
    assert len(scene.good()) == 1
    assert scene.leftovers() == []
    assert scene.night("second") in scene.good()


def test_of_the_backups_of_one_second_the_newest_is_kept(scene: Scene) -> None:
    second = datetime.now(UTC).replace(microsecond=0)
    ticks = count()

    def now() -> datetime:
        return second + timedelta(milliseconds=next(ticks))

    nights = [scene.night(f"run {number}", now=now) for number in range(6)]
    assert scene.good() == [nights[-1]]


def test_a_lost_manifest_is_reported_and_its_files_are_not_swept_away(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    lost = scene.night("last night", now=days_later(-1))
    folder = scene.folder / "store" / "shop" / "app" / lost
    (folder / "manifest.json").unlink()
    scene.night("tonight")
    assert (folder / "files.tar.zst").exists()
    assert f"{lost} has lost its manifest" in caplog.text


def test_a_clock_set_back_removes_nothing_and_counts_nothing_from_the_future(scene: Scene) -> None:
    ahead = [scene.night(f"future {days}", now=days_later(days)) for days in (10, 11)]
    tonight = scene.night("tonight")
    assert {*ahead, tonight} <= set(scene.good())
    decisions = _plan(scene)
    assert all(decisions[backup_id] == "leave" for backup_id in ahead)
    assert decisions[tonight] == "keep"


def _plan(scene: Scene) -> dict[str, str]:
    from upkeep.duties.forget import plan_forgetting

    return {decision.backup_id: decision.action for decision in plan_forgetting(scene.job("plan"), "app").decisions}
