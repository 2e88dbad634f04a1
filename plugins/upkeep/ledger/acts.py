"""What the ledger keeps: an act, the two rows it leaves, and what became of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Event = Literal["started", "finished"]
Result = Literal["done", "failed", "skipped"]
State = Literal["done", "failed", "skipped", "running", "died"]

GENESIS = "0" * 64
"""What stands for the previous hash in a site's first row."""


@dataclass(frozen=True, kw_only=True)
class Act:
    """What is about to be done, by whom and why. No field may hold a secret: mask the command before it comes here."""

    site: str
    duty: str
    """What Upkeep does: ``back_up``, ``purge``, ``restore``..."""
    target: str
    """The one thing in the site it is done to: a database, a table, a folder, a deployment."""
    run_id: str
    """Airflow's run id; for the command line whatever tells one run from another."""
    task_id: str
    try_number: int
    actor: str
    """The person who started it, or the account the scheduler runs as."""
    trigger: str
    """How it came to run: ``scheduled``, ``manual``, ``cli``..."""
    host: str
    """The machine that does it."""
    command: str
    config_hash: str
    """SHA-256 of the site file in force."""
    approver: str = ""
    """Who let it pass, for acts behind an approval."""


@dataclass(frozen=True, kw_only=True)
class Row(Act):
    """One row as it is stored; what an event doesn't have is None."""

    seq: int
    """Position in the site's chain, from 1, without gaps. Only ``seq`` orders rows: a clock may go backwards."""
    act_id: str
    """A UUID that the started and the finished row of one act share."""
    event: str
    at: str
    """UTC by the writer's clock, ISO 8601 with microseconds, always the same length; for people, not for order."""
    result: str | None = None
    rows: int | None = None
    bytes: int | None = None
    checksum: str | None = None
    error: str | None = None
    detail: str | None = None
    """A small JSON object with sorted keys."""
    prev_hash: str
    hash: str = ""

    def digest(self) -> str:
        """What ``hash`` must be: SHA-256 of the row's other fields as JSON, sorted by name, ASCII, without spaces.

        ``prev_hash`` is one of those fields, and so each row vouches for all before it. A field that is None is left
        out: a column that a later release adds doesn't change the hash of the rows from before it.

        Anyone can recompute it without Upkeep, for example with jq from ``sqlite3 -json``:
        ``jq -aScj 'del(.hash) | del(..|nulls)' | sha256sum``, one row at a time.
        """
        fields = {name: value for name, value in vars(self).items() if name != "hash" and value is not None}
        # default: a forger may leave a blob where text belongs; that is a wrong hash, not a crash of the verifier.
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), default=repr)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


class Head(NamedTuple):
    """The end of a site's chain. A head that was noted elsewhere, in a report, proves the rows up to it forever."""

    site: str
    seq: int
    hash: str


@dataclass(frozen=True)
class Record:
    """One act as the ledger tells it."""

    started: Row
    finished: Row | None
    held: bool
    """Whether its process still held the act's lock when we looked."""

    @property
    def state(self) -> State:
        if self.finished is None:
            return "running" if self.held else "died"
        return self.finished.result  # type: ignore[return-value]  # text in the database, one of Result when written

    @property
    def detail(self) -> dict[str, Any]:
        """What was noted about it beyond rows, bytes and checksum; empty while it has no finish."""
        found: dict[str, Any] = json.loads((self.finished and self.finished.detail) or "{}")
        return found
