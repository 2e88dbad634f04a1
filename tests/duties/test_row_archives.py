"""Rows that are archived before they go: nothing goes that isn't held, nothing comes back twice, whatever is killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.duties.purging import Purging, small_steps
from tests.duties.test_purge_rows import at_call, left, make_logs, old, ready
from tests.engines.restoring import stock_programs
from tests.faults.scene import Moment
from tests.servers.databases import AnyDatabase, MySqlDatabase, PostgresDatabase, is_mysql
from tests.servers.oss_server import OssServer
from upkeep.domain.manifest import NAME as MANIFEST
from upkeep.domain.row_archive import ENDED
from upkeep.duties.purge_rows import purge_rows
from upkeep.duties.restore_rows import restore_rows
from upkeep.duties.until import Until
from upkeep.errors import (
    ManifestBroken,
    ObjectDamaged,
    ObjectMissing,
    PurgeRefused,
    SourceError,
    StoreError,
    StoreUnreachable,
)
from upkeep.stores.local_store import LocalStore
from upkeep.stores.oss_store import OssStore

RULE = {"table": "logs", "column": "created_at", "keep_days": 30, "archive": True}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    small_steps(monkeypatch.setattr)


def contents(database: AnyDatabase, table: str = "logs") -> list[tuple[Any, ...]]:
    return database.query(f"SELECT * FROM {table} ORDER BY 1")


def restore(purging: Purging, archives: Any = "all", **options: Any) -> dict[str, Any]:
    return restore_rows(purging.job("restore"), "app", "logs", archives, **options)


# The archive


def test_what_goes_is_in_the_archive_and_comes_back_as_it_was(
    tmp_path: Path, database: AnyDatabase, steps: None
) -> None:
    make_logs(database, *[old(n) for n in range(1, 251)], "2026-11-01", None)
    before = contents(database)
    purging = ready(tmp_path, database, RULE)
    result = purging.purge()
    assert (result["deleted"], result["archived_rows"], result["archives"]) == (250, 250, 3)
    assert left(database) == [251, 252]
    assert Counter(line["id"] for line in purging.lines()) == Counter(str(n) for n in range(1, 251))
    assert restore(purging)["restored"] == 250
    assert contents(database) == before


def test_a_manifest_says_what_an_auditor_asks(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(3), old(2), old(1))
    purging = ready(tmp_path, database, RULE)
    purging.purge()
    (archive,) = purging.archives().committed()[0]
    assert (archive.rows, archive.first, archive.last) == (3, ("1",), ("3",))
    assert archive.column_names == ["id", "created_at", "body"]
    assert archive.rule["cut_off"] == "2026-10-23T00:00:00+08:00"
    assert archive.run["actor"] == "tester"
    assert archive.prefix == f"shop/app/rows-logs/{archive.archive_id}/"
    assert [file.name for file in archive.files] == ["part-00001.jsonl.zst"]
    assert list(json.loads(purging.store.get(archive.prefix + MANIFEST)))[-1] == "restore"


def test_an_archive_is_closed_when_it_is_large_and_the_next_goes_on_behind_it(
    tmp_path: Path, database: AnyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upkeep.duties.purge_rows.CHUNK_BYTES", 5_000)
    monkeypatch.setattr("upkeep.duties.purge_rows.PORTION_BYTES", 5_000)
    make_logs(database, *["2026-01-01"] * 300, *[old(n) for n in range(1, 301)], "2026-11-01")
    purging = ready(tmp_path, database, RULE)
    result = purging.purge()
    assert (result["deleted"], result["archived_rows"]) == (600, 600)
    assert result["archives"] >= 4
    assert Counter(line["id"] for line in purging.lines()) == Counter(str(n) for n in range(1, 601))


def test_no_row_means_no_archive(tmp_path: Path, one_of_each: AnyDatabase) -> None:
    make_logs(one_of_each, "2026-11-01")
    purging = ready(tmp_path, one_of_each, RULE)
    purging.purge()
    assert not list(purging.store.list("shop/app/rows-logs/"))


def test_a_row_that_changed_after_it_was_archived_stays(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(3), old(2), old(1))
    purging = ready(tmp_path, database, RULE)
    change = at_call(2, lambda: database.execute("UPDATE logs SET body = 'new' WHERE id = 2"))
    result = purging.purge(until=Until(told_to_stop=change))
    assert (result["deleted"], result["left_changed"]) == (2, 1)
    assert left(database) == [2]
    assert purging.purge()["deleted"] == 1
    assert [line["body"] for line in purging.lines() if line["id"] == "2"] == ["row 2", "new"]
    assert restore(purging)["passed_over"] == 1
    assert [row[2] for row in contents(database)] == ["row 1", "new", "row 3"]


@pytest.mark.parametrize(
    "keeper",
    [
        "CREATE TRIGGER keep BEFORE DELETE ON logs FOR EACH ROW WHEN (OLD.id > 1) EXECUTE FUNCTION keep()",
        "CREATE RULE keep AS ON DELETE TO logs WHERE OLD.id > 1 DO INSTEAD NOTHING",
    ],
    ids=["trigger", "rule"],
)
def test_rows_that_the_server_keeps_are_an_error_and_not_archived_night_after_night(
    tmp_path: Path, postgres_database: PostgresDatabase, keeper: str
) -> None:
    make_logs(postgres_database, old(3), old(2), old(1))
    postgres_database.execute("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$")
    postgres_database.execute(keeper)
    purging = ready(tmp_path, postgres_database, RULE)
    for _ in range(2):
        with pytest.raises(SourceError, match=r"2 of 3 archived rows of public.logs were not deleted: a trigger"):
            purging.purge()
    assert left(postgres_database) == [1, 2, 3]
    assert len(purging.archives().committed()[0]) == 1


def test_a_store_that_fails_costs_no_row(tmp_path: Path, one_of_each: AnyDatabase) -> None:
    make_logs(one_of_each, old(1))
    purging = ready(tmp_path, one_of_each, RULE)
    (tmp_path / "store" / "shop" / "app" / "rows-logs").write_text("a file where a folder belongs")
    with pytest.raises(StoreError, match="refused"):
        purging.purge()
    assert left(one_of_each) == [1]
    assert [act.state for act in purging.acts()] == ["failed"]


def test_an_archive_that_reads_back_wrong_costs_no_row(
    tmp_path: Path, one_of_each: AnyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_logs(one_of_each, old(1))
    purging = ready(tmp_path, one_of_each, RULE)
    plain = LocalStore.read
    monkeypatch.setattr(LocalStore, "read", lambda self, key: iter([b"rot"]) if "part-" in key else plain(self, key))
    with pytest.raises(ObjectDamaged, match="reads back"):
        purging.purge()
    assert left(one_of_each) == [1]
    monkeypatch.undo()
    assert purging.lines() == []


def test_two_tables_keep_their_archives_apart(tmp_path: Path, mariadb_database: MySqlDatabase) -> None:
    for table in ("logs", "logs_2"):
        make_logs(mariadb_database, old(1), table=table)
    purging = ready(tmp_path, mariadb_database, RULE, {**RULE, "table": "logs_2"})
    purging.purge(0)
    assert left(mariadb_database, "logs_2") == [1]
    assert purging.lines("logs_2") == []


# Kills

KILLS = [
    Moment("writing", "part-00001", 1),
    Moment("wrote", "part-00001"),
    Moment("wrote", MANIFEST),
    Moment("deleted", "", 1),
    Moment("committed", "", 1),
    Moment("deleted", "", 2),
    Moment("committed", "", 3),
    Moment("wrote", ENDED),
    Moment("committed", "", 4),
    Moment("deleted", "", 7),
]
"""Archives hold 100 rows, batches 40: batches 1 to 3 are of the first archive, 4 to 6 of the second."""


@pytest.mark.parametrize("moment", KILLS, ids=lambda moment: f"{moment.operation}-{moment.match}-{moment.after}")
def test_killed_at_any_moment_no_row_is_lost_and_none_comes_back_twice(
    tmp_path: Path, one_of_each: AnyDatabase, steps: None, moment: Moment
) -> None:
    make_logs(one_of_each, *[old(n) for n in range(1, 251)], "2026-11-01")
    before = contents(one_of_each)
    purging = ready(tmp_path, one_of_each, RULE)
    purging.killed(moment)
    held = {line["id"] for line in purging.lines()}
    gone = {str(n) for n in range(1, 251)} - {str(n) for n in left(one_of_each)}
    assert gone <= held, "a row went that no committed archive holds"
    purging.purge()
    assert left(one_of_each) == [251]
    assert Counter(line["id"] for line in purging.lines()) == Counter(str(n) for n in range(1, 251))
    assert list(purging.store.sweep("shop/")) == []
    restored = restore(purging)
    assert (restored["restored"], restored["there_already"]) == (250, 0)
    assert contents(one_of_each) == before
    assert restore(purging)["restored"] == 0
    purging.require_clean_ledger()


def test_a_kill_on_mysql_itself_is_as_harmless(tmp_path: Path, mysql_database: MySqlDatabase, steps: None) -> None:
    make_logs(mysql_database, *[old(n) for n in range(1, 121)])
    before = contents(mysql_database)
    purging = ready(tmp_path, mysql_database, RULE)
    for moment in (Moment("committed", "", 1), Moment("deleted", "", 1), Moment("wrote", ENDED)):
        purging.killed(moment)
    purging.purge()
    assert left(mysql_database) == []
    restore(purging)
    assert contents(mysql_database) == before
    assert sum(archive.rows for archive in purging.archives().committed()[0]) == 120


@pytest.mark.parametrize("moment", [Moment("deleted", "", 2), Moment("committed", "", 2)], ids=["before", "after"])
def test_a_plain_purge_killed_around_a_commit_goes_on_where_it_was(
    tmp_path: Path, database: AnyDatabase, steps: None, moment: Moment
) -> None:
    make_logs(database, *[old(n) for n in range(1, 201)], "2026-11-01")
    purging = ready(tmp_path, database, {**RULE, "archive": False})
    purging.killed(moment)
    assert len(left(database)) == 201 - (40 if moment.operation == "deleted" else 80)
    assert [act.state for act in purging.acts()] == ["died"]
    purging.purge()
    assert left(database) == [201]


def test_a_row_that_changed_between_a_kill_and_the_next_run_is_restored_as_it_last_was(
    tmp_path: Path, database: AnyDatabase, steps: None
) -> None:
    make_logs(database, *[old(n) for n in range(1, 101)])
    purging = ready(tmp_path, database, RULE)
    purging.killed(Moment("wrote", MANIFEST))
    database.execute("UPDATE logs SET body = 'last words' WHERE id = 50")
    database.execute("UPDATE logs SET created_at = '2026-11-20' WHERE id = 51")
    purging.purge()
    assert left(database) == [51]
    restore(purging)
    assert [row[2] for row in contents(database) if row[0] == 50] == ["last words"]
    assert len(contents(database)) == 100


def test_a_rule_that_keeps_more_than_last_night_spares_what_was_archived_then(
    tmp_path: Path, one_of_each: AnyDatabase, steps: None
) -> None:
    make_logs(one_of_each, "2020-01-01", old(1))
    purging = ready(tmp_path, one_of_each, RULE)
    purging.killed(Moment("wrote", MANIFEST))
    purging.rules[0]["keep_days"] = 400
    purging.purge()
    assert left(one_of_each) == [2]


def test_an_archive_that_rots_before_its_rows_are_deleted_keeps_them(
    tmp_path: Path, one_of_each: AnyDatabase, steps: None
) -> None:
    make_logs(one_of_each, *[old(n) for n in range(1, 101)])
    purging = ready(tmp_path, one_of_each, RULE)
    purging.killed(Moment("wrote", MANIFEST))
    (part,) = (tmp_path / "store").rglob("part-*")
    part.write_bytes(part.read_bytes()[:-9] + b"rot")
    with pytest.raises(ObjectDamaged, match="can't be relied on"):
        purging.purge()
    assert len(left(one_of_each)) == 100


def test_columns_that_changed_between_a_kill_and_the_next_run_are_archived_anew(
    tmp_path: Path, database: AnyDatabase, steps: None
) -> None:
    make_logs(database, *[old(n) for n in range(1, 51)])
    purging = ready(tmp_path, database, RULE)
    purging.killed(Moment("committed", "", 1))
    database.execute("ALTER TABLE logs ADD COLUMN extra varchar(10) DEFAULT 'x'")
    assert purging.purge()["deleted"] == 10
    assert restore(purging)["restored"] == 50
    assert left(database) == list(range(1, 51))


# Encryption


@pytest.fixture
def age_key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The public key; the private one is behind the connection ``archive_key``."""
    made = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True)
    secret = next(line for line in made.stdout.splitlines() if line.startswith("AGE-SECRET-KEY"))
    monkeypatch.setenv("AIRFLOW_CONN_ARCHIVE_KEY", json.dumps({"conn_type": "generic", "password": secret}))
    return next(line for line in made.stdout.splitlines() if "public key" in line).split()[-1]


def test_an_encrypted_archive_is_finished_and_restored_with_the_private_key(
    tmp_path: Path, one_of_each: AnyDatabase, steps: None, age_key: str
) -> None:
    make_logs(one_of_each, *[old(n) for n in range(1, 101)])
    before = contents(one_of_each)
    encryption = {"recipients": [age_key], "identity_conn_id": "archive_key"}
    purging = ready(tmp_path, one_of_each, RULE, encryption=encryption)
    purging.killed(Moment("committed", "", 1))
    purging.purge()
    (archive,) = purging.archives().committed()[0]
    assert archive.files[0].name == "part-00001.jsonl.zst.age"
    restore(purging)
    assert contents(one_of_each) == before


def test_without_the_private_key_rows_of_a_killed_run_are_archived_again_and_still_come_back_once(
    tmp_path: Path, one_of_each: AnyDatabase, steps: None, age_key: str
) -> None:
    make_logs(one_of_each, *[old(n) for n in range(1, 101)])
    before = contents(one_of_each)
    hidden = {"encryption": {"recipients": [age_key]}, "retention": {"daily": 2, "counts_from": "checksum"}}
    purging = ready(tmp_path, one_of_each, RULE, **hidden)
    purging.killed(Moment("committed", "", 1))
    assert purging.purge()["archived_rows"] == 60
    assert left(one_of_each) == []
    purging.settings["encryption"] = {"recipients": [age_key], "identity_conn_id": "archive_key"}
    assert restore(purging)["restored"] == 100
    assert contents(one_of_each) == before


# Restoring


def test_one_archive_can_be_restored_by_itself(tmp_path: Path, one_of_each: AnyDatabase, steps: None) -> None:
    make_logs(one_of_each, *[old(n) for n in range(150, 0, -1)])
    purging = ready(tmp_path, one_of_each, RULE)
    purging.purge()
    first = purging.archives().committed()[0][0]
    assert restore(purging, [first.archive_id])["restored"] == 100
    assert left(one_of_each) == list(range(1, 101))
    (act,) = purging.acts("restore_rows")
    assert act.finished is not None
    assert act.finished.rows == 100


def test_rows_can_be_restored_into_a_copy(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(2), old(1))
    before = contents(database)
    purging = ready(tmp_path, database, RULE)
    purging.purge()
    with pytest.raises(PurgeRefused, match="no table 'copy' to restore into"):
        restore(purging, into_table="copy")
    database.execute(
        "CREATE TABLE copy LIKE logs" if is_mysql(database) else "CREATE TABLE copy (LIKE logs INCLUDING ALL)"
    )
    assert restore(purging, into_table="copy", dry_run=True)["restored"] == 0
    assert contents(database, "copy") == []
    assert restore(purging, into_table="copy")["restored"] == 2
    assert contents(database, "copy") == before
    assert left(database) == []


def test_a_row_that_is_there_stays_as_it_is(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(2), old(1))
    purging = ready(tmp_path, database, RULE)
    purging.purge()
    database.execute("INSERT INTO logs VALUES (1, '2026-11-20', 'somebody else')")
    assert restore(purging)["there_already"] == 1
    assert [row[2] for row in contents(database)] == ["somebody else", "row 2"]


def test_an_unknown_archive_is_named(tmp_path: Path, mariadb_database: MySqlDatabase) -> None:
    make_logs(mariadb_database, old(1))
    purging = ready(tmp_path, mariadb_database, RULE)
    purging.purge()
    with pytest.raises(ObjectMissing, match="20200101T000000Z-0000"):
        restore(purging, ["20200101T000000Z-0000"])


def test_a_damaged_archive_restores_nothing(tmp_path: Path, one_of_each: AnyDatabase) -> None:
    make_logs(one_of_each, *[old(n) for n in range(1, 51)])
    purging = ready(tmp_path, one_of_each, RULE)
    purging.purge()
    (part,) = (tmp_path / "store").rglob("part-*")
    data = part.read_bytes()
    part.write_bytes(data[: len(data) // 2])
    with pytest.raises(ObjectDamaged):
        restore(purging)
    assert left(one_of_each) == []


def test_an_edited_manifest_is_not_trusted(tmp_path: Path, mariadb_database: MySqlDatabase) -> None:
    make_logs(mariadb_database, old(1))
    purging = ready(tmp_path, mariadb_database, RULE)
    purging.purge()
    (manifest,) = (tmp_path / "store" / "shop" / "app" / "rows-logs").rglob(MANIFEST)
    manifest.write_text(manifest.read_text().replace('"rows": 1', '"rows": 2'))
    with pytest.raises(ManifestBroken, match="doesn't match its seal"):
        restore(purging)


def test_a_table_that_lost_a_column_is_not_restored_into(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(1))
    purging = ready(tmp_path, database, RULE)
    purging.purge()
    database.execute("ALTER TABLE logs DROP COLUMN body")
    with pytest.raises(PurgeRefused, match=r"columns body of archive .* don't fit table"):
        restore(purging)


# Every type, exactly

MYSQL_TYPES = {
    "tiny": ("tinyint", [-128, 127]),
    "huge": ("bigint unsigned", [18_446_744_073_709_551_615, 9_007_199_254_740_993]),
    "money": ("decimal(65,30)", ["-0.000000000000000000000000000001", "12345678901234567890123456789012345.123"]),
    "small": ("float", [0.1, 16_777_216.0]),
    "wide": ("double", [0.1, 1.7976931348623157e308]),
    "bits": ("bit(64)", [b"\xff" * 8, b"\x00" * 7 + b"\x05"]),
    "day": ("date", ["1000-01-01", "9999-12-31"]),
    "clock": ("datetime(6)", ["2026-03-29 02:30:00.123456", "0001-01-01 00:00:00.000001"]),
    "stamp": ("timestamp(6) NULL", ["2026-10-25 00:30:00.654321", "2026-10-25 01:30:00.000001"]),
    "span": ("time(6)", ["-838:59:59.000000", "23:59:59.999999"]),
    "yr": ("year", ["1901", "2155"]),
    "fixed": ("char(10)", ["a", "天"]),
    "words": ("varchar(100)", ['it\'s \\ "quoted"\n\t\r\x00 end ', "👩‍🔬 𠮷 \u2028"]),
    "latin": ("varchar(20) CHARACTER SET latin1", ["é", "ÿ"]),
    "essay": ("longtext", ["x" * 70_000, ""]),
    "raw": ("varbinary(300)", [bytes(range(256)), b""]),
    "padded": ("binary(4)", [b"\x00\x01\x00\x00", b"'\\\n\xff"]),
    "blobs": ("longblob", [b"\xff\xfe" * 40_000, b"\x00"]),
    "choice": ("enum('a','it''s','天')", ["it's", "天"]),
    "several": ("set('x','y','z')", ["x,z", ""]),
    "document": ("json", ['{"a": [1, 2.50, null], "天": "\\u0000"}', "[]"]),
    "place": ("point", [b"", b""]),
}

POSTGRES_TYPES = {
    "huge": ("numeric", ["18446744073709551615.000000000000000000001", "NaN"]),
    "small": ("real", [0.1, 16_777_217.0]),
    "wide": ("double precision", [0.1, "-Infinity"]),
    "yes": ("boolean", [True, False]),
    "day": ("date", ["0044-03-15 BC", "infinity"]),
    "clock": ("timestamp(6)", ["2026-03-29 02:30:00.123456", "294276-12-31 23:59:59.999999"]),
    "stamp": ("timestamptz", ["2026-10-25 02:30:00.654321+02", "2026-10-25 02:30:00.654321+01"]),
    "hour": ("timetz", ["23:59:59.999999+05:30", "00:00:00+00"]),
    "span": ("interval", ["-1 year 2 mons -3 days 04:05:06.789012", "1 day"]),
    "fixed": ("char(10)", ["a  ", "天"]),
    "words": ("text", ['it\'s \\ "quoted"\n\t\r end ', "👩‍🔬 𠮷 \u2028 \x01\x02"]),
    "raw": ("bytea", [bytes(range(256)), b""]),
    "document": ("json", ['{"b": 1,  "a": 1.50, "a": null}', "[]"]),
    "indexed": ("jsonb", ['{"a": [1, 2.50], "天": "\\u4e2d"}', "null"]),
    "many": ("text[]", [["a,b", 'c"d', "", "NULL", "天"], []]),
    "grid": ("int[][]", [[[1, 2], [3, 4]], []]),
    "dates": ("timestamptz[]", [["2026-01-01 00:00+00", None], []]),
    "bits": ("bit varying", ["10110", ""]),
    "token": ("uuid", ["00000000-0000-0000-0000-000000000001"] * 2),
    "net": ("inet", ["10.0.0.1/8", "::1"]),
    "reach": ("tstzrange", ["[2026-01-01 00:00+00,)", "empty"]),
    "sum": ("money", ["-1234.56", "0"]),
    "spot": ("point", ["(0.1,-2e300)", "(0,0)"]),
    "mood": ("mood", ["it's", "so % so"]),
    "mail": ("address", ["a@b", "c@d"]),
    "pair": ("pair", ['(1,"a,""b\\\\")', "(,)"]),
    "search": ("tsvector", ["'a':1 'it''s':2", ""]),
    "tree": ("xml", ["<a b='c'>天</a>", "text"]),
}


def make_types(database: AnyDatabase, types: Mapping[str, tuple[str, Any]]) -> None:
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in types.items())
    generated = (
        "twice bigint AS (id * 2) STORED" if is_mysql(database) else "twice bigint GENERATED ALWAYS AS (id * 2) STORED"
    )
    number = "id bigint AUTO_INCREMENT" if is_mysql(database) else "id bigint GENERATED ALWAYS AS IDENTITY"
    base = "id bigint" if is_mysql(database) else number
    database.execute(f"CREATE TABLE logs ({base} PRIMARY KEY, created_at date, {generated}, {columns})")
    database.execute("CREATE INDEX by_date ON logs (created_at)")
    for row in range(3):
        values = [None if row == 2 else samples[row] for _, samples in types.values()]
        names = ", ".join(types)
        marks = ", ".join(
            "ST_GeomFromText('POINT(0.1 -2)')" if kind == "point" and is_mysql(database) and row < 2
            else f"%s::{kind.replace('%', '%%')}" if not is_mysql(database)
            else "%s"
            for kind, _ in types.values()
        )  # fmt: skip
        if is_mysql(database) and row < 2:
            values = [value for (kind, _), value in zip(types.values(), values, strict=True) if kind != "point"]
        first = f"({row}, '2026-01-01'" if is_mysql(database) else "('2026-01-01'"
        head = "id, created_at" if is_mysql(database) else "created_at"
        with database.connect() as connection, connection.cursor() as cursor:
            if is_mysql(database):
                cursor.execute("SET time_zone = '+00:00', sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
            cursor.execute(f"INSERT INTO logs ({head}, {names}) VALUES {first}, {marks})", values)


def exactly(database: AnyDatabase, types: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Every value in a form that shows every bit of it."""
    if is_mysql(database):
        shown = ", ".join(f"{name} + 0e0" if types[name][0] == "float" else f"HEX({name})" for name in types)
        shown += ", money, wide, `document`"
    else:
        shown = ", ".join(f"{name}::text, pg_column_size({name}) > 0" for name in types)
    return database.query(f"SELECT id, created_at, twice, {shown} FROM logs ORDER BY id")


@pytest.fixture
def typed(database: AnyDatabase) -> dict[str, Any]:
    if is_mysql(database):
        make_types(database, MYSQL_TYPES)
        return MYSQL_TYPES
    database.execute("CREATE TYPE mood AS ENUM ('it''s', 'so % so')")
    database.execute("CREATE DOMAIN address AS text CHECK (VALUE LIKE '%@%')")
    database.execute("CREATE TYPE pair AS (number int, word text)")
    make_types(database, POSTGRES_TYPES)
    return POSTGRES_TYPES


def test_every_type_comes_back_bit_for_bit(tmp_path: Path, database: AnyDatabase, typed: dict[str, Any]) -> None:
    before = exactly(database, typed)
    purging = ready(tmp_path, database, RULE)
    assert purging.purge()["deleted"] == 3
    assert exactly(database, typed) == []
    result = restore(purging)
    assert (result["restored"], result["differing"]) == (3, 0)
    assert exactly(database, typed) == before


def test_the_manifests_own_line_restores_with_stock_tools(
    tmp_path: Path, database: AnyDatabase, typed: dict[str, Any]
) -> None:
    before = exactly(database, typed)
    purging = ready(tmp_path, database, RULE)
    purging.purge()
    run_line(purging, database)
    assert exactly(database, typed) == before
    run_line(purging, database)
    assert exactly(database, typed) == before


def test_the_manifests_own_line_fails_on_half_a_file(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, *[old(n) for n in range(1, 20_001)])
    purging = ready(tmp_path, database, RULE)
    purging.purge()
    (part,) = (tmp_path / "store").rglob("part-*")
    data = part.read_bytes()
    part.write_bytes(data[: len(data) - 40])
    with pytest.raises(subprocess.CalledProcessError):
        run_line(purging, database)


def test_the_manifests_own_line_fails_on_a_file_that_ends_between_two_rows(
    tmp_path: Path, one_of_each: AnyDatabase
) -> None:
    """What came out of it so far is whole JSON, and a shell asks only the last program of a pipe how it ended."""
    make_logs(one_of_each, *[old(n) for n in range(1, 101)])
    purging = ready(tmp_path, one_of_each, RULE)
    purging.purge()
    (part,) = (tmp_path / "store").rglob("part-*")
    rows = subprocess.run(["zstd", "-d", "-c", part], capture_output=True, check=True).stdout.splitlines(True)
    head = subprocess.run(["zstd", "-c"], input=b"".join(rows[:50]), capture_output=True, check=True).stdout
    part.write_bytes(head + b"(\xb5/\xfd")  # the beginning of a second frame
    with pytest.raises(subprocess.CalledProcessError):
        run_line(purging, one_of_each)


def test_the_line_of_an_encrypted_archive_needs_the_private_key_and_stock_tools(
    tmp_path: Path, one_of_each: AnyDatabase, age_key: str
) -> None:
    make_logs(one_of_each, *[old(n) for n in range(1, 101)])
    before = contents(one_of_each)
    purging = ready(
        tmp_path, one_of_each, RULE, encryption={"recipients": [age_key], "identity_conn_id": "archive_key"}
    )
    purging.purge()
    assert left(one_of_each) == []
    with pytest.raises(subprocess.CalledProcessError):
        run_line(purging, one_of_each)
    assert left(one_of_each) == []
    run_line(purging, one_of_each, key=json.loads(os.environ["AIRFLOW_CONN_ARCHIVE_KEY"])["password"])
    assert contents(one_of_each) == before


def run_line(purging: Purging, database: AnyDatabase, *, key: str = "") -> None:
    """As an operator would, in a copy of the archive's folder, with a password from where clients look for it."""
    (archive,) = purging.archives().committed()[0]
    folder = purging.folder / "restore"
    shutil.copytree(purging.store.root / archive.prefix, folder, dirs_exist_ok=True)
    if key:
        (folder / "key.txt").write_text(key)
    server = database.server
    home = purging.folder / "home"
    home.mkdir(exist_ok=True)
    secret = server.password.replace("\\", "\\\\").replace('"', '\\"')
    options = (
        f'[client]\nhost={server.host}\nport={server.port}\nprotocol=tcp\nuser={server.user}\npassword="{secret}"\n'
    )
    (home / ".my.cnf").write_text(options)
    path = f"{os.environ.get('UPKEEP_TEST_MYSQL_BIN', '')}:" if server.name == "mysql" else ""
    path += os.environ["PATH"]
    subprocess.run(
        ["bash", "-c", archive.restore],
        cwd=folder,
        env={
            "HOME": str(home), "PATH": str(stock_programs(purging.folder / "stock", path)), "PGHOST": server.host,
            "PGPORT": str(server.port), "PGUSER": server.user, "PGPASSWORD": server.password,
        },
        check=True,
        capture_output=True,
    )  # fmt: skip


def test_a_database_alone_may_hold_hostile_columns(tmp_path: Path, postgres_database: PostgresDatabase) -> None:
    """Names that a JSON path, a printf or a shell would read otherwise."""
    postgres_database.execute(
        """CREATE TABLE logs (id int PRIMARY KEY, created_at date, "a'b\\c%s$(x)" text, "{d}" text)"""
    )
    postgres_database.execute("CREATE INDEX ON logs (created_at)")
    postgres_database.execute("INSERT INTO logs VALUES (1, '2026-01-01', 'one', 'two')")
    before = contents(postgres_database)
    purging = ready(tmp_path, postgres_database, RULE)
    purging.purge()
    run_line(purging, postgres_database)
    assert contents(postgres_database) == before


def test_a_mysql_table_may_hold_hostile_columns(tmp_path: Path, mariadb_database: MySqlDatabase) -> None:
    mariadb_database.execute(
        """CREATE TABLE logs
        (id int PRIMARY KEY, created_at date, `a'b\\c%s$(x)"``` text, `{d}` text, KEY (created_at))"""
    )
    mariadb_database.execute("INSERT INTO logs VALUES (1, '2026-01-01', 'one', 'two')")
    before = contents(mariadb_database)
    purging = ready(tmp_path, mariadb_database, RULE)
    purging.purge()
    run_line(purging, mariadb_database)
    assert contents(mariadb_database) == before


def test_an_archive_that_lost_its_manifest_is_not_swept_away(tmp_path: Path, mariadb_database: MySqlDatabase) -> None:
    make_logs(mariadb_database, old(1))
    purging = ready(tmp_path, mariadb_database, RULE)
    purging.purge()
    (archive,) = purging.archives().committed()[0]
    purging.store.delete(archive.prefix + MANIFEST)
    purging.purge()
    assert (purging.store.root / archive.prefix / archive.files[0].name).exists()


def test_a_leftover_that_the_store_holds_back_does_not_stop_the_purge(
    tmp_path: Path, mariadb_database: MySqlDatabase
) -> None:
    make_logs(mariadb_database, old(1))
    purging = ready(tmp_path, mariadb_database, RULE)
    left_over = "shop/app/rows-logs/20261101T000000Z-abcd/part-00001.jsonl.zst"
    with OssServer(tmp_path / "bucket") as oss:
        job = purging.job(store=OssStore(url=f"oss://{oss.bucket}/prod", endpoint=oss.endpoint))
        for stored in purging.store.list():  # tonight's backup and its proof
            job.store.put(stored.key, purging.store.get(stored.key))
        job.store.put(left_over, b"half an archive")
        oss.hold(f"prod/{left_over}")
        assert purge_rows(job, "app", 0)["deleted"] == 1
        assert left_over in {stored.key for stored in job.store.list()}


def test_a_table_of_which_nothing_was_kept_is_an_error_and_no_green_nothing(
    tmp_path: Path, mariadb_database: MySqlDatabase
) -> None:
    make_logs(mariadb_database, old(1))
    purging = ready(tmp_path, mariadb_database, RULE)
    with pytest.raises(ObjectMissing, match=r"shop/app/.*holds no committed archive"):
        restore_rows(purging.job("restore"), "app", "logs_", "all", dry_run=True)


def test_the_store_being_away_is_told_as_such(tmp_path: Path, mariadb_database: MySqlDatabase) -> None:
    make_logs(mariadb_database, old(1))
    purging = ready(tmp_path, mariadb_database, RULE)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    job = purging.job()
    with pytest.raises(StoreUnreachable):
        restore_rows(job, "app", "logs", "all")
