"""A folder as a store. Whole objects only: a temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from upkeep.errors import ObjectMissing, StoreDenied, StoreError, StoreFull, StoreUnreachable
from upkeep.stores.base import ObjectWriter, Store, StoredObject, require_folder

PARTIAL = ".partial-"
"""Names that begin so are half-written: never listed, removed by ``sweep``."""
CHUNK = 1 << 20
FOLDER_TRIES = 20
"""How often a writer makes its folder anew because a delete took it away, empty as it still was."""
_AWAY = frozenset(
    {
        errno.EIO, errno.EREMOTEIO, errno.ENXIO, errno.ENODEV, errno.EROFS, errno.ESTALE, errno.ENOTCONN,
        errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH,
        errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED,
    }
)  # fmt: skip
"""What a disk that fails or a network mount (NFS, CIFS, SSHFS) that has lost its server answers."""


class LocalStore(Store):
    """Objects as files below ``root``; new files are readable by their owner only.

    The root must exist: creating it would hide that the disk meant for it isn't mounted, and fill the one below. Where
    the root is itself what the disk is mounted on it always exists: then ``mount_point`` says so.
    """

    def __init__(self, root: Path, *, mount_point: Path | None = None) -> None:
        self.root, self.mount_point = root, mount_point
        self.url = f"file://{root}"

    @contextmanager
    def writer(self, key: str) -> Iterator[ObjectWriter]:
        final = self._path(key)
        partial = final.with_name(f"{PARTIAL}{secrets.token_hex(4)}-{final.name}"[:255])
        with self._translated(key, writing=True):
            descriptor = self._created(partial)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                yield _FileWriter(self, key, file.fileno())
                with self._translated(key):
                    os.fsync(file.fileno())
            with self._translated(key, writing=True):
                partial.replace(final)
                self._fsync_folders(final)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def read(self, key: str) -> Iterator[bytes]:
        path = self._path(key)
        with self._translated(key), path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with self._translated(prefix):
            self._require_root()
            for path in _files(self._path(require_folder(prefix))):
                try:
                    state = path.stat()
                except FileNotFoundError:
                    continue  # removed while we looked
                key = path.relative_to(self.root).as_posix()
                yield StoredObject(key, state.st_size, datetime.fromtimestamp(state.st_mtime, UTC))

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._translated(key):
            self._require_mount()  # else what stays on the disk would be taken for removed
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self.root:
                    break
                try:
                    folder.rmdir()
                except OSError as error:
                    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                        break  # still holds other objects
                    if error.errno != errno.ENOENT:
                        raise

    def check(self) -> None:
        key = f".upkeep/check-{secrets.token_hex(4)}"
        self.put(key, b"upkeep")
        self.delete(key)

    def sweep(self, prefix: str = "") -> tuple[str, ...]:
        removed = []
        with self._translated(prefix):
            for folder, _, names in os.walk(self._path(require_folder(prefix))):
                for name in names:
                    if name.startswith(PARTIAL):
                        path = Path(folder, name)
                        path.unlink(missing_ok=True)
                        removed.append(path.relative_to(self.root).as_posix())
        return tuple(removed)

    def free_bytes(self) -> int:
        """Room left for this user on the store's disk, in bytes."""
        with self._translated(""):
            self._require_mount()
            return shutil.disk_usage(self.root).free

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key)
        if parts.is_absolute() or ".." in parts.parts:
            raise StoreError(
                f"key {key!r} points outside the store {self.url}", hint="use a key below the store's root"
            )
        return self.root / parts

    def _created(self, partial: Path) -> int:
        """A new file, in a folder that another writer's delete may take away before anything is in it."""
        for left in reversed(range(FOLDER_TRIES)):
            self._require_root()
            try:
                partial.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                return os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except (FileNotFoundError, FileExistsError):  # the latter from mkdir, of a folder that has gone meanwhile
                if not left:
                    raise
        raise AssertionError("not reached")

    def _fsync_folders(self, file: Path) -> None:
        """Without an fsync of its folder, a power cut may lose a new name; that of a new folder lies in its parent."""
        for folder in file.parents:
            fsync_folder(folder)
            if folder == self.root:
                return

    def _require_mount(self) -> None:
        if self.mount_point and not self.mount_point.is_mount():
            raise StoreUnreachable(
                f"nothing is mounted on {self.mount_point}, where the store {self.url} lies",
                hint=f"mount its disk there: mount {self.mount_point}",
            )

    def _require_root(self) -> None:
        self._require_mount()
        if not self.root.is_dir():
            raise StoreUnreachable(
                f"the store's folder {self.root} does not exist",
                hint=f"mount the disk it lives on, or create it: install -d -m 700 {self.root}",
            )

    @contextmanager
    def _translated(self, key: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if writing:
                raise StoreUnreachable(
                    f"the store {self.url} lost {key!r} while it was written: its folder has gone",
                    hint="check the disk or the network mount behind it, and who else cleans up there",
                ) from error
            self._require_mount()  # else every object would be missing, and a backup be taken for lost
            raise ObjectMissing(
                f"the store {self.url} holds no object {key!r}", hint="upkeep backups lists what it holds"
            ) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise StoreFull(
                    f"no room in the store {self.url} for {key!r}: {error.strerror}",
                    hint="free space there: upkeep plan retention shows what could go; nothing half-written was kept",
                ) from error
            if error.errno in _AWAY:
                raise StoreUnreachable(
                    f"the store {self.url} failed on {key!r}: {error.strerror}",
                    hint="check the disk or the network mount behind it",
                ) from error
            kind = StoreDenied if isinstance(error, PermissionError) else StoreError
            raise kind(
                f"the store {self.url} refused {key!r}: {error.strerror}",
                hint=f"check owner and mode of {self.root}: this process runs as user id {os.geteuid()}",
            ) from error


class _FileWriter:
    def __init__(self, store: LocalStore, key: str, descriptor: int) -> None:
        self._store, self._key, self._descriptor = store, key, descriptor

    def write(self, chunk: bytes) -> None:
        with self._store._translated(self._key):
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._descriptor, view) :]


def _seen(error: OSError) -> None:
    """A folder that can't be read is not an empty folder; one that vanished while we looked is."""
    if error.errno != errno.ENOENT:
        raise error


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder, onerror=_seen):
        for name in names:
            if not name.startswith(PARTIAL):
                yield Path(parent, name)


def fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):  # some network filesystems know no such thing
            raise
    finally:
        os.close(descriptor)
