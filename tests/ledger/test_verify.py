"""Verification: whatever is done to the ledger behind its back is found, and named."""

from __future__ import annotations

import importlib
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, insert, update

from tests.ledger.setting import Setting, an_act
from upkeep.ledger import Chain, Head, Ledger, Row, Verification, verify
from upkeep.ledger.acts import GENESIS
from upkeep.ledger.tables import HEADS, ROWS

verify_module = importlib.import_module("upkeep.ledger.verify")  # the package's own ``verify`` is the function

SITE = "kindergarten"
OTHER = "chronoretrace"


@pytest.fixture
def ledger(setting: Setting) -> Ledger:
    """Three acts on each of two sites, six rows each; the guards are off, as an attacker would begin."""
    made = setting.ledger()
    for number in range(3):
        for site in (SITE, OTHER):
            with made.record(an_act(site=site, target=f"t{number}", approver="李园长")) as entry:
                entry.note(rows=number, bytes=2**33, checksum="sha256:1", title="备份")
    assert verify(made).clean
    setting.drop_guards()
    return made


def chains(verification: Verification) -> dict[str, Chain]:
    return {chain.site: chain for chain in verification.chains}


def found(ledger: Ledger, noted: Iterable[Head] = ()) -> list[tuple[int, str]]:
    """What is wrong with the one site; the other must be clean all the while."""
    verification = verify(ledger, noted=noted)
    assert chains(verification)[OTHER].problems == ()
    assert not verification.clean
    problems = chains(verification)[SITE].problems if SITE in chains(verification) else ()
    return [(problem.seq, problem.kind) for problem in problems]


def forge(setting: Setting, row: Row) -> Row:
    """Add a row behind Upkeep's back, with everything right: number, hashes and head."""
    head = setting.ledger().heads()[row.site]
    made = replace(row, seq=head.seq + 1, prev_hash=head.hash)
    made = replace(made, hash=made.digest())
    with create_engine(setting.url).begin() as connection:
        connection.execute(insert(ROWS), vars(made))
        connection.execute(update(HEADS).where(HEADS.c.site == row.site), {"seq": made.seq, "hash": made.hash})
    return made


# What is in order.


def test_an_untouched_ledger_is_clean(setting: Setting) -> None:
    ledger = setting.ledger()
    for site in (SITE, OTHER):
        with ledger.record(an_act(site=site)):
            pass
    verification = verify(ledger, noted=ledger.heads().values())
    assert verification.clean and verification.problems == ()
    assert [(chain.site, chain.count) for chain in verification.chains] == [(OTHER, 2), (SITE, 2)]
    assert chains(verification)[SITE].head == ledger.heads()[SITE]


def test_an_empty_ledger_is_clean(setting: Setting) -> None:
    assert verify(setting.ledger()) == Verification(())


def test_one_site_alone_can_be_verified(setting: Setting, ledger: Ledger) -> None:
    setting.execute(f"UPDATE upkeep_ledger SET actor = 'forged' WHERE site = '{SITE}' AND seq = 3")
    assert [chain.site for chain in verify(ledger, OTHER).chains] == [OTHER]
    assert verify(ledger, OTHER).chains[0].problems == ()
    assert len(verify(ledger, SITE).chains[0].problems) == 1


# Altered.


def test_a_change_in_any_column_of_any_row_is_found(setting: Setting, ledger: Ledger) -> None:
    rows = ledger.rows(SITE)
    for column in {column.name for column in ROWS.columns} - {"site", "seq"}:
        forged: Any = 999 if column in ("try_number", "rows", "bytes") else "forged"
        change = f"UPDATE upkeep_ledger SET {column} = :value WHERE site = '{SITE}' AND seq = :seq"
        for row in rows:
            setting.execute(change, value=forged, seq=row.seq)
            assert (row.seq, "altered") in found(ledger), column
            setting.execute(change, value=getattr(row, column), seq=row.seq)
    assert chains(verify(ledger))[SITE].problems == ()


@pytest.mark.parametrize("column", ["result", "rows", "bytes", "checksum", "detail"])
def test_a_value_that_was_removed_is_found(setting: Setting, ledger: Ledger, column: str) -> None:
    setting.execute(f"UPDATE upkeep_ledger SET {column} = NULL WHERE site = '{SITE}' AND seq = 4")
    assert found(ledger) == [(4, "altered")]


def test_the_smallest_change_is_found(setting: Setting, ledger: Ledger) -> None:
    setting.execute(f"UPDATE upkeep_ledger SET approver = '李园长 ' WHERE site = '{SITE}' AND seq = 4")
    assert found(ledger) == [(4, "altered")]


def test_an_altered_row_with_a_new_hash_no_longer_fits_the_next(setting: Setting, ledger: Ledger) -> None:
    row = replace(ledger.rows(SITE)[3], actor="forged")
    setting.execute(
        f"UPDATE upkeep_ledger SET actor = 'forged', hash = :hash WHERE site = '{SITE}' AND seq = 4", hash=row.digest()
    )
    assert found(ledger) == [(5, "unlinked")]


def test_an_altered_last_row_with_a_new_hash_no_longer_fits_the_head(setting: Setting, ledger: Ledger) -> None:
    row = replace(ledger.rows(SITE)[5], actor="forged")
    setting.execute(
        f"UPDATE upkeep_ledger SET actor = 'forged', hash = :hash WHERE site = '{SITE}' AND seq = 6", hash=row.digest()
    )
    assert found(ledger) == [(6, "head")]


def test_a_row_given_to_another_site_is_found_in_both(setting: Setting, ledger: Ledger) -> None:
    setting.execute(f"UPDATE upkeep_ledger SET site = 'third' WHERE site = '{SITE}' AND seq = 4")
    assert found(ledger) == [(4, "missing")]
    kinds = {problem.kind for problem in chains(verify(ledger))["third"].problems}
    assert kinds >= {"altered", "missing", "head", "unpaired"}


def test_a_row_given_another_number_is_found(setting: Setting, ledger: Ledger) -> None:
    setting.execute(f"UPDATE upkeep_ledger SET seq = 9 WHERE site = '{SITE}' AND seq = 4")
    assert {(4, "missing"), (7, "missing"), (9, "altered")} <= set(found(ledger))


@pytest.mark.parametrize(
    "change", ["actor = CAST(x'ff00fe' AS TEXT)", "actor = x'ff00fe'", "seq = 'four'", "rows = 'many'", "rows = 1.5"]
)
def test_what_sqlite_lets_a_forger_store_does_not_stop_the_verifier(sqlite: Setting, change: str) -> None:
    ledger = sqlite.ledger()
    for _ in range(3):
        with ledger.record(an_act()) as entry:
            entry.note(rows=1)
    sqlite.drop_guards()
    sqlite.execute(f"UPDATE upkeep_ledger SET {change} WHERE seq = 4")
    assert "altered" in {problem.kind for problem in verify(ledger).chains[0].problems}


def test_a_head_that_is_no_number_does_not_stop_the_verifier(sqlite: Setting) -> None:
    ledger = sqlite.ledger()
    with ledger.record(an_act()):
        pass
    sqlite.drop_guards()
    sqlite.execute("UPDATE upkeep_ledger_heads SET seq = 'two'")
    assert [(problem.seq, problem.kind) for problem in verify(ledger).chains[0].problems] == [(2, "head")]


# Missing.


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("seq = 1", [(1, "missing"), (2, "unpaired")]),
        ("seq IN (3, 4)", [(3, "missing")]),
        ("seq = 4", [(4, "missing")]),
        ("seq = 6", [(6, "truncated")]),
        ("seq >= 3", [(3, "truncated")]),
        ("seq > 0", [(1, "truncated")]),
    ],
)
def test_removed_rows_are_found(
    setting: Setting, ledger: Ledger, condition: str, expected: list[tuple[int, str]]
) -> None:
    setting.execute(f"DELETE FROM upkeep_ledger WHERE site = '{SITE}' AND {condition}")
    assert found(ledger) == expected


def test_a_problem_says_which_rows_it_is_about(setting: Setting, ledger: Ledger) -> None:
    setting.execute(f"DELETE FROM upkeep_ledger WHERE site = '{SITE}' AND seq IN (3, 4, 6)")
    texts = [problem.what for problem in chains(verify(ledger))[SITE].problems]
    assert texts == ["rows 3 to 4 are missing", "row 6 is missing: the head says 6"]


def test_a_removed_head_is_found(setting: Setting, ledger: Ledger) -> None:
    setting.execute(f"DELETE FROM upkeep_ledger_heads WHERE site = '{SITE}'")
    assert found(ledger) == [(6, "head")]


def test_a_head_set_back_is_found(setting: Setting, ledger: Ledger) -> None:
    setting.execute(f"UPDATE upkeep_ledger_heads SET seq = 4 WHERE site = '{SITE}'")
    assert found(ledger) == [(5, "head")]


# Reordered.


def test_two_rows_that_changed_places_are_named(setting: Setting, ledger: Ledger) -> None:
    for old, new in ((3, 100), (5, 3), (100, 5)):
        setting.execute(f"UPDATE upkeep_ledger SET seq = {new} WHERE site = '{SITE}' AND seq = {old}")
    assert {(3, "reordered"), (5, "reordered")} <= set(found(ledger))
    texts = [problem.what for problem in chains(verify(ledger))[SITE].problems if problem.kind == "reordered"]
    assert texts == ["row 3 holds what was row 5", "row 5 holds what was row 3"]


def test_two_rows_that_changed_places_with_new_hashes_are_found(setting: Setting, ledger: Ledger) -> None:
    rows = {row.seq: row for row in ledger.rows(SITE)}
    setting.execute(f"DELETE FROM upkeep_ledger WHERE site = '{SITE}' AND seq IN (3, 4)")
    with create_engine(setting.url).begin() as connection:
        for old, new in ((3, 4), (4, 3)):
            moved = replace(rows[old], seq=new)
            connection.execute(insert(ROWS), vars(replace(moved, hash=moved.digest())))
    assert {(3, "unlinked"), (4, "unlinked"), (5, "unlinked")} <= set(found(ledger))


# Forged.


def test_a_row_added_past_the_head_is_found(setting: Setting, ledger: Ledger) -> None:
    last = ledger.rows(SITE)[-1]
    made = replace(last, seq=7, prev_hash=last.hash, act_id=str(uuid4()), event="started")
    with create_engine(setting.url).begin() as connection:
        connection.execute(insert(ROWS), vars(replace(made, hash=made.digest())))
    assert found(ledger) == [(7, "head")]


def test_a_forged_row_in_a_gap_it_made_is_found(setting: Setting, ledger: Ledger) -> None:
    genuine = ledger.rows(SITE)[3]
    setting.execute(f"DELETE FROM upkeep_ledger WHERE site = '{SITE}' AND seq = 4")
    made = replace(genuine, result="failed")
    with create_engine(setting.url).begin() as connection:
        connection.execute(insert(ROWS), vars(replace(made, hash=made.digest())))
    assert found(ledger) == [(5, "unlinked")]


def test_a_second_row_with_the_same_number_is_found(setting: Setting, ledger: Ledger) -> None:
    genuine = ledger.rows(SITE)[3]
    setting.drop_keys()
    made = replace(genuine, act_id=str(uuid4()), event="started")
    with create_engine(setting.url).begin() as connection:
        connection.execute(insert(ROWS), vars(replace(made, hash=made.digest())))
    assert (4, "duplicated") in found(ledger)


def test_a_copied_row_is_found(setting: Setting, ledger: Ledger) -> None:
    setting.drop_keys()
    setting.execute(f"INSERT INTO upkeep_ledger SELECT * FROM upkeep_ledger WHERE site = '{SITE}' AND seq = 4")
    assert found(ledger) == [(4, "duplicated")]


def test_a_finish_without_a_start_is_found(setting: Setting, ledger: Ledger) -> None:
    forge(setting, replace(ledger.rows(SITE)[-1], act_id=str(uuid4())))
    assert found(ledger) == [(7, "unpaired")]


def test_a_finish_for_another_site_s_start_is_found(setting: Setting, ledger: Ledger) -> None:
    start = forge(setting, replace(ledger.rows(OTHER)[0], act_id=str(uuid4())))
    forge(setting, replace(ledger.rows(SITE)[-1], act_id=start.act_id))
    assert found(ledger) == [(7, "unpaired")]


def test_a_second_finish_is_found(setting: Setting, ledger: Ledger) -> None:
    genuine = ledger.rows(SITE)[-1]
    setting.drop_keys()
    forge(setting, replace(genuine, result="failed"))
    assert found(ledger) == [(7, "unpaired")]


# What only a noted head can show.


def recompute(setting: Setting, rows: list[Row]) -> None:
    """The perfect forger: every hash of the site anew, and the head."""
    setting.execute(f"DELETE FROM upkeep_ledger WHERE site = '{SITE}'")
    last = Head(SITE, 0, GENESIS)
    with create_engine(setting.url).begin() as connection:
        for row in rows:
            made = replace(row, seq=last.seq + 1, prev_hash=last.hash)
            made = replace(made, hash=made.digest())
            connection.execute(insert(ROWS), vars(made))
            last = Head(SITE, made.seq, made.hash)
        connection.execute(update(HEADS).where(HEADS.c.site == SITE), {"seq": last.seq, "hash": last.hash})


def test_a_chain_computed_anew_is_found_by_a_noted_head(setting: Setting, ledger: Ledger) -> None:
    noted = ledger.heads()[SITE]
    rows = ledger.rows(SITE)
    recompute(setting, [replace(rows[0], actor="forged"), *rows[1:]])
    assert found(ledger) == [], "by itself it looks right"
    assert found(ledger, [noted]) == [(6, "rewritten")]


def test_a_tail_cut_off_together_with_its_head_is_found_by_a_noted_head(setting: Setting, ledger: Ledger) -> None:
    noted = ledger.heads()[SITE]
    recompute(setting, ledger.rows(SITE)[:4])
    assert found(ledger, [noted]) == [(5, "truncated")]


def test_a_site_removed_without_a_trace_is_found_by_a_noted_head(setting: Setting, ledger: Ledger) -> None:
    noted = ledger.heads()[SITE]
    setting.execute(f"DELETE FROM upkeep_ledger WHERE site = '{SITE}'")
    setting.execute(f"DELETE FROM upkeep_ledger_heads WHERE site = '{SITE}'")
    assert found(ledger) == []
    assert found(ledger, [noted]) == [(1, "truncated")]


def test_an_old_noted_head_still_fits_after_more_rows(setting: Setting) -> None:
    ledger = setting.ledger()
    noted = []
    for _ in range(3):
        with ledger.record(an_act()):
            pass
        noted.append(ledger.heads()[SITE])
    assert verify(ledger, noted=noted).clean


# The guards.


def test_missing_guards_are_named(setting: Setting, ledger: Ledger) -> None:
    verification = verify(ledger)
    assert {problem.kind for problem in verification.problems} == {"unguarded"}
    assert len(verification.guards) == (6 if setting.is_sqlite else 3)
    assert verification.guards[0].what.startswith("trigger upkeep_ledger_")


# Page by page.


@pytest.mark.parametrize("page", [1, 2, 4])
def test_pages_meet_without_a_gap(setting: Setting, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(verify_module, "PAGE", page)
    assert [chain.count for chain in verify(ledger).chains] == [6, 6]
    setting.execute(f"DELETE FROM upkeep_ledger WHERE site = '{SITE}' AND seq IN (2, 3, 4)")
    assert found(ledger) == [(2, "missing")]
    setting.execute(f"UPDATE upkeep_ledger SET seq = {2**63 - 1} WHERE site = '{SITE}' AND seq = 6")
    setting.execute(f"UPDATE upkeep_ledger SET seq = -7 WHERE site = '{SITE}' AND seq = 1")
    assert {(-7, "altered"), (1, "missing"), (2**63 - 1, "altered")} <= set(found(ledger))


def test_rows_added_meanwhile_are_left_for_the_next_time(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = setting.ledger()
    for _ in range(2):
        with ledger.record(an_act()):
            pass
    read = verify_module._rows

    def append_then_read(*args: Any) -> Any:
        with setting.ledger().record(an_act()):
            pass
        return read(*args)

    monkeypatch.setattr(verify_module, "_rows", append_then_read)
    verification = verify(ledger)
    assert verification.clean
    assert verification.chains[0].count == 4


# The verdict.


def test_a_ruined_ledger_is_summed_up(setting: Setting, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "MOST_PROBLEMS", 2)
    setting.execute(f"UPDATE upkeep_ledger SET actor = 'forged' WHERE site = '{SITE}'")
    problems = chains(verify(ledger))[SITE].problems
    assert [(problem.seq, problem.kind) for problem in problems] == [(1, "altered"), (2, "altered"), (0, "more")]
    assert problems[-1].what == "and 4 more problems that aren't listed"


def test_memory_does_not_grow_with_the_ledger(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "PAGE", 500)
    ledger = setting.ledger()
    with ledger.record(an_act()):
        pass

    def grow(rows: int) -> None:
        head = ledger.heads()[SITE]
        start = ledger.rows(SITE, limit=1)[0]
        made = []
        for _ in range(rows):
            row = replace(start, seq=head.seq + 1, prev_hash=head.hash, act_id=str(uuid4()))
            row = replace(row, hash=row.digest())
            head = Head(SITE, row.seq, row.hash)
            made.append(vars(row))
        with create_engine(setting.url).begin() as connection:
            connection.execute(insert(ROWS), made)
        setting.execute(f"UPDATE upkeep_ledger_heads SET seq = {head.seq}, hash = '{head.hash}' WHERE site = '{SITE}'")

    def peak() -> int:
        tracemalloc.start()
        try:
            assert verify(ledger).chains[0].problems == ()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    setting.drop_guards()
    grow(1_500)
    small = peak()
    grow(6_000)
    assert peak() < 1.5 * small
