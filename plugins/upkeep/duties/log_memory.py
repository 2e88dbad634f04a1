"""What a site's log reviews remember from one run to the next: an object in its store.

It is written after the run's record in the ledger: a run that is killed in between counts the same lines again, and
none is lost. While the store is away it is kept in this worker's spool, and the newer of the two counts.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from upkeep.duties.job import Job
from upkeep.engines.log_positions import Position
from upkeep.errors import ObjectMissing, StoreError
from upkeep.stores.base import Store

log = logging.getLogger(__name__)

FORMAT = 1
KEEP_DAYS = 90
"""How long a folder that isn't reviewed any more is remembered."""


@dataclass(frozen=True)
class FolderMemory:
    """One log folder. ``reviewed_at`` is None before the first review; ``kinds`` maps the key of every kind of message
    seen to the day it was last seen.
    """

    reviewed_at: datetime | None = None
    positions: list[Position] = field(default_factory=list)
    kinds: Mapping[str, str] = field(default_factory=dict)


class LogMemory:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._key = f"{job.site.name}/_state/review_logs.json"
        self._folders: dict[str, FolderMemory] = {}
        self.remarks: list[str] = []
        """Why what was remembered can't be trusted to be the last."""
        self.waits_in = ""
        """Where it was put when the store didn't take it."""
        self.lost: StoreError | None = None
        """Why it could be put nowhere: what was read will be counted again."""
        self._load()

    def of(self, folder: str) -> FolderMemory:
        return self._folders.get(folder) or FolderMemory()

    def remember(self, folder: str, memory: FolderMemory) -> None:
        """Keep one folder's. A store that doesn't take it isn't an error here: see ``waits_in`` and ``lost``."""
        self._folders[folder] = memory
        now = self._job.now()
        content = {
            "format": FORMAT,
            "at": now.isoformat(),
            "folders": {
                name: _plain(memory)
                for name, memory in self._folders.items()
                if memory.reviewed_at and memory.reviewed_at > now - timedelta(days=KEEP_DAYS)
            },
        }
        data = json.dumps(content, separators=(",", ":")).encode()
        self.waits_in, self.lost = "", None
        try:
            self._job.store.put(self._key, data)
        except StoreError as error:
            log.warning("how far the logs were read can't be kept in the store: %s", error.message)
            self._put_aside(data, error)
        else:
            self._job.spool.delete(self._key)

    def _put_aside(self, data: bytes, away: StoreError) -> None:
        try:
            self._job.spool.put(self._key, data)
            self.waits_in = self._job.spool.url
        except StoreError as error:
            self.lost = type(away)(
                f"neither the store nor the spool took how far the logs were read: {away.message}; {error.message}",
                hint=f"{away.hint}; until then the same lines are counted again",
            )

    def _load(self) -> None:
        found = [content for store in (self._job.store, self._job.spool) if (content := self._read(store))]
        newest = max(found, key=lambda content: str(content.get("at")), default={})
        for name, fields in newest.get("folders", {}).items():
            try:
                self._folders[name] = _memory(fields)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self.remarks.append(f"how far {name} was read is no longer known: {error}")

    def _read(self, store: Store) -> dict[str, Any] | None:
        where = f"{store.url}/{self._key}"
        try:
            content = json.loads(self._get(store))
        except ObjectMissing:
            return None
        except StoreError as error:
            self.remarks.append(f"how far the logs were read may be out of date: {error.message}")
            return None
        except ValueError as error:
            self.remarks.append(f"how far the logs were read is no longer known: {where} is damaged: {error}")
            return None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            self.remarks.append(f"how far the logs were read is no longer known: {where} has another format")
            return None
        return content

    def _get(self, store: Store) -> bytes:
        try:
            return store.get(self._key)
        except ObjectMissing:
            if store is self._job.store:
                store.check()  # a folder whose disk isn't mounted holds nothing either
            raise


def _plain(memory: FolderMemory) -> dict[str, Any]:
    return {
        "reviewed_at": memory.reviewed_at.isoformat() if memory.reviewed_at else None,
        "positions": [asdict(position) for position in memory.positions],
        "kinds": dict(memory.kinds),
    }


def _memory(fields: Mapping[str, Any]) -> FolderMemory:
    return FolderMemory(
        reviewed_at=datetime.fromisoformat(fields["reviewed_at"]) if fields["reviewed_at"] else None,
        positions=[Position(**position) for position in fields["positions"]],
        kinds={str(key): str(day) for key, day in fields["kinds"].items()},
    )
