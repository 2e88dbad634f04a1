"""The ledger: one row before an act, one after it, whatever happens in between."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from tests.ledger.setting import Setting, an_act, kill, must_succeed, wait_for
from tests.servers.databases import PostgresDatabase
from upkeep.domain.endpoint import Endpoint
from upkeep.errors import LedgerBroken, LedgerUnavailable
from upkeep.ledger import Ledger, Row, default_url, url_of, verify
from upkeep.ledger import entry as entry_module
from upkeep.ledger import ledger as ledger_module
from upkeep.ledger.acts import GENESIS
from upkeep.ledger.tables import ROWS

CHINESE = "幼儿园 😀 备份"


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "FINISH_PAUSES_S", (0, 0.1))


# One act, two rows.


def test_the_started_row_is_committed_before_the_block_runs(setting: Setting) -> None:
    ledger = setting.ledger()
    with ledger.record(an_act()):
        (row,) = setting.ledger().rows("kindergarten")
        assert (row.event, row.result, row.seq, row.prev_hash) == ("started", None, 1, GENESIS)
    started, finished = ledger.rows("kindergarten")
    assert (finished.event, finished.result, finished.seq) == ("finished", "done", 2)
    assert started.act_id == finished.act_id
    assert finished.prev_hash == started.hash == row.hash


def test_both_rows_carry_every_field_of_the_act(setting: Setting) -> None:
    act = an_act(actor="王老师", trigger="manual", try_number=3, approver="李园长", target="app.attendance")
    with setting.ledger().record(act):
        pass
    for row in setting.ledger().rows():
        assert {field.name: getattr(row, field.name) for field in fields(act)} == vars(act)


def test_notes_add_up_and_reach_the_finished_row(setting: Setting) -> None:
    ledger = setting.ledger()
    with ledger.record(an_act()) as entry:
        entry.note(rows=10, bytes=2**40, checksum="old")
        entry.note(
            rows=5, checksum="sha256:abc", path=Path("/srv/a"), sizes=(1, 2.5), when={"note": CHINESE, "none": None}
        )
        entry.note(rows=0, share=float("nan"))
    (record,) = ledger.acts()
    assert record.finished is not None
    assert (record.finished.rows, record.finished.bytes, record.finished.checksum) == (15, 2**40, "sha256:abc")
    assert record.detail == {
        "path": "/srv/a",
        "sizes": [1, 2.5],
        "when": {"note": CHINESE, "none": None},
        "share": "nan",
    }
    assert list(record.detail) == sorted(record.detail), "the JSON is canonical"


def test_what_was_not_noted_stays_null_and_is_not_zero(setting: Setting) -> None:
    with setting.ledger().record(an_act()):
        pass
    _, finished = setting.ledger().rows()
    assert (finished.rows, finished.bytes, finished.checksum, finished.error, finished.detail) == (None,) * 5


def test_a_skipped_act_says_why(setting: Setting) -> None:
    ledger = setting.ledger()
    with ledger.record(an_act()) as entry:
        entry.skip("the metadata lock was not had within 5 s")
    (record,) = ledger.acts()
    assert record.state == "skipped"
    assert record.detail == {"reason": "the metadata lock was not had within 5 s"}


@pytest.mark.parametrize("error", [ValueError("no such table"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_an_exception_is_recorded_as_failed_and_goes_on_unchanged(setting: Setting, error: BaseException) -> None:
    ledger = setting.ledger()
    with pytest.raises(type(error)) as caught, ledger.record(an_act()) as entry:
        entry.note(rows=7)
        entry.skip("not after all")
        raise error
    assert caught.value is error
    (record,) = ledger.acts()
    assert record.state == "failed"
    assert record.finished is not None and record.finished.error is not None
    assert record.finished.error.startswith(type(error).__name__)
    assert record.finished.rows == 7, "what was done before it failed is kept"


def test_an_error_s_notes_are_kept(setting: Setting) -> None:
    error = ValueError("dump failed")
    error.add_note("the server said: gone away")
    with pytest.raises(ValueError), setting.ledger().record(an_act()):
        raise error
    assert setting.ledger().rows()[-1].error == "ValueError: dump failed\nthe server said: gone away"


def test_secrets_are_masked_in_everything_that_is_noted(setting: Setting) -> None:
    secret = "p@ss:/wört'\" #%\\天"
    quoted = f"mysql://u:{quote(secret, safe='')}@h"
    with pytest.raises(RuntimeError), setting.ledger().record(an_act(), secrets=(secret,)) as entry:
        entry.note(checksum=secret, url=quoted, deep=[{"key": secret, secret: 1}], path=Path(secret))
        entry.skip(secret)
        raise RuntimeError(f"cannot log in with {secret} at {quoted}")
    dump = json.dumps([vars(row) for row in setting.ledger().rows()], ensure_ascii=False)
    assert "***" in dump
    for piece in ("p@ss", "p%40ss", "wört", "天"):
        assert piece not in dump


def test_a_huge_error_is_cut_in_the_middle_and_says_so(setting: Setting) -> None:
    secret = "hunter2" * 3
    # The secret lies across the place where the text is cut: masked only afterwards, half of it would stay.
    said = "A" * (entry_module.ERROR_CHARS // 4 - len("ValueError: ") - 10) + secret + "B" * 1_000_000 + " the reason"
    with pytest.raises(ValueError), setting.ledger().record(an_act(), secrets=(secret,)):
        raise ValueError(said)
    error = setting.ledger().rows()[-1].error
    assert error is not None and len(error) < entry_module.ERROR_CHARS + 100
    assert error.startswith("ValueError: AAA") and error.endswith("BBB the reason")
    assert "characters left out ..." in error
    assert "hunter" not in error


def test_a_huge_detail_is_left_out_and_the_act_still_done(setting: Setting) -> None:
    ledger = setting.ledger()
    with ledger.record(an_act()) as entry:
        entry.note(everything="x" * 1_000_000)
    (record,) = ledger.acts()
    assert record.state == "done"
    assert "left_out" in record.detail
    assert "1000017 characters" in record.detail["left_out"]


def test_what_fits_stays_beside_a_part_that_is_too_large(setting: Setting) -> None:
    ledger = setting.ledger()
    with ledger.record(an_act()) as entry:
        warnings = [f"{'/deep' * 100}/{number}: file changed as we read it" for number in range(20)]
        entry.note(
            backup_id="20261121T020003Z-0a1b", warnings=warnings, position={"gtid": "x" * 5000}, level="structure"
        )
    (record,) = ledger.acts()
    assert record.detail["backup_id"] == "20261121T020003Z-0a1b"
    assert record.detail["level"] == "structure"
    assert set(record.detail) == {"backup_id", "level", "position", "left_out"}
    assert record.detail["left_out"].startswith("warnings (")
    assert len(json.dumps(record.detail)) < entry_module.DETAIL_CHARS


def test_texts_no_database_can_keep_are_written_readably_and_verify(setting: Setting) -> None:
    file_name = b"caf\xe9\x00".decode("utf-8", "surrogateescape")
    with setting.ledger().record(an_act(target=file_name, actor=CHINESE, approver=None)) as entry:
        entry.note(name=file_name, title=CHINESE)
    row = setting.ledger().rows()[-1]
    assert row.target == "caf\\udce9\\x00"
    assert (row.actor, row.approver) == (CHINESE, "")
    assert CHINESE in (row.detail or "")
    assert verify(setting.ledger()).clean


def test_numbers_given_as_text_do_not_raise_a_false_alarm(setting: Setting) -> None:
    with setting.ledger().record(an_act(try_number="2")) as entry:
        entry.note(rows=True)
    assert setting.ledger().rows()[-1].try_number == 2
    assert verify(setting.ledger()).clean


def test_the_table_and_the_row_have_the_same_fields() -> None:
    assert {column.name for column in ROWS.columns} == {field.name for field in fields(Row)}


# Died or running.


def test_a_process_killed_inside_leaves_an_act_that_died(setting: Setting) -> None:
    child = setting.child("with ledger.record(an_act(target='caches')): say('inside'); time.sleep(300)")
    wait_for(child, "inside")
    assert [record.state for record in setting.ledger().acts()] == ["running"]
    kill(child)
    assert wait_until_state(setting, "died")
    (row,) = setting.ledger().rows()
    assert (row.event, row.target) == ("started", "caches")
    assert verify(setting.ledger()).clean, "a started row alone is no damage"


def test_an_act_that_finishes_while_we_look_is_not_taken_for_dead(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = setting.ledger()
    reader = setting.ledger()
    locks = reader._locks
    with ledger.record(an_act(target="other")):
        act = ledger.record(an_act())
        act.__enter__()
        held = locks.held

        def finish_then_look(names: list[str]) -> set[str]:
            act.__exit__(None, None, None)
            return held(names)

        monkeypatch.setattr(locks, "held", finish_then_look)
        assert [(record.started.target, record.state) for record in reader.acts()] == [
            ("other", "running"),
            ("app", "done"),
        ]


def test_nothing_is_left_behind_by_acts_that_end(sqlite: Setting) -> None:
    for _ in range(3):
        with sqlite.ledger().record(an_act()):
            pass
    home = Path(make_url(sqlite.url).database or "").parent
    assert sorted(path.name for path in home.rglob("*")) == ["upkeep_ledger.db", "upkeep_ledger.db.locks"]


# The ledger is away.


def test_without_a_started_row_the_act_is_not_done(setting: Setting) -> None:
    ledger = setting.ledger()
    ledger.prepare()
    setting.take_away()
    ran = False
    with pytest.raises(LedgerUnavailable) as caught, ledger.record(an_act()):
        ran = True
    assert not ran
    assert "HINT: " in str(caught.value)
    setting.bring_back()
    assert setting.ledger().rows() == []


def test_without_a_finished_row_the_caller_hears_of_it_and_the_ledger_shows_died(setting: Setting) -> None:
    ledger = setting.ledger()
    told = "ended as done, but the ledger will show it as died"
    with pytest.raises(LedgerUnavailable, match=told), ledger.record(an_act()):
        setting.take_away()
    setting.bring_back()
    assert [record.state for record in ledger.acts()] == ["died"]
    assert verify(ledger).clean


def test_the_block_s_own_error_is_kept_when_the_finish_cannot_be_written(setting: Setting) -> None:
    own = ValueError("dump failed")
    with pytest.raises(LedgerUnavailable, match="ended as failed") as caught, setting.ledger().record(an_act()):
        setting.take_away()
        raise own
    assert caught.value.__cause__ is own
    setting.bring_back()


def test_ctrl_c_still_ends_the_process_when_the_finish_cannot_be_written(setting: Setting) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, setting.ledger().record(an_act()):
        setting.take_away()
        raise KeyboardInterrupt
    assert any("can't be" in note for note in caught.value.__notes__)
    setting.bring_back()


def test_a_finish_waits_for_a_database_that_restarts(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "FINISH_PAUSES_S", (0, 0.6))
    ledger = setting.ledger()
    back = threading.Timer(0.3, setting.bring_back)
    with ledger.record(an_act()):
        setting.take_away()
        back.start()
    back.join()
    assert [record.state for record in ledger.acts()] == ["done"]
    assert verify(ledger).clean


def test_a_finish_whose_answer_was_lost_is_written_once(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = setting.ledger()
    append = ledger._append
    lost: list[bool] = []

    def lose_first_finish(*args: object, **options: object) -> None:
        append(*args, **options)  # type: ignore[arg-type]
        if args[2] == "finished" and not lost:
            lost.append(True)
            raise LedgerUnavailable("the connection was cut after the commit", hint="none")

    monkeypatch.setattr(ledger, "_append", lose_first_finish)
    with ledger.record(an_act()):
        pass
    assert lost
    assert [row.event for row in ledger.rows()] == ["started", "finished"]


def test_no_error_holds_the_password(postgres_database: PostgresDatabase) -> None:
    endpoint = postgres_database.endpoint()
    wrong = Ledger(url_of(replace(endpoint, secret="hunter2@ /%天")))
    away = Ledger(url_of(replace(endpoint, port=1)))
    for ledger, secret in ((wrong, "hunter2"), (away, endpoint.secret)):
        with pytest.raises(LedgerUnavailable) as caught, ledger.record(an_act()):
            pass
        texts = []
        error: BaseException | None = caught.value
        while error is not None:
            texts.append(f"{error} {error!r}")
            error = error.__cause__ or error.__context__
        assert len(texts) > 1, "the driver's own error is chained"
        assert all(secret[:7] not in text for text in texts)
        assert endpoint.host in texts[0]


def test_a_chain_that_does_not_fit_its_head_takes_no_more_rows(setting: Setting) -> None:
    ledger = setting.ledger()
    with ledger.record(an_act()):
        pass
    setting.drop_guards()
    setting.execute("DELETE FROM upkeep_ledger_heads")
    ran = False
    with pytest.raises(LedgerBroken, match="site kindergarten already has a row 1"), ledger.record(an_act()):
        ran = True
    assert not ran
    with ledger.record(an_act(site="chronoretrace")):
        pass


# Many at once.


def test_eight_processes_append_without_gap_or_duplicate(setting: Setting) -> None:
    """None of them makes the tables beforehand: that too they do at once."""
    program = (
        "for n in range(25):\n    with ledger.record(an_act(run_id=f'{os.getpid()}-{n}')) as entry: entry.note(rows=n)"
    )
    children = [setting.child(program) for _ in range(8)]
    for child in children:
        must_succeed(child)
    ledger = setting.ledger()
    rows = ledger.rows("kindergarten")
    assert [row.seq for row in rows] == list(range(1, 8 * 25 * 2 + 1))
    assert {record.state for record in ledger.acts()} == {"done"}
    assert len({row.run_id for row in rows}) == 8 * 25
    assert verify(ledger).clean


def test_many_make_the_tables_at_once(setting: Setting) -> None:
    together = threading.Barrier(8)
    errors: list[BaseException] = []

    def prepare() -> None:
        together.wait()
        try:
            setting.ledger().prepare()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert verify(setting.ledger()).clean


def test_processes_killed_at_any_moment_leave_a_whole_chain(setting: Setting) -> None:
    program = "with ledger.record(an_act()): pass\nsay('go')\nwhile True:\n    with ledger.record(an_act()): pass"
    for pause_ms in (5, 30):
        children = [setting.child(program) for _ in range(3)]
        for child in children:
            wait_for(child, "go")
        for child in children:
            time.sleep(pause_ms / 1000)
            kill(child)
    ledger = setting.ledger()
    with ledger.record(an_act(target="afterwards")):
        pass
    assert verify(ledger).clean
    assert len(ledger.rows()) > 2
    assert {record.state for record in ledger.acts(target="afterwards")} == {"done"}


def test_threads_share_one_ledger(setting: Setting) -> None:
    ledger = setting.ledger()
    errors: list[BaseException] = []

    def work(site: str) -> None:
        try:
            for _ in range(10):
                with ledger.record(an_act(site=site)):
                    pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(site,)) for site in ("a", "a", "b", "b", "c", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    verification = verify(ledger)
    assert verification.clean
    assert [(chain.site, chain.count) for chain in verification.chains] == [("a", 40), ("b", 40), ("c", 40)]


def test_rows_are_added_while_somebody_reads_all_of_them(setting: Setting) -> None:
    ledger = setting.ledger()
    with ledger.record(an_act()):
        pass
    child = setting.child("say('ready')\nfor n in range(20):\n    with ledger.record(an_act()): pass")
    wait_for(child, "ready")
    while child.poll() is None:
        assert verify(ledger).clean
    must_succeed(child)
    assert len(ledger.rows()) == 42


# Append-only.


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE upkeep_ledger SET actor = 'nobody'",
        "UPDATE upkeep_ledger SET actor = actor WHERE seq = 1",
        "DELETE FROM upkeep_ledger WHERE seq = 2",
        "DELETE FROM upkeep_ledger_heads",
        "UPDATE upkeep_ledger_heads SET seq = seq - 1",
        "UPDATE upkeep_ledger_heads SET hash = 'x'",
        "UPDATE upkeep_ledger_heads SET seq = seq + 1, site = 'x'",
    ],
)
def test_the_database_refuses_changes(setting: Setting, statement: str) -> None:
    with setting.ledger().record(an_act()):
        pass
    before = setting.ledger().rows()
    with pytest.raises(Exception, match="append-only"):
        setting.execute(statement)
    assert setting.ledger().rows() == before
    assert verify(setting.ledger()).clean


@pytest.mark.parametrize("table", ["upkeep_ledger", "upkeep_ledger_heads"])
def test_postgres_refuses_truncate_even_as_a_replica(postgres: Setting, table: str) -> None:
    with postgres.ledger().record(an_act()):
        pass
    with pytest.raises(Exception, match="append-only"):
        postgres.execute(f"SET session_replication_role = replica; TRUNCATE {table}")
    assert len(postgres.ledger().rows()) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO upkeep_ledger SELECT * FROM upkeep_ledger WHERE seq = 1",
        "INSERT OR REPLACE INTO upkeep_ledger_heads VALUES ('kindergarten', 1, 'x')",
    ],
)
def test_sqlite_refuses_to_replace(sqlite: Setting, statement: str) -> None:
    with sqlite.ledger().record(an_act()):
        pass
    with pytest.raises(Exception, match="append-only"):
        sqlite.execute(statement)


def test_on_postgres_a_role_that_owns_nothing_can_keep_the_ledger(
    postgres: Setting, postgres_database: PostgresDatabase
) -> None:
    postgres.ledger().prepare()
    role = f"keeper_{postgres_database.name}"
    postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'keeper'")
    postgres.execute(f"GRANT SELECT, INSERT ON upkeep_ledger TO {role}")
    postgres.execute(f"GRANT SELECT, INSERT, UPDATE ON upkeep_ledger_heads TO {role}")
    try:
        keeper = Ledger(url_of(replace(postgres_database.endpoint(), user=role, secret="keeper")))
        with keeper.record(an_act()), keeper.hold("app"):
            assert keeper.acts()[0].state == "running"
        assert verify(keeper).clean
    finally:
        postgres.execute(f"DROP OWNED BY {role}")
        postgres.execute(f"DROP ROLE {role}")


# The clock.


def test_a_clock_set_back_does_not_disturb_the_chain(setting: Setting) -> None:
    times = iter([datetime(2026, 11, 21, 2, tzinfo=UTC) - timedelta(hours=hour) for hour in range(6)])
    ledger = setting.ledger(clock=lambda: next(times))
    for _ in range(3):
        with ledger.record(an_act()):
            pass
    rows = ledger.rows("kindergarten")
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.at for row in rows] == sorted((row.at for row in rows), reverse=True)
    assert rows[0].at == "2026-11-21T02:00:00.000000+00:00"
    assert {record.state for record in ledger.acts()} == {"done"}
    assert verify(ledger).clean


# Reading.


@pytest.fixture
def history(setting: Setting) -> Ledger:
    """Six acts, one an hour, on two sites in turn."""
    hours = iter(datetime(2026, 11, 21, tzinfo=UTC) + timedelta(minutes=30 * half) for half in range(12))
    ledger = setting.ledger(clock=lambda: next(hours))
    for number in range(6):
        site = "kindergarten" if number % 2 == 0 else "chronoretrace"
        duty = "purge" if number >= 4 else "back_up"
        with ledger.record(an_act(site=site, duty=duty, run_id=f"run{number // 2}", target=f"t{number}")):
            pass
    return ledger


def test_acts_are_filtered_limited_and_ordered(history: Ledger) -> None:
    def targets(*args: str, **filters: object) -> list[str]:
        return [record.started.target for record in history.acts(*args, **filters)]  # type: ignore[arg-type]

    assert targets() == ["t0", "t1", "t2", "t3", "t4", "t5"]
    assert targets(newest_first=True, limit=2) == ["t5", "t4"]
    assert targets("kindergarten") == ["t0", "t2", "t4"]
    assert targets("kindergarten", newest_first=True) == ["t4", "t2", "t0"]
    assert targets(run_id="run1") == ["t2", "t3"]
    assert targets(duty="purge") == ["t4", "t5"]
    assert targets(target="t3") == ["t3"]
    assert targets("kindergarten", duty="purge", run_id="run0") == []
    with pytest.raises(TypeError, match="can't be asked by dutty"):
        targets(dutty="purge")
    # Ten o'clock in Shanghai is two o'clock in UTC.
    assert targets(since=datetime.fromisoformat("2026-11-21T10:00:00+08:00")) == ["t2", "t3", "t4", "t5"]


def test_rows_are_filtered_the_same_way(history: Ledger) -> None:
    assert [row.seq for row in history.rows("kindergarten")] == [1, 2, 3, 4, 5, 6]
    assert [row.seq for row in history.rows("kindergarten", newest_first=True, limit=1)] == [6]
    assert len(history.rows(run_id="run1")) == 4
    assert history.rows(since=datetime(2027, 1, 1, tzinfo=UTC)) == []


def test_since_without_a_time_zone_is_refused(history: Ledger) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        history.rows(since=datetime(2026, 11, 21))  # noqa: DTZ001  # the mistake under test


def test_heads_name_the_last_row_of_each_site(history: Ledger) -> None:
    heads = history.heads()
    assert {site: head.seq for site, head in heads.items()} == {"kindergarten": 6, "chronoretrace": 6}
    assert heads["kindergarten"].hash == history.rows("kindergarten")[-1].hash


def test_more_acts_are_paired_than_one_query_takes(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_CHUNK", 2)
    ledger = setting.ledger()
    for _ in range(5):
        with ledger.record(an_act()):
            pass
    assert [record.state for record in ledger.acts()] == ["done"] * 5


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("sqlite3")), reason="needs jq and sqlite3")
def test_stock_tools_can_recompute_a_hash(sqlite: Setting) -> None:
    with sqlite.ledger().record(an_act(actor=CHINESE, command='a\n\t"b" \\ <&> \x7f')) as entry:
        entry.note(rows=2**40, title=CHINESE)
    row = sqlite.ledger().rows()[-1]
    file = make_url(sqlite.url).database
    read = f"sqlite3 -json {file} 'SELECT * FROM upkeep_ledger WHERE seq = 2'"
    pipe = f"{read} | jq -c '.[0]' | jq -aScj 'del(.hash) | del(..|nulls)' | sha256sum"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == row.hash


# Where it is.


def test_a_postgres_connection_becomes_a_url() -> None:
    extra = {"sslmode": "require", "cursor": "dictcursor", "iam": True, "sslcompression": False}
    endpoint = Endpoint("upkeep_ledger", "postgres", "db", 5433, "up", "p@ss/天", "ledger", extra)
    url = url_of(endpoint)
    assert (url.drivername, url.host, url.port, url.username, url.password, url.database) == (
        "postgresql+psycopg",
        "db",
        5433,
        "up",
        "p@ss/天",
        "ledger",
    )
    assert dict(url.query) == {"sslmode": "require", "sslcompression": "false"}
    assert Ledger(url).place == "postgresql+psycopg://up:***@db:5433/ledger"


@pytest.mark.parametrize("fields", [{"host": "/opt/my ledger?.db"}, {"schema": "/opt/my ledger?.db"}])
def test_a_sqlite_connection_becomes_a_url(fields: dict[str, str]) -> None:
    assert url_of(Endpoint("upkeep_ledger", "sqlite", **fields)).database == "/opt/my ledger?.db"  # type: ignore[arg-type]


def test_any_folder_can_hold_the_default_ledger(tmp_path: Path) -> None:
    home = tmp_path / "天 100%?#@:"
    home.mkdir()
    ledger = Ledger(default_url(home))
    with ledger.record(an_act()):
        pass
    assert (home / "upkeep_ledger.db").exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:hunter2@h/d", "can't be kept in mysql"),
        ("sqlite://", "':memory:' isn't an absolute path"),
        ("sqlite:///relative.db", "'relative.db' isn't an absolute path"),
        ("postgresql://u:hunter2@h:port/d", "can't be read"),
        ("hunter2", "can't be read"),
    ],
)
def test_a_url_that_cannot_keep_a_ledger_is_refused(url: str, message: str) -> None:
    with pytest.raises(LedgerUnavailable, match=message) as caught:
        Ledger(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        (Endpoint("upkeep_ledger", "mysql", "db"), "connection upkeep_ledger is of type mysql"),
        (Endpoint("upkeep_ledger"), "is of type none"),
        (Endpoint("upkeep_ledger", "sqlite", "ledger.db"), "isn't an absolute path"),
    ],
)
def test_a_connection_that_cannot_keep_a_ledger_is_refused(endpoint: Endpoint, message: str) -> None:
    with pytest.raises(LedgerUnavailable, match=message):
        url_of(endpoint)


def test_a_latin_1_database_is_refused_before_anything_is_done(postgres_database: PostgresDatabase) -> None:
    name = f"{postgres_database.name}_latin1"
    server = PostgresDatabase(postgres_database.server, "postgres")
    server.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(LedgerUnavailable, match=f"{name} has the encoding LATIN1"):
            Ledger(url_of(replace(postgres_database.endpoint(), schema=name))).prepare()
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def wait_until_state(setting: Setting, state: str) -> bool:
    """PostgreSQL needs a moment to notice that a client is gone."""
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    while datetime.now(UTC) < deadline:
        if [record.state for record in setting.ledger().acts()] == [state]:
            return True
    return False
