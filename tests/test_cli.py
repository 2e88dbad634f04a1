"""The command line."""

from __future__ import annotations

import builtins
import io
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from tests.faults.scene import Scene, days_later, files_scene, for_command_line
from upkeep.cli import main
from upkeep.duties.back_up import back_up
from upkeep.duties.guard import guard_window
from upkeep.duties.report import report_run
from upkeep.errors import BackupSpooled, WindowClosed
from upkeep.stores.local_store import LocalStore

INPUT = builtins.input


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return for_command_line(files_scene(tmp_path, size=40_000), monkeypatch)


def test_check_says_what_each_site_has(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "shop: app (files)" in capsys.readouterr().out


def test_check_lists_every_problem_of_every_file_and_fails(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("name: Wrong!\ncolour: blue\n")
    assert main(["check", str(wrong), str(tmp_path / "sites" / "shop.yaml"), str(tmp_path / "missing.yaml")]) == 1
    out = capsys.readouterr().out
    assert "ok      shop" in out
    assert "colour: unknown key" in out
    assert "name: " in out
    assert "missing.yaml" in out
    assert out.count("HINT:") == 2


def test_check_finds_a_name_that_two_of_the_files_have(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "sites" / "shop.yaml", tmp_path / "copy.yaml"
    second.write_bytes(first.read_bytes())
    assert main(["check", str(first), str(second)]) == 1
    assert f"broken  site file {second} is called 'shop', as is {first}\nHINT:" in capsys.readouterr().out


def test_check_does_not_pass_over_a_folder_without_site_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UPKEEP_SITES", str(tmp_path))
    (tmp_path / "shop.yaml.off").write_text("name: shop\n")
    assert main(["check"]) == 1
    assert f"broken  the folder of site files {tmp_path} holds none (*.yaml)\nHINT: " in capsys.readouterr().out


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Site"


def test_backups_show_their_standing(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    backup_id = scene.night("night")
    assert main(["backups", "shop"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if backup_id in line)
    assert "structure" in line
    assert main(["backups", "shop", "app", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["backup_id"] == backup_id


def test_backups_name_those_that_wait_in_the_spool(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BackupSpooled):
        back_up(scene.job("night", store=LocalStore(scene.folder / "not mounted")), "app")
    assert main(["backups", "shop"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("app ") and line.endswith("waits in this machine's spool")


def test_backups_of_a_target_that_the_site_no_longer_has_are_shown(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup_id = scene.night("night")
    store = scene.folder / "store" / "shop"
    (store / "app").rename(store / "former")
    assert main(["backups", "shop"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"former               {backup_id} ") and line.endswith("no longer in the site file")
    assert main(["backups", "shop", "former", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["target"], row["in_site_file"]) == ("former", False)
    assert main(["show", "shop", "former", backup_id]) == 0
    assert main(["pin", "shop", "former", backup_id, "--reason", "kept"]) == 0
    assert main(["backups", "shop", "nobody"]) == 2
    assert "its targets are: app" in capsys.readouterr().err


def test_show_prints_the_line_that_restores(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    backup_id = scene.night("night")
    assert main(["show", "shop", "app", backup_id]) == 0
    assert "tar --extract" in capsys.readouterr().out.splitlines()[-1]


def test_a_pinned_backup_outlives_its_rules(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    first = scene.night("first", now=days_later(-9))
    assert main(["pin", "shop", "app", first, "--reason", "审计 2026"]) == 0
    for days in (-8, -7, -6):
        scene.night(f"night {days}", now=days_later(days))
    assert first in scene.good()
    assert main(["plan", "retention", "shop"]) == 0
    assert "审计 2026" in capsys.readouterr().out
    assert main(["unpin", "shop", "app", first]) == 0
    scene.night("last", now=days_later(-5))
    assert first not in scene.good()


def test_planning_removes_nothing(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    for days in (-2, -1):
        scene.night(f"night {days}", now=days_later(days))
    file = scene.folder / "sites" / "shop.yaml"
    site = yaml.safe_load(file.read_text(encoding="utf-8"))
    site["retention"] = {"daily": 1, "keep_at_least": 1, "min_age_days": 0}
    file.write_text(yaml.safe_dump(site, allow_unicode=True), encoding="utf-8")
    before = scene.good()
    assert main(["plan", "retention", "shop", "app"]) == 0
    assert "keep 1, remove 1" in capsys.readouterr().out
    assert scene.good() == before


def test_a_whole_ledger_verifies_and_a_forged_one_does_not(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    scene.night("night")
    assert main(["ledger", "verify"]) == 0
    head = next(word for word in capsys.readouterr().out.split() if word.startswith("shop:") and word.count(":") == 2)
    assert main(["ledger", "verify", "--noted", head]) == 0
    assert main(["ledger", "show", "shop"]) == 0
    assert "back_up" in capsys.readouterr().out
    (database,) = scene.folder.glob("upkeep_ledger.db")
    with sqlite3.connect(database) as connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{trigger}"')
        (table,) = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if "actor" in [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')]
        ]
        connection.execute(f"UPDATE \"{table}\" SET actor = 'nobody' WHERE seq = 1")
    connection.close()
    assert main(["ledger", "verify"]) == 1
    assert "row 1 was altered" in capsys.readouterr().out


def test_prove_restores_a_backup_and_a_dry_run_only_says_which(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    backup_id = scene.night("night")
    capsys.readouterr()
    assert main(["prove", "shop", "app", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["would_restore"] == [backup_id]
    assert scene.backups()[0].standing == "structure"
    assert main(["prove", "shop", "app"]) == 0
    assert json.loads(capsys.readouterr().out)["restored"][backup_id] > 0
    assert scene.backups()[0].standing == "restored"
    assert main(["prove", "shop", "app"]) == 0
    assert json.loads(capsys.readouterr().out)["restored"] == {}, "what is proven isn't restored again unasked"
    assert main(["prove", "shop", "app", backup_id]) == 0
    assert backup_id in json.loads(capsys.readouterr().out)["restored"]


def test_prove_says_that_a_damaged_backup_is_bad_and_exits_with_1(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    backup_id = scene.night("night")
    (archive,) = (scene.folder / "store" / "shop" / "app" / backup_id).glob("files.tar*")
    damaged = bytearray(archive.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    archive.chmod(0o600)
    archive.write_bytes(damaged)
    assert main(["prove", "shop", "app"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("BAD: ")
    assert "HINT:" in error
    assert scene.good() == []


def test_neither_a_dry_run_nor_one_of_some_targets_or_parts_keeps_the_watchdog_quiet(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    job = scene.job("tried")
    guard_window(job, "daily", override_reason="a test")
    assert report_run(job, "daily", dry_run=True)["ok"]
    assert report_run(job, "daily", chosen=["another"])["ok"]
    assert main(["status", "shop", "--max-age", "26"]) == 1
    assert "shop daily: last report never, too old" in capsys.readouterr().out
    scene.night("night")
    job = scene.job("night")
    guard_window(job, "daily", override_reason="a test")
    assert report_run(job, "daily", left_out=["verify"])["ok"]
    assert main(["status", "shop", "--max-age", "26"]) == 1
    assert report_run(job, "daily", chosen=["app"])["ok"], "all the targets there are"
    capsys.readouterr()
    assert main(["status", "shop", "--max-age", "26"]) == 0
    here = datetime.now(ZoneInfo("Asia/Shanghai"))
    assert f"shop daily: last report {here:%Y-%m-%d} " in (said := capsys.readouterr().out)
    assert said.endswith(" ok; times in Asia/Shanghai\n")
    assert main(["status", "--max-age", "0"]) == 1, "none is so young"
    assert main(["status", "--max-age", "26"]) == 0
    capsys.readouterr()
    broken = scene.folder / "sites" / "other.yaml"
    broken.write_text("name: other", encoding="utf-8")
    assert main(["status", "--max-age", "26"]) == 1, "its DAGs are gone, and only the watchdog is left to say so"
    assert f"broken  site file {broken} has" in capsys.readouterr().out
    for path in (scene.folder / "sites").iterdir():
        path.unlink()
    assert main(["status", "--max-age", "26"]) == 1
    assert "holds none" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["backups", "nowhere"],
        ["backups", "shop", "nothing"],
        ["show", "shop", "app", "20260101T000000Z-0000"],
        ["show", "shop", "app", "yesterday"],
        ["pin", "shop", "nothing", "20260101T000000Z-0000", "--reason", "x"],
        ["unpin", "shop", "app", "20260101T000000Z-0000"],
        ["prove", "shop", "nothing"],
        ["prove", "shop", "app", "20260101T000000Z-0000"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_a_wrong_name_is_a_clear_error(scene: Scene, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    scene.night("night")
    before = len(list(scene.job("look").ledger.rows("shop")))
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "ERROR:" in error
    assert "HINT:" in error
    assert len(list(scene.job("look").ledger.rows("shop"))) == before, "nothing happened"


def test_plan_clean_logs_says_what_would_go_and_why_and_changes_nothing(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "clean-logs", "shop"]) == 0
    assert capsys.readouterr().out == "no log folder of site shop has keep_days or compress_over_mb\n"
    path = tmp_path / "logs" / "app.log"
    path.parent.mkdir()
    path.write_text("all is well\n")
    os.utime(path, (0, 0))
    time.sleep(0.03)
    logs = [{"path": str(folder), "keep_days": 30} for folder in (path.parent, tmp_path / "missing")]
    site = {**scene.site.model_dump(mode="json", exclude_none=True), "logs": logs}
    (tmp_path / "sites" / "shop.yaml").write_text(yaml.safe_dump(site, allow_unicode=True), encoding="utf-8")
    assert main(["plan", "clean-logs", "shop"]) == 1, "a folder that isn't there is worth a look"
    out = capsys.readouterr().out
    assert "last written more than 30 d ago: app.log" in out
    assert "missing does not exist" in out
    assert path.exists()
    assert main(["plan", "clean-docker", "shop"]) == 0
    assert capsys.readouterr().out == "site shop names no Docker engine\n"


def test_restore_prints_its_plan_and_does_nothing_unless_the_word_is_typed(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    backup_id = scene.night("night")
    there = sorted(tmp_path.iterdir())
    monkeypatch.setattr("builtins.input", lambda prompt: "yes, please")
    assert main(["restore", "backup", "shop", "app"]) == 1
    said = capsys.readouterr().out
    assert backup_id in said
    assert f"data.restored-{backup_id}" in said
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("builtins.input", INPUT)
    assert main(["restore", "backup", "shop", "app"]) == 1, "nobody is there to type it"
    assert capsys.readouterr().out.endswith("\nnothing was done\n")
    assert sorted(tmp_path.iterdir()) == there
    monkeypatch.setattr("builtins.input", lambda prompt: "yes")
    over = ["restore", "backup", "shop", "app", "--backup", backup_id, "--to", "over", "--waive-stop", "a test"]
    assert main(over) == 1, "over live wants the target's name"
    monkeypatch.setattr("builtins.input", lambda prompt: "app")
    (scene.folder / "data" / "部分-0").unlink()
    assert main(over) == 0
    assert (scene.folder / "data" / "部分-0").exists()
    assert len(list(tmp_path.glob("data.replaced-*"))) == 1
    assert main(["restore", "backup", "shop", "app", "--before", "yesterday"]) == 2
    assert "HINT: write it as" in capsys.readouterr().err


def test_ctrl_c_says_so_and_shows_no_traceback(scene: Scene, request: pytest.FixtureRequest) -> None:
    # A shell that starts the tests in the background has SIGINT ignored, which children inherit.
    was = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(partial(signal.signal, signal.SIGINT, was))
    scene.night("night")
    command = [sys.executable, "-m", "upkeep.cli", "restore", "backup", "shop", "app"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as asked:
        assert asked.stdout is not None
        while b"to go on" not in (said := os.read(asked.stdout.fileno(), 65536)):
            assert said, "it ended before it asked"
        asked.send_signal(signal.SIGINT)
        error = asked.communicate(timeout=20)[1].decode()
    assert asked.returncode == 130
    assert error == "\nERROR: stopped by hand\nHINT: upkeep ledger show has how far it got\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_gets_no_traceback(scene: Scene, unbuffered: str) -> None:
    """As with ``upkeep ledger show | head -1``."""
    scene.night("night")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "upkeep.cli", "ledger", "show"],
            stdout=writer, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, timeout=60,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_broken_pipe_elsewhere_is_not_taken_for_that(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("upkeep.site.load_sites", broken)
    with pytest.raises(BrokenPipeError):
        main(["check"])


def test_a_terminal_without_chinese_shows_escapes(scene: Scene) -> None:
    backup_id = scene.night("night")
    assert main(["pin", "shop", "app", backup_id, "--reason", "审计"]) == 0
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "upkeep.cli", "backups", "shop"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\u5ba1\u8ba1" in done.stdout


def test_the_ledger_says_why_something_failed_and_that_it_knows_nothing_of_a_site(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["ledger", "show"]) == 0
    assert "holds no rows yet" in capsys.readouterr().out
    assert main(["ledger", "verify"]) == 0, "a machine on which nothing ran yet"
    monkeypatch.setenv("LOGNAME", "园长")
    monkeypatch.delenv("SUDO_USER", raising=False)
    backup_id = scene.night("night")
    assert main(["pin", "shop", "app", backup_id, "--reason", "x"]) == 0
    job = scene.job("closed")
    with suppress(WindowClosed):
        guard_window(job, "daily", override_reason=" ")
    capsys.readouterr()
    assert main(["ledger", "show", "shop", "--last", "2"]) == 0
    pinned, failed, why = capsys.readouterr().out.splitlines()
    assert " pin " in pinned and f"  {pwd.getpwuid(os.getuid()).pw_name}  pin {backup_id}" in pinned, "not LOGNAME's"
    assert " failed " in failed
    assert why.strip() == "an override of the window without a reason"
    assert main(["ledger", "show", "shopp"]) == 0
    assert "holds no rows of shopp yet" in capsys.readouterr().out
    assert main(["ledger", "verify", "shopp"]) == 1, "nothing of it was verified"
    assert "holds no rows of shopp yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ledger", "verify", "--noted", "shop"], "'shop' is not like shop:43:"),
        (["ledger", "verify", "--noted", "shop:x:y"], "'shop:x:y' is not like shop:43:"),
        (["ledger", "show", "--last", "0"], "'0' is not a number of acts"),
        (["ledger", "show", "--last", "-5"], "'-5' is not a number of acts"),
        (["nothing"], "invalid choice: 'nothing'"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_wrong_argument_is_told_in_its_own_words(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_single_tables_are_not_restored_over_live(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.night("night")
    assert main(["restore", "backup", "shop", "app", "--to", "over", "--table", "orders"]) == 2
    assert "over takes all of app, and tables are named: orders\nHINT:" in capsys.readouterr().err


def test_over_live_is_only_for_approvers_and_the_ledger_says_how_it_was_approved(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the command is who the machine says, not who the environment says."""
    backup_id = scene.night("night")
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setenv("LOGNAME", "li.si")
    me = pwd.getpwuid(os.getuid()).pw_name
    over = ["restore", "backup", "shop", "app", "--backup", backup_id, "--to", "over", "--waive-stop", "x", "--yes"]

    def approvers(*names: str) -> None:
        site = scene.site.model_dump(mode="json", exclude_none=True) | {"approval": {"approvers": names}}
        (tmp_path / "sites" / "shop.yaml").write_text(yaml.safe_dump(site, allow_unicode=True), encoding="utf-8")

    approvers("li.si")
    assert main(over) == 2
    said = capsys.readouterr().err
    assert f"{me} runs the command, and site shop names others as approvers: li.si" in said
    assert "HINT: start shop_restore in Airflow" in said
    assert main([*over, "--dry-run"]) == 0
    assert list(tmp_path.glob("data.replaced-*")) == []
    approvers("li.si", me)
    assert main(over) == 0
    assert main(["ledger", "show", "shop"]) == 0
    assert f"{me}, on the command line (--yes: nobody was asked)" in capsys.readouterr().out
