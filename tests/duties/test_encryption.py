"""Encryption: anybody can write a backup, only the holder of the private key can read one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.duties.site_factory import SiteFactory
from tests.engines.restoring import AgeKey, age_key
from tests.servers.databases import MySqlDatabase
from upkeep.domain.manifest import Manifest
from upkeep.duties.catalogue import read_catalogue
from upkeep.duties.verify import verify
from upkeep.errors import ProofFailed, ToolFailed

CONTENT = "the children's names"


@pytest.fixture
def key(tmp_path: Path) -> AgeKey:
    (tmp_path / "key").mkdir()
    return age_key(tmp_path / "key")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    (path / "children.txt").write_text(CONTENT)
    return path


def level(sites: SiteFactory, manifest: Manifest) -> str:
    job = sites.job()
    return str(verify(job, manifest.backup.target, manifest.backup.backup_id)["level"])


def stored(sites: SiteFactory) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sites.folder.rglob("*") if path.is_file()}


@contextmanager
def command_lines() -> Iterator[set[bytes]]:
    """Every command line of this machine meanwhile, as ``ps`` would show it."""
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):  # the process has ended
                    seen.add(file.read_bytes())
            time.sleep(0.001)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_nothing_readable_is_stored(source: Path, sites: SiteFactory, key: AgeKey) -> None:
    sites.paths(source)
    sites.encrypted(key.public)
    manifest = sites.back_up("config")
    assert [file.name for file in manifest.files] == ["files.tar.zst.age"]
    assert "age" in manifest.tools
    for path, content in stored(sites).items():
        assert CONTENT.encode() not in content, path
        if path.name.endswith(".age"):
            assert content.startswith(b"age-encryption.org/v1\n")


def test_without_the_private_key_the_ladder_ends_at_the_checksum(source: Path, sites: SiteFactory, key: AgeKey) -> None:
    sites.paths(source)
    sites.encrypted(key.public)
    manifest = sites.back_up("config")
    assert level(sites, manifest) == "checksum"
    [backup] = read_catalogue(sites.job().store, "kindergarten", "config").backups
    assert backup.level.label == "checksum"


def test_once_a_site_no_longer_encrypts_its_older_backups_are_not_read_again_each_night(
    source: Path, sites: SiteFactory, key: AgeKey
) -> None:
    sites.paths(source)
    sites.encrypted(key.public)
    old = sites.back_up("config")
    assert level(sites, old) == "checksum"
    del sites.settings["encryption"]
    assert level(sites, sites.back_up("config", "night-2")) == "structure"
    looks = [act.detail["backup_id"] for act in sites.job().ledger.acts(duty="verify")]
    assert looks.count(old.backup.backup_id) == 1


def test_with_the_private_key_the_ladder_goes_on_to_the_structure(
    mariadb_database: MySqlDatabase, sites: SiteFactory, key: AgeKey
) -> None:
    mariadb_database.execute("CREATE TABLE t (i INT)")
    sites.database(mariadb_database)
    sites.encrypted(key.public, identity=key.private)
    assert level(sites, sites.back_up()) == "structure"


@pytest.mark.parametrize("wrong", ["another's", "AGE-SECRET-KEY-1QQQQ", "not a key", " "])
def test_a_private_key_that_does_not_fit_is_an_error_but_says_nothing_about_the_backup(
    source: Path, sites: SiteFactory, key: AgeKey, tmp_path: Path, wrong: str
) -> None:
    """After a change of keys every older backup would otherwise be called damaged."""
    if wrong == "another's":
        (tmp_path / "other").mkdir()
        wrong = age_key(tmp_path / "other").private
    sites.paths(source)
    sites.encrypted(key.public, identity=wrong)
    manifest = sites.back_up("config")
    with pytest.raises(ToolFailed, match="private key of connection connection_0") as caught:
        level(sites, manifest)
    assert "this says nothing about the backup" in caught.value.hint
    [backup] = read_catalogue(sites.job().store, "kindergarten", "config").backups
    assert backup.failure is None


def test_each_of_several_recipients_can_read_it(source: Path, sites: SiteFactory, key: AgeKey, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = age_key(tmp_path / "second")
    sites.paths(source)
    sites.encrypted(key.public, identity=second.private)
    sites.settings["encryption"]["recipients"].append(second.public)
    assert level(sites, sites.back_up("config")) == "structure"


def test_the_private_key_is_nowhere_but_in_its_connection(
    source: Path, sites: SiteFactory, key: AgeKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sites.paths(source)
    sites.encrypted(key.public, identity=key.private)
    with command_lines() as seen:
        manifest = sites.back_up("config")
        for _ in range(20):  # age runs for a moment only, and on a busy machine nobody may look just then
            assert level(sites, manifest) == "structure"
            if any(b"--decrypt" in line for line in list(seen)):
                break
    assert any(b"--decrypt" in line for line in seen), "nobody looked while age ran"
    assert not any(key.private.encode() in line for line in seen)
    assert key.private not in caplog.text
    assert key.private.encode() not in b"".join(stored(sites).values())
    assert key.private not in repr(sites.job())


def test_an_error_of_age_does_not_show_the_private_key(
    source: Path, sites: SiteFactory, key: AgeKey, caplog: pytest.LogCaptureFixture
) -> None:
    """A key with a slip of the pen is quoted by none of the messages."""
    caplog.set_level(logging.DEBUG)
    broken = key.private[:-4] + "QQQQ"
    sites.paths(source)
    sites.encrypted(key.public, identity=broken)
    manifest = sites.back_up("config")
    with pytest.raises((ProofFailed, ToolFailed)) as caught:
        level(sites, manifest)
    for text in (str(caught.value), caplog.text, *(content.decode("latin-1") for content in stored(sites).values())):
        assert broken not in text
        assert broken[20:50] not in text


def test_a_flipped_bit_in_an_encrypted_file_is_found_without_the_private_key(
    source: Path, sites: SiteFactory, key: AgeKey
) -> None:
    sites.paths(source)
    sites.encrypted(key.public)
    manifest = sites.back_up("config")
    path = sites.folder / "store" / manifest.backup.prefix / manifest.files[0].name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ProofFailed, match="another SHA-256"):
        level(sites, manifest)


def test_the_file_in_memory_that_holds_the_key_does_not_stay_open(
    source: Path, sites: SiteFactory, key: AgeKey
) -> None:
    sites.paths(source)
    sites.encrypted(key.public, identity=key.private)
    manifest = sites.back_up("config")
    assert level(sites, manifest) == "structure"
    assert not [
        path for path in Path("/proc/self/fd").iterdir() if path.is_symlink() and "memfd" in str(path.readlink())
    ]
