"""Looks through an archive of manifests as it streams past: what the index lists is there, whole, and is YAML."""

from __future__ import annotations

import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from typing import IO, Any

import yaml

from upkeep.domain.sealed import digest
from upkeep.engines.background import in_background
from upkeep.engines.base import StructureCheck
from upkeep.errors import ProofFailed

INDEX = "index.json"
END = "end-of-archive"
_HINT = "don't rely on this backup: back up again"


class ManifestsCheck(StructureCheck):
    """``index``: the SHA-256 of the archive's index that the backup's manifest recorded."""

    def __init__(self, *, index: str) -> None:
        self._index = index
        self._size = 0
        reader, writer = os.pipe()
        self._reader, self._writer = os.fdopen(reader, "rb"), FileIO(writer, "wb")
        self._kinds: Counter[str] = Counter()
        self._read_through = in_background(self._read, name="manifests check")

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        view = memoryview(chunk)
        with suppress(BrokenPipeError):  # the reader has found something wrong; close says what
            while view:
                view = view[self._writer.write(view) or 0 :]

    def close(self) -> dict[str, Any]:
        self._writer.close()
        self._read_through.result()
        return {"plain_bytes": self._size, "objects": self._kinds.total(), "kinds": dict(sorted(self._kinds.items()))}

    def abandon(self) -> None:
        self._writer.close()
        self._read_through.exception()

    def _read(self) -> None:
        with self._reader as source:
            for _, manifest in read_archive(source, index=self._index):
                self._kinds[manifest["kind"]] += 1


def read_archive(source: IO[bytes], *, index: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each object of the archive, as its file's bytes and as what they say, compared with the index.

    Errors: ``ProofFailed``.
    """
    listed: dict[str, dict[str, Any]] = {}
    ended = False
    try:
        with tarfile.open(fileobj=source, mode="r|") as archive:
            for place, member in enumerate(archive):
                content = _content(archive, member)
                if place == 0:
                    listed = _index(member.name, content, index)
                elif member.name == END:
                    ended = True
                else:
                    yield content, _object(member.name, content, listed)
        while source.read(1 << 20):  # tar's padding
            pass
    except tarfile.TarError as error:
        raise ProofFailed(f"the archive can't be read to its end: {error}", hint=_HINT) from error
    if not ended:
        raise ProofFailed("the archive breaks off: its end is not marked", hint=_HINT)
    if listed:
        raise ProofFailed(
            f"{len(listed)} objects of the index are not in the archive: {', '.join(sorted(listed)[:5])}", hint=_HINT
        )


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


def _index(name: str, content: bytes, wanted: str) -> dict[str, dict[str, Any]]:
    if name != INDEX or digest(content) != wanted:
        raise ProofFailed(f"the archive doesn't begin with the {INDEX} that its manifest speaks of", hint=_HINT)
    return {entry["path"]: entry for entry in json.loads(content)["objects"]}


def _object(path: str, content: bytes, listed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    entry = listed.pop(path, None)
    if entry is None:
        raise ProofFailed(f"{path} is in the archive, but not in its index", hint=_HINT)
    if digest(content) != entry["sha256"]:
        raise ProofFailed(f"{path} has another SHA-256 than the index says", hint=_HINT)
    try:
        manifest = yaml.load(content, Loader=yaml.CSafeLoader)
        said = {key: manifest[key] for key in ("apiVersion", "kind")} | {"name": manifest["metadata"]["name"]}
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ProofFailed(f"{path} is not a manifest: {error}", hint=_HINT) from error
    if any(said[key] != entry[key] for key in said):
        raise ProofFailed(f"{path} is {said['kind']} {said['name']}, the index says otherwise", hint=_HINT)
    found: dict[str, Any] = manifest
    return found
