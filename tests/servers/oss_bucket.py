"""What an ``OssServer`` holds: objects and unfinished uploads, their bytes in files so that memory stays flat."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fastcrc import crc64

BLOCK = 1 << 16
SMALLEST_PART = 100 * 1024


class Refused(Exception):
    """An answer that isn't 2xx."""

    def __init__(self, status: int, code: str, message: str, **details: str) -> None:
        self.status, self.code, self.message, self.details = status, code, message, details
        super().__init__(code)


@dataclass(frozen=True)
class Blob:
    """Bytes in a file, with what OSS says about them."""

    path: Path
    size: int
    crc: int
    etag: str
    kind: str = "Normal"
    headers: dict[str, str] = field(default_factory=dict)
    modified: float = field(default_factory=time.time)


@dataclass
class Upload:
    key: str
    upload_id: str
    headers: dict[str, str]
    begun: float = field(default_factory=time.time)
    parts: dict[int, Blob] = field(default_factory=dict)


class Bucket:
    """One bucket; every method may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lock = threading.RLock()
        self.objects: dict[str, Blob] = {}
        self.uploads: dict[str, Upload] = {}
        self.held: tuple[str, ...] = ()
        """Prefixes under a locked retention policy."""

    def receive(self, source: Callable[[int], bytes], size: int, *, corrupt: bool) -> Blob:
        """Store ``size`` bytes of a request's body."""
        path = self._folder / secrets.token_hex(8)
        crc, digest, left = 0, hashlib.md5(usedforsecurity=False), size
        with path.open("wb") as file:
            while left:
                block = source(min(left, BLOCK))
                if not block:
                    raise ConnectionError("the client went away")
                left -= len(block)
                if corrupt:
                    block, corrupt = bytes([block[0] ^ 1]) + block[1:], False
                crc = crc64.xz(block, crc)
                digest.update(block)
                file.write(block)
        return Blob(path, size, crc, digest.hexdigest().upper())

    def put(self, key: str, blob: Blob) -> None:
        with self.lock:
            self._require_free(key)
            old = self.objects.get(key)
            self.objects[key] = blob
        if old:
            old.path.unlink()

    def get(self, key: str) -> Blob:
        with self.lock:
            if key not in self.objects:
                raise Refused(404, "NoSuchKey", "The specified key does not exist.", Key=key)
            return self.objects[key]

    def delete(self, key: str) -> None:
        with self.lock:
            self._require_free(key)
            blob = self.objects.pop(key, None)
        if blob:
            blob.path.unlink()

    def begin(self, key: str, headers: dict[str, str]) -> Upload:
        upload = Upload(key, secrets.token_hex(16).upper(), headers)
        with self.lock:
            self.uploads[upload.upload_id] = upload
        return upload

    def upload(self, key: str, upload_id: str) -> Upload:
        with self.lock:
            found = self.uploads.get(upload_id)
            if not found or found.key != key:
                raise Refused(
                    404,
                    "NoSuchUpload",
                    "The specified upload does not exist. The upload ID may be invalid, or the upload may have been "
                    "aborted or completed.",
                    UploadId=upload_id,
                )
            return found

    def complete(self, key: str, upload_id: str, wanted: list[tuple[int, str]], *, corrupt: bool) -> Blob:
        with self.lock:
            upload = self.upload(key, upload_id)
            if not wanted or wanted != sorted(wanted):
                raise Refused(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
            parts = []
            for number, etag in wanted:
                part = upload.parts.get(number)
                if not part or part.etag != etag:
                    raise Refused(400, "InvalidPart", "One or more of the specified parts could not be found.")
                parts.append(part)
            if any(part.size < SMALLEST_PART for part in parts[:-1]):
                raise Refused(400, "EntityTooSmall", "Your proposed upload smaller than the minimum allowed size.")
            self._require_free(key)
            pieces = _joined(parts)
            whole = self.receive(lambda size: next(pieces, b""), sum(part.size for part in parts), corrupt=corrupt)
            etag = f"{whole.etag}-{len(parts)}"
            self.put(key, Blob(whole.path, whole.size, whole.crc, etag, "Multipart", upload.headers))
            self.abort(key, upload_id)
            return self.objects[key]

    def abort(self, key: str, upload_id: str) -> None:
        with self.lock:
            upload = self.upload(key, upload_id)
            del self.uploads[upload_id]
        for part in upload.parts.values():
            part.path.unlink()

    def page(self, prefix: str, delimiter: str, after: str, limit: int) -> tuple[list[str], list[str], str]:
        """Keys and common prefixes that come after ``after``; and where the next page begins, empty at the end."""
        with self.lock:
            names = sorted(name for name in self.objects if name.startswith(prefix) and name > after)
        keys: list[str] = []
        folders: list[str] = []
        last = ""
        for name in names:
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            folder = prefix + head + delimiter
            if found and (folder in folders or after.startswith(folder)):
                continue
            if len(keys) + len(folders) == limit:
                return keys, folders, last
            if found:
                folders.append(folder)
                last = folder + "\U0010ffff"
            else:
                keys.append(name)
                last = name
        return keys, folders, ""

    def _require_free(self, key: str) -> None:
        if key in self.objects and key.startswith(self.held) and self.held:
            raise Refused(409, "FileImmutable", "The object you specified is immutable.")


def _joined(parts: list[Blob]) -> Iterator[bytes]:
    for part in parts:
        with part.path.open("rb") as file:
            yield from _blocks(file)


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block
