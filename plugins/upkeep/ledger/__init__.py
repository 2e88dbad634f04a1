"""The append-only, hash-chained record of every act.

    ledger = Ledger(default_url(home))
    act = Act(site="kindergarten", duty="back_up", target="app", ...)
    with ledger.record(act, secrets=endpoint.secrets()) as entry:
        ...
        entry.note(rows=1200, bytes=88_000_000, checksum="sha256:...")

The started row is committed before the block runs, the finished row after it. No started row, no act.
"""

from __future__ import annotations

from upkeep.ledger.acts import Act, Head, Record, Row
from upkeep.ledger.entry import Entry
from upkeep.ledger.ledger import Ledger
from upkeep.ledger.location import default_url, url_of
from upkeep.ledger.locks import Hold
from upkeep.ledger.verify import Chain, Problem, Verification, verify

__all__ = [
    "Act",
    "Chain",
    "Entry",
    "Head",
    "Hold",
    "Ledger",
    "Problem",
    "Record",
    "Row",
    "Verification",
    "default_url",
    "url_of",
    "verify",
]
