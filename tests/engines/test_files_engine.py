"""Folders: one archive with owners, modes, links and attributes, restored by the manifest's own line."""

from __future__ import annotations

import ctypes
import io
import os
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from tests.engines.restoring import AgeKey, run_line, try_line
from tests.servers.data.folder import describe_folder, fill_folder
from upkeep.domain.manifest import Manifest
from upkeep.duties.back_up import back_up
from upkeep.duties.verify import verify
from upkeep.engines.base import Snapshot
from upkeep.engines.files_engine import FilesEngine, TarCheck
from upkeep.engines.pipeline import Pipeline
from upkeep.errors import ProofFailed, SourceError, ToolFailed

Restore = Callable[..., Path]
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
"""From Linux's headers: what root is no longer exempt from in the programs it starts."""


@pytest.fixture
def restored(sites: SiteFactory, tmp_path: Path) -> Restore:
    """Run a backup's own line; the folder that now stands for the file system's root."""

    def restore(manifest: Manifest, key: AgeKey | None = None) -> Path:
        folder = sites.fetch(manifest, tmp_path / "restore")
        if key:
            (folder / "key.txt").write_text(key.file.read_text())
        run_line(manifest.restore, folder, {})
        return folder / "restored"

    return restore


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    (path / "a.txt").write_text("a")
    return path


def below(root: Path, path: Path) -> Path:
    return root / str(path).lstrip("/")


def stored(sites: SiteFactory, manifest: Manifest) -> bytes:
    path = sites.folder / "store" / manifest.backup.prefix / manifest.files[0].name
    return subprocess.run(["zstd", "-d", "-c", path], check=True, capture_output=True).stdout


def names_in(archive: bytes) -> list[str]:
    listing = subprocess.run(["tar", "-t"], input=archive, check=True, capture_output=True).stdout
    return listing.decode().splitlines()


def test_everything_comes_back_as_it_was(tmp_path: Path, sites: SiteFactory, restored: Restore) -> None:
    """Owners, modes, times, links, hard links, a FIFO, sparse files, names of every kind."""
    source = tmp_path / "source"
    fill_folder(source)
    sites.paths(source)
    manifest = sites.back_up("config")
    assert verify(sites.job(), "config", manifest.backup.backup_id)["level"] == "structure"
    before, after = describe_folder(source), describe_folder(below(restored(manifest), source))
    assert after == before
    assert manifest.contents["entries"] == len(before) + 1
    assert manifest.warnings == ()


def test_extended_attributes_and_access_lists_come_back(source: Path, sites: SiteFactory, restored: Restore) -> None:
    file = source / "a.txt"
    try:
        os.setxattr(file, "user.origin", b"hq")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    entries = ((1, 6, -1), (2, 4, 12_345), (4, 4, -1), (16, 4, -1), (32, 0, -1))  # like setfacl -m u:12345:r
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    os.setxattr(file, "system.posix_acl_access", access)
    special = os.geteuid() == 0
    if special:
        os.setxattr(file, "trusted.upkeep", b"\x00\xff")
    sites.paths(source)
    copy = below(restored(sites.back_up("config")), file)
    assert os.getxattr(copy, "user.origin") == b"hq"
    assert os.getxattr(copy, "system.posix_acl_access") == access
    if special:
        assert os.getxattr(copy, "trusted.upkeep") == b"\x00\xff"


def test_links_are_stored_and_never_followed(tmp_path: Path, sites: SiteFactory) -> None:
    source = tmp_path / "source"
    fill_folder(source)
    sites.paths(source)
    manifest = sites.back_up("config")
    plain = stored(sites, manifest)
    assert not [name for name in names_in(plain) if "secret" in name or ".outside" in name]
    assert b"not yours to copy" not in plain


def test_several_paths_go_into_one_archive(tmp_path: Path, sites: SiteFactory, restored: Restore) -> None:
    first, second = tmp_path / "-first one", tmp_path / "第二.conf"
    first.mkdir()
    (first / "x").write_text("x")
    second.write_text("y")
    sites.paths(first, second)
    root = restored(sites.back_up("config"))
    assert below(root, first / "x").read_text() == "x"
    assert below(root, second).read_text() == "y"


def test_optional_paths_are_kept_where_they_exist_and_reported_where_they_do_not(
    source: Path, sites: SiteFactory
) -> None:
    there, absent = source.with_name("there"), source.with_name("absent")
    there.write_text("t")
    sites.paths(source, optional_paths=[str(there), str(absent)])
    manifest = sites.back_up("config")
    assert manifest.source["paths"] == [str(source), str(there)]
    assert manifest.contents["absent"] == [str(absent)]
    assert [name for name in names_in(stored(sites, manifest)) if name.endswith("/there")]


# What may not be backed up.


def test_a_path_that_does_not_exist_is_an_error_that_names_it(source: Path, sites: SiteFactory) -> None:
    sites.paths(source, source / "gone")
    with pytest.raises(SourceError, match=f"the path {source}/gone does not exist on {socket.gethostname()}") as caught:
        back_up(sites.job(), "config")
    assert "optional_paths" in caught.value.hint


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_path_that_is_a_link_is_refused_with_the_path_to_name_instead(
    source: Path, sites: SiteFactory, slash: str
) -> None:
    link = source.with_name("link")
    link.symlink_to(source)
    sites.paths(f"{link}{slash}")
    with pytest.raises(SourceError, match="is a symbolic link") as caught:
        back_up(sites.job(), "config")
    assert str(source) in caught.value.hint


@pytest.mark.parametrize("inside", ["store", "spool"])
def test_a_path_that_contains_the_store_or_the_spool_is_refused(source: Path, sites: SiteFactory, inside: str) -> None:
    sites.paths(sites.folder / inside / "..")
    (sites.folder / inside).mkdir(exist_ok=True)
    with pytest.raises(SourceError, match="the backup would back up itself"):
        back_up(sites.job(), "config")


def test_a_store_reached_through_a_link_inside_the_path_is_found_out(source: Path, tmp_path: Path) -> None:
    store = source / "backups"
    store.mkdir()
    (tmp_path / "store").symlink_to(store)
    with (
        pytest.raises(SourceError, match="contains the store"),
        FilesEngine([str(source)], never=[str(tmp_path / "store")]).snapshot(),
    ):
        pass


# What changes meanwhile.


class Reading:
    """tar stands still after it began with the first, big file: a pipe holds 64 KiB, and nobody reads on."""

    def __init__(self, source: Path) -> None:
        self.source = source
        (source / "a first.bin").write_bytes(os.urandom(4_000_000))
        (source / "b changing.log").write_bytes(b"x" * 1_000_000)
        (source / "c gone").write_text("soon")
        (source / "d folder").mkdir()
        (source / "d folder" / "e inside").write_text("soon too")

    def back_up_while(self, happens: Callable[[], None]) -> tuple[list[str], int, bytes]:
        """The manifest's warnings, its number of entries, and the archive."""
        with FilesEngine([str(self.source)]).snapshot() as snapshot:
            [stream] = snapshot.streams
            with Pipeline([stream.command], started=stream.started) as pipeline:
                output = pipeline.output()
                archive = bytearray(next(output))
                happens()
                for chunk in output:
                    archive += chunk
                ended = pipeline.finish()
            facts = snapshot.facts({stream.name: ended})
        return facts.warnings, int(facts.contents["entries"]), bytes(archive)


def whole(archive: bytes, entries: int) -> dict[str, Any]:
    check = TarCheck(entries)
    check.feed(archive)
    return check.close()


def test_a_file_that_vanishes_while_others_are_read_is_reported_and_the_rest_is_kept(source: Path) -> None:
    reading = Reading(source)
    warnings, entries, archive = reading.back_up_while((source / "c gone").unlink)
    assert any(warning.endswith("source/c gone: File removed before we read it") for warning in warnings)
    names = [Path(name).name for name in names_in(archive)]
    assert "c gone" not in names
    assert "b changing.log" in names
    assert whole(archive, entries)["entries"] == entries == len(names)


def test_a_file_that_grows_while_it_is_read_is_reported(source: Path) -> None:
    reading = Reading(source)

    def grow() -> None:
        with (source / "a first.bin").open("ab") as file:
            file.write(b"more")

    warnings, entries, archive = reading.back_up_while(grow)
    assert len(warnings) == 1
    assert "a first.bin: file changed as we read it" in warnings[0]
    assert whole(archive, entries)["entries"] == entries


def test_a_file_that_shrinks_while_it_is_read_is_reported_and_breaks_nothing_behind_it(source: Path) -> None:
    reading = Reading(source)
    warnings, entries, archive = reading.back_up_while(lambda: os.truncate(source / "a first.bin", 200_000))
    assert any("a first.bin: File shrank by" in warning for warning in warnings)
    assert "e inside" in [Path(name).name for name in names_in(archive)]
    assert whole(archive, entries)["entries"] == entries


def test_a_folder_that_vanishes_is_reported(source: Path) -> None:
    reading = Reading(source)

    def remove() -> None:
        (source / "d folder" / "e inside").unlink()
        (source / "d folder").rmdir()

    warnings, entries, archive = reading.back_up_while(remove)
    assert any("d folder" in warning for warning in warnings)
    assert whole(archive, entries)["entries"] == entries


def test_sockets_are_left_out_and_reported(source: Path, sites: SiteFactory) -> None:
    """Nothing can be kept of them."""
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(source)  # a socket's path may only have 107 bytes
        try:
            server.bind("app.sock")
        finally:
            os.chdir(here)
        sites.paths(source)
        manifest = sites.back_up("config")
    assert any("app.sock: socket ignored" in warning for warning in manifest.warnings)
    assert verify(sites.job(), "config", manifest.backup.backup_id)["level"] == "structure"


# What can't be read.


def test_a_file_that_may_not_be_read_fails_the_backup_and_is_named(source: Path) -> None:
    (source / "sealed").write_text("s")
    (source / "sealed").chmod(0)

    def attempt() -> None:
        try:
            with FilesEngine([str(source)]).snapshot() as snapshot:
                made(snapshot)
            print("no error")  # noqa: T201 - to the test
        except ToolFailed as error:
            print(error)  # noqa: T201

    said = without_roots_rights(attempt)
    assert "tar ended with exit status 2" in said
    assert "source/sealed: Cannot open: Permission denied" in said
    assert "HINT: let the account that this worker runs as read it" in said


def without_roots_rights(work: Callable[[], None]) -> str:
    """What ``work`` prints in a process whose programs may only read what their account's mode bits allow."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        with suppress(BaseException):
            os.dup2(writer, 1)
            sys.stdout = os.fdopen(1, "w")
            if os.geteuid() == 0:
                for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
                    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability)
            try:
                work()
                status = 0
            except BaseException:
                traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as output:
        said = output.read()
    assert os.waitpid(pid, 0)[1] == 0, said
    return said


# What is not whole.


@pytest.fixture
def archive(source: Path) -> Iterator[tuple[bytes, int]]:
    fill_folder(source)
    with FilesEngine([str(source)]).snapshot() as snapshot:
        yield made(snapshot)


def made(snapshot: Snapshot) -> tuple[bytes, int]:
    [stream] = snapshot.streams
    chunks: list[bytes] = []
    with Pipeline([stream.command], started=stream.started) as pipeline:
        chunks += pipeline.output()
        ended = pipeline.finish()
    return b"".join(chunks), int(snapshot.facts({stream.name: ended}).contents["entries"])


def test_the_check_accepts_a_whole_archive(archive: tuple[bytes, int]) -> None:
    content, entries = archive
    assert whole(content, entries) == {"plain_bytes": len(content), "entries": entries}


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_the_check_refuses_an_archive_that_broke_off(archive: tuple[bytes, int], share: float) -> None:
    content, entries = archive
    end = len(content.rstrip(b"\0"))
    with pytest.raises(ProofFailed):
        whole(content[: int(end * share)], entries)


def test_the_check_refuses_an_archive_that_broke_off_between_two_entries(archive: tuple[bytes, int]) -> None:
    """Two empty blocks are the end of an archive: such a one looks whole to tar."""
    content, entries = archive
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        last = opened.getmembers()[-1]
    shorter = content[: last.offset] + bytes(1024)
    with pytest.raises(ProofFailed, match=f"the archive holds {entries - 1} entries, {entries} went in"):
        whole(shorter, entries)


def test_the_check_refuses_what_is_no_archive() -> None:
    with pytest.raises(ProofFailed, match="can't be read to its end"):
        whole(b"not an archive" * 1_000, 1)


def test_a_damaged_file_makes_the_restore_line_fail(tmp_path: Path, sites: SiteFactory) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(500_000))
    sites.paths(source)
    manifest = sites.back_up("config")
    file = sites.fetch(manifest, tmp_path / "restore") / manifest.files[0].name
    file.write_bytes(file.read_bytes()[:300_000])
    assert try_line(manifest.restore, file.parent, {}).returncode != 0


def test_a_file_that_ends_between_two_entries_makes_the_restore_line_fail_too(
    tmp_path: Path, sites: SiteFactory
) -> None:
    """tar takes that for a whole archive, and a shell asks only the last program of a pipe how it ended."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / name).write_text(name)
    sites.paths(source)
    manifest = sites.back_up("config")
    file = sites.fetch(manifest, tmp_path / "restore") / manifest.files[0].name
    whole_archive = subprocess.run(["zstd", "-d", "-c", file], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(whole_archive)) as opened:
        last = opened.getmembers()[-1]
    head = subprocess.run(["zstd", "-c"], input=whole_archive[: last.offset], capture_output=True, check=True).stdout
    file.write_bytes(head + b"(\xb5/\xfd")  # the beginning of a second frame
    done = try_line(manifest.restore, file.parent, {})
    assert done.returncode != 0
    assert not list((file.parent / "restored").rglob(Path(last.name).name))


def test_nothing_is_left_open_whether_the_snapshot_was_used_or_not(source: Path) -> None:
    before = open_files()
    for _ in range(3):
        with FilesEngine([str(source)]).snapshot():
            pass  # a rehearsal
        with FilesEngine([str(source)]).snapshot() as snapshot:
            made(snapshot)
        with pytest.raises(KeyboardInterrupt), FilesEngine([str(source)]).snapshot() as snapshot:
            [stream] = snapshot.streams
            with Pipeline([stream.command], started=stream.started):
                raise KeyboardInterrupt
    assert open_files() == before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_an_encrypted_backup_is_restored_with_the_private_key_and_stock_tools(
    source: Path, sites: SiteFactory, key: AgeKey, restored: Restore
) -> None:
    (source / "secret.conf").write_text("password = hunter2")
    sites.paths(source)
    sites.encrypted(key.public)
    manifest = sites.back_up("config")
    assert [file.name for file in manifest.files] == ["files.tar.zst.age"]
    for path in (sites.folder / "store").rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes()
    assert below(restored(manifest, key), source / "secret.conf").read_text() == "password = hunter2"


def test_the_archive_is_one_that_any_tar_can_read(source: Path) -> None:
    fill_folder(source)
    with FilesEngine([str(source)]).snapshot() as snapshot:
        content, entries = made(snapshot)
    file = source.with_name("any.tar")
    file.write_bytes(content)
    with tarfile.open(file) as opened:
        members = opened.getmembers()
    assert len(members) == entries
    assert not any(member.name.startswith("/") for member in members)
    assert stat.S_IMODE(next(m for m in members if m.name.endswith("/setuid")).mode) == 0o4755
