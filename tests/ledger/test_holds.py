"""Exclusive locks: had by one, seen by all, gone with their process."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.ledger.setting import Setting, kill, must_succeed, wait_for
from tests.servers.databases import PostgresDatabase
from tests.servers.postgres import PostgresServer
from upkeep.errors import Busy, LedgerUnavailable
from upkeep.ledger import Ledger, url_of
from upkeep.ledger.locks import lock_key

HOLD = "with ledger.hold('kindergarten/app'): say('held'); time.sleep(300)"


def test_a_second_process_is_kept_out_and_told_who_holds_it(setting: Setting) -> None:
    child = setting.child(HOLD)
    wait_for(child, "held")
    with pytest.raises(Busy) as caught, setting.ledger().hold("kindergarten/app"):
        pytest.fail("two have the lock")
    message = str(caught.value)
    assert message.startswith(f"kindergarten/app is held by process {child.pid} since 20")
    assert f"on {socket.gethostname()}"[:15] in message
    assert "HINT: " in message


def test_other_names_are_free(setting: Setting) -> None:
    wait_for(setting.child(HOLD), "held")
    with setting.ledger().hold("kindergarten/app-test"), setting.ledger().hold("幼儿园/应用"):
        pass


def test_the_lock_goes_with_a_process_that_is_killed(setting: Setting) -> None:
    child = setting.child(HOLD)
    wait_for(child, "held")
    kill(child)
    with setting.ledger().hold("kindergarten/app", wait_s=10) as hold:
        assert hold.still_held()


def test_a_waiting_process_gets_it_when_the_first_lets_go(setting: Setting) -> None:
    first = setting.child("with ledger.hold('app'): say('held'); time.sleep(1)\ntime.sleep(300)")
    wait_for(first, "held")
    begun = time.monotonic()
    with setting.ledger().hold("app", wait_s=30):
        assert 0.2 < time.monotonic() - begun < 20
    assert first.poll() is None, "it was let go, not lost with its process"


def test_waiting_ends_when_the_time_is_up(setting: Setting) -> None:
    wait_for(setting.child(HOLD), "held")
    begun = time.monotonic()
    with pytest.raises(Busy), setting.ledger().hold("kindergarten/app", wait_s=0.5):
        pass
    assert 0.5 <= time.monotonic() - begun < 10


def test_it_is_free_the_moment_the_block_ends_also_by_an_error(setting: Setting) -> None:
    ledger = setting.ledger()
    for _ in range(20):
        with pytest.raises(ZeroDivisionError), ledger.hold("app"):
            raise ZeroDivisionError
    with ledger.hold("app"):
        pass


def test_two_threads_of_one_process_exclude_each_other(setting: Setting) -> None:
    ledger = setting.ledger()
    outcome: list[str] = []

    def attempt() -> None:
        try:
            with ledger.hold("app"):
                outcome.append("had")
        except Busy:
            outcome.append("busy")

    with ledger.hold("app"):
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    assert outcome == ["busy"]


def test_never_two_at_once_however_many_contend(setting: Setting, tmp_path: Path) -> None:
    """Each makes a folder only one can make, and removes it; a second holder would fail to make it."""
    place = tmp_path / "inside"
    program = f"""
for _ in range(15):
    with ledger.hold("app", wait_s=100):
        os.mkdir({str(place)!r}); time.sleep(0.002); os.rmdir({str(place)!r})
"""
    for child in [setting.child(program) for _ in range(6)]:
        must_succeed(child)


def test_a_holder_learns_that_the_lock_was_lost(setting: Setting) -> None:
    with setting.ledger().hold("app") as hold:
        assert hold.still_held()
        lose_lock(setting)
        assert not hold.still_held()
        with setting.ledger().hold("app") as other:
            assert other.still_held()
            assert not hold.still_held()
    with setting.ledger().hold("app"):
        pass


def test_a_late_release_does_not_take_the_lock_from_its_next_holder(setting: Setting) -> None:
    first = setting.ledger().hold("app")
    first.__enter__()
    lose_lock(setting)
    with setting.ledger().hold("app") as hold:
        first.__exit__(None, None, None)
        assert hold.still_held()
        with pytest.raises(Busy), setting.ledger().hold("app"):
            pass


def test_a_file_removed_between_open_and_lock_is_not_mistaken_for_the_lock(
    sqlite: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last holder removes the file; whoever had it open already must not think that he locked what others see."""
    flock = fcntl.flock
    removed: list[int] = []

    def remove_first(handle: int, operation: int) -> None:
        if not removed:
            removed.append(handle)
            lose_lock(sqlite)
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with sqlite.ledger().hold("app") as hold:
        assert removed
        assert hold.still_held()
        with pytest.raises(Busy), sqlite.ledger().hold("app"):
            pass


def test_a_lock_on_postgres_is_free_before_its_connection_closes(
    postgres: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server notices a close only some time after it, and who comes next would find the lock still held."""
    ledger = postgres.ledger()
    session = ledger.database.session()
    real_close = session.close
    counts: list[int] = []

    def count() -> None:
        (found,) = postgres.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        counts.append(found[0])

    def count_and_close() -> None:
        count()
        real_close()

    monkeypatch.setattr(session, "close", count_and_close)
    monkeypatch.setattr(ledger.database, "session", lambda: session)
    with ledger.hold("app"):
        count()
    assert counts == [1, 0]


def test_a_lock_in_another_database_of_the_server_is_not_ours(
    postgres: Setting, postgres_server: PostgresServer
) -> None:
    elsewhere = PostgresDatabase(postgres_server)
    with elsewhere.existing(), Ledger(url_of(elsewhere.endpoint())).hold("app"):
        assert postgres.ledger()._locks.held(["hold:app"]) == set()
        with postgres.ledger().hold("app"):
            assert postgres.ledger()._locks.held(["hold:app"]) == {"hold:app"}


def test_a_lock_that_cannot_be_asked_for_is_not_taken_for_granted(setting: Setting) -> None:
    setting.take_away()
    with pytest.raises(LedgerUnavailable), setting.ledger().hold("app"):
        pytest.fail("held a lock that isn't there")
    setting.bring_back()


def test_a_lock_on_postgres_survives_an_idle_session_timeout(postgres: Setting) -> None:
    database = make_url(postgres.url).database
    postgres.execute(f"ALTER DATABASE {database} SET idle_session_timeout = '300ms'")
    with postgres.ledger().hold("app") as hold:
        time.sleep(1)
        assert hold.still_held()


def test_a_lock_on_postgres_is_not_an_open_transaction(postgres: Setting) -> None:
    """One that stays open for hours would keep vacuum from cleaning anything."""
    with postgres.ledger().hold("app"):
        states = postgres.execute(
            "SELECT state, xact_start FROM pg_stat_activity WHERE application_name LIKE :me",
            me=f"process {os.getpid()} %",
        )
    assert states == [("idle", None)]


def test_keys_use_all_64_bits() -> None:
    keys = {lock_key(f"hold:{number}") for number in range(1000)}
    assert len(keys) == 1000
    assert min(keys) < -(2**62) and max(keys) > 2**62
    assert lock_key("hold:app") == 1594617275926471856, "a key is the same in every release"


def lose_lock(setting: Setting) -> None:
    """Cut the session that holds it; on SQLite remove the lock's file."""
    if setting.is_sqlite:
        for path in Path(f"{make_url(setting.url).database}.locks").iterdir():
            path.unlink()
    else:
        setting.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE :me",
            me=f"process {os.getpid()} %",
        )
