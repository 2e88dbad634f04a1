"""Which backup a restore by hand takes, and what its copies are called."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from upkeep.domain.backup import new_backup_id, taken_at
from upkeep.domain.proof import ProofLevel
from upkeep.domain.proving import is_foreign, is_scratch_of
from upkeep.domain.restoring import (
    Destination,
    RestoreRequest,
    TableLoss,
    choose_backup,
    held_name,
    moment_of,
    replaced_name,
    restored_name,
    tables_name,
)
from upkeep.domain.retention import Candidate
from upkeep.errors import ObjectMissing, ProofFailed, RestoreRefused

ID = "20261121T020003Z-0a1b"


def backup(day: int, level: ProofLevel = ProofLevel.STRUCTURE, *, failed: bool = False) -> Candidate:
    backup_id = new_backup_id(datetime(2026, 11, day, 2, tzinfo=UTC))
    return Candidate("shop", "app", backup_id, taken_at(backup_id), level, failed, 1000)


def chosen(backups: list[Candidate], *, backup_id: str | None = None, before: datetime | None = None) -> int:
    wanted = RestoreRequest("app", backup_id=backup_id, before=before)
    return choose_backup(backups, wanted, where="the store", counts_from=ProofLevel.STRUCTURE).taken_at.day


def test_the_newest_proven_one_is_taken_or_the_newest_before_a_moment() -> None:
    backups = [backup(5, ProofLevel.STORED), backup(4, failed=True), backup(3), backup(1), backup(2)]
    assert chosen(backups) == 3
    assert chosen(backups, before=datetime(2026, 11, 3, 1, tzinfo=UTC)) == 2
    assert chosen(backups, before=datetime(2026, 11, 3, 2, tzinfo=UTC)) == 3, "one of that very moment counts"
    assert chosen(backups, backup_id=backups[0].backup_id) == 5, "whoever names one may have it unproven"


@pytest.mark.parametrize(
    ("text", "hour"), [("2026-11-21T18:30", 10), ("2026-11-21 18:30+00:00", 18), ("2026-11-21T18:30:00Z", 18)]
)
def test_a_moment_without_a_zone_is_one_of_the_sites(text: str, hour: int) -> None:
    assert moment_of(text, "Asia/Shanghai") == datetime(2026, 11, 21, hour, 30, tzinfo=UTC)


def test_what_is_damaged_or_missing_is_refused_and_the_hint_names_others() -> None:
    backups = [backup(1), backup(2, failed=True)]
    with pytest.raises(ProofFailed, match="is damaged"):
        chosen(backups, backup_id=backups[1].backup_id)
    with pytest.raises(ObjectMissing) as missing:
        chosen(backups, before=datetime(2026, 10, 1, tzinfo=UTC))
    assert backups[0].backup_id in missing.value.hint
    with pytest.raises(ObjectMissing, match="not proven"):
        chosen([backup(1, ProofLevel.CHECKSUM)])


@pytest.mark.parametrize(
    ("destination", "tables", "says"),
    [
        ("over", ("orders",), "over takes all of app, and tables are named: orders"),
        ("beside", ("orders", "lines"), "beside takes all of app, and tables are named: orders, lines"),
        ("rows", (), "no table of app is named"),
        ("tables", (), "no table of app is named"),
    ],
)
def test_single_tables_are_named_where_they_are_meant_and_nowhere_else(
    destination: Destination, tables: tuple[str, ...], says: str
) -> None:
    """Whoever names a table and forgets to say so must not get all of the database put over the live one."""
    with pytest.raises(RestoreRefused, match=says):
        RestoreRequest("app", destination, tables=tables)


@pytest.mark.parametrize("database", ["app", "a" * 63, "学" * 21, "名" * 20 + "xyz"])
def test_names_say_when_and_fit_into_what_postgresql_keeps(database: str) -> None:
    at = datetime(2026, 11, 22, 3, 15, tzinfo=UTC)
    names = {restored_name(database, ID), tables_name(database, ID, "ab12"), replaced_name(database, at)}
    assert len(names) == 3
    assert all(len(name.encode()) <= 63 for name in names)
    assert restored_name(database, ID).endswith("_restored_20261121_020003_0a1b")
    assert restored_name(database, ID) != restored_name(database + "x", ID)


def test_a_copy_by_hand_on_a_scratch_server_is_upkeeps_own_but_no_proofs() -> None:
    name = held_name("app", ID)
    assert not is_foreign(name)
    assert not is_scratch_of(name, "restored", "app")
    assert not is_scratch_of(name, "shop", "app")


def test_a_table_that_only_grew_newer_matters_and_one_that_is_alike_does_not() -> None:
    assert not TableLoss("t", 5, 5).matters
    assert TableLoss("t", 5, 5, newest="2026-11-22 00:00:00Z", column="created_at", is_newer=True).matters
    assert str(TableLoss("t", None, 3)) == "t: none in the backup, 3 rows live; made since: not in the backup"
    assert "about 7,000 rows live" in str(TableLoss("t", 5, 7000, exact=False))
