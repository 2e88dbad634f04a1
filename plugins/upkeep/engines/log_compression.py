"""Replaces one log file by its zstd copy, and only once that copy has been unpacked again and found to be the same.

Killed at any line, the original is whole under its own name, or its verified copy is. What is left besides is an
unfinished copy, which the next run sweeps, or both files, of which the next run removes the original.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress

from upkeep.domain.clean_logs import SUFFIX, unfinished_name
from upkeep.engines.feeding import feed
from upkeep.engines.open_files import OpenFiles, ask_kernel
from upkeep.engines.pipeline import CHUNK, Command, Pipeline
from upkeep.engines.tools import require

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_MAGIC = (b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"PK\x03\x04")
_LEVEL = 3
_OVERHEAD = 1 << 20
"""What cannot be compressed grows by less than this and one part in 200."""


class LeftAlone(Exception):
    """Not an error: the file stays as it is, for the reason in the message."""


def compress(folder: int, name: str, state: os.stat_result, open_files: OpenFiles, *, dry_run: bool = False) -> int:
    """Put ``name.zst`` in the place of ``name`` in the folder that the descriptor is of; returns the bytes given back.

    :param state: what was judged; a file that isn't in that state any more is left.
    Errors: ``LeftAlone`` with the reason, ``OSError``, ``ToolMissing``, ``ToolFailed``, ``Stopped``.
    """
    source = os.open(name, READ, dir_fd=folder)
    try:
        _require_same(os.fstat(source), state)
        _require_closed(source, state, open_files)
        if os.pread(source, 6, 0).startswith(_MAGIC):
            raise LeftAlone("it is compressed already, whatever its name says")
        if _earlier_copy(folder, name, state):
            _finish_earlier(folder, name, source, state, open_files, dry_run=dry_run)
            return 0 if dry_run else state.st_blocks * 512
        _require_room(folder, state.st_size)
        if dry_run:
            return 0
        return _replace(folder, name, source, state, open_files)
    finally:
        os.close(source)


def _replace(folder: int, name: str, source: int, state: os.stat_result, open_files: OpenFiles) -> int:
    part = unfinished_name(secrets.token_hex(8))
    copy = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        read = _pack(source, copy)
        os.fsync(copy)
        if read != _unpacked(copy):
            raise LeftAlone("its compressed copy did not unpack to what had been read: look at this disk's health")
        _dress(source, copy, state)
        os.fsync(copy)
        size = os.fstat(copy).st_blocks * 512
        _require_same(os.fstat(source), state)
        # A link never replaces what has come to stand under that name meanwhile; a rename would.
        try:
            os.link(part, name + SUFFIX, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            raise LeftAlone(f"a file of its name with {SUFFIX} is there already") from None
    finally:
        os.close(copy)
        with suppress(FileNotFoundError):
            os.unlink(part, dir_fd=folder)
    try:
        _require_untouched(folder, name, source, state, open_files)
    except BaseException:
        os.unlink(name + SUFFIX, dir_fd=folder)  # else the log stood there twice
        raise
    _remove_original(folder, name, state)
    return state.st_blocks * 512 - size


def _require_untouched(folder: int, name: str, source: int, state: os.stat_result, open_files: OpenFiles) -> None:
    """Errors: ``LeftAlone`` when it isn't, to the last bit we can ask for, what the copy was made of."""
    os.fsync(folder)  # the copy's name must be on the disk before the original's leaves it
    _require_closed(source, state, open_files)
    _require_same(os.fstat(source), state)
    try:
        _require_same(os.stat(name, dir_fd=folder, follow_symlinks=False), state)
    except FileNotFoundError:
        raise LeftAlone("it was rotated or removed meanwhile") from None


def _remove_original(folder: int, name: str, state: os.stat_result) -> None:
    """From here on the copy stays, unless the original is plainly there still. Errors: ``OSError``."""
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        with suppress(OSError):
            if os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino == state.st_ino:
                os.unlink(name + SUFFIX, dir_fd=folder)
        raise
    os.fsync(folder)


def _earlier_copy(folder: int, name: str, state: os.stat_result) -> bool:
    """Whether what stands under the copy's name may be ours. Errors: ``LeftAlone`` when it can't be."""
    try:
        there = os.stat(name + SUFFIX, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(there.st_mode) or there.st_mtime_ns != state.st_mtime_ns or there.st_uid != state.st_uid:
        raise LeftAlone(f"a file of its name with {SUFFIX} is there already")
    return True


def _finish_earlier(
    folder: int, name: str, source: int, state: os.stat_result, open_files: OpenFiles, *, dry_run: bool
) -> None:
    """Remove the original of a copy that a killed run had finished, once more only if they are the same."""
    copy = os.open(name + SUFFIX, READ, dir_fd=folder)
    try:
        digest = hashlib.sha256()
        os.lseek(source, 0, os.SEEK_SET)
        while chunk := os.read(source, CHUNK):
            digest.update(chunk)
        if not os.pread(copy, 4, 0).startswith(_MAGIC[0]) or _unpacked(copy) != digest.digest():
            raise LeftAlone(f"a file of its name with {SUFFIX} is there already, and holds something else")
    finally:
        os.close(copy)
    if not dry_run:
        _require_untouched(folder, name, source, state, open_files)
        _remove_original(folder, name, state)


def _pack(source: int, copy: int) -> bytes:
    """Returns the SHA-256 of what was read."""
    digest = hashlib.sha256()
    zstd = require("zstd", package="zstd")

    def original() -> Iterator[bytes]:
        while chunk := os.read(source, CHUNK):
            digest.update(chunk)
            yield chunk

    os.lseek(source, 0, os.SEEK_SET)
    with Pipeline([Command([zstd, "-q", f"-{_LEVEL}", "--check", "-c"])], feed=True) as pipeline:
        fed = feed(pipeline, original())
        try:
            for chunk in pipeline.output():
                _write(copy, chunk)
        except BaseException:
            pipeline.kill()  # so that the feeding meets a broken pipe
            raise
        finally:
            fed.exception()  # waits: it writes to what the block's end closes
    fed.result()
    return digest.digest()


def _unpacked(copy: int) -> bytes:
    """The SHA-256 of what a copy unpacks to. Errors: ``ToolFailed``."""
    digest = hashlib.sha256()
    zstd = require("zstd", package="zstd")
    cat = Command(["cat", f"/dev/fd/{copy}"], pass_fds=(copy,))  # zstd itself refuses what looks like a link
    with Pipeline([cat, Command([zstd, "-dcq"])]) as pipeline:
        for chunk in pipeline.output():
            digest.update(chunk)
    return digest.digest()


def _write(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def _dress(source: int, copy: int, state: os.stat_result) -> None:
    """Owner, group, access rights and times of the original. The owner first: a change of it drops mode bits."""
    now = os.fstat(copy)
    if (now.st_uid, now.st_gid) != (state.st_uid, state.st_gid):
        try:
            os.fchown(copy, state.st_uid, state.st_gid)
        except PermissionError:
            raise LeftAlone("its copy would belong to another account or group than it does") from None
    os.fchmod(copy, stat.S_IMODE(state.st_mode))
    for attribute in _attributes(source):
        if attribute.startswith(("system.posix_acl_", "user.")):
            os.setxattr(copy, attribute, os.getxattr(source, attribute))
    os.utime(copy, ns=(state.st_atime_ns, state.st_mtime_ns))


def _attributes(source: int) -> list[str]:
    try:
        return os.listxattr(source)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise


def _require_same(now: os.stat_result, then: os.stat_result) -> None:
    if _identity(now) != _identity(then):
        raise LeftAlone("it changed meanwhile")


def _identity(state: os.stat_result) -> tuple[int, ...]:
    return (
        state.st_dev, state.st_ino, state.st_mode, state.st_nlink, state.st_size, state.st_mtime_ns, state.st_ctime_ns,
    )  # fmt: skip


def _require_closed(source: int, state: os.stat_result, open_files: OpenFiles) -> None:
    """A log that somebody may still write to must not be compressed, so here the kernel is asked in any case."""
    use = ask_kernel(source)
    if use == "unknown":
        use = open_files.use_of(state)
    if use == "open":
        raise LeftAlone("a process has it open")
    if use == "unknown":
        raise LeftAlone("another account's process may have it open, which only root can see")


def _require_room(folder: int, size: int) -> None:
    """The whole size, although a log usually shrinks to a tenth: a full disk stops everybody, not only us."""
    place = os.fstatvfs(folder)
    if place.f_bavail * place.f_frsize < size + size // 200 + _OVERHEAD:
        raise LeftAlone("the disk has no room for a copy as large as itself")
