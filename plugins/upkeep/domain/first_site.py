"""The first site file of a system: what was asked and what was found, written so that a person can go on from there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from upkeep.domain.units import counted, human_bytes

LARGE_BYTES = 20_000_000_000
"""From here on a dump is likely to outlast a window of three hours together with everything else."""
NAMED = 5


@dataclass(frozen=True)
class Asked:
    """What only people know."""

    name: str
    title: str
    timezone: str
    engine: str
    conn_id: str
    store_url: str
    database: str = ""
    store_conn_id: str = ""
    scratch_conn_id: str = ""
    spool: str = "/var/spool/upkeep"


@dataclass(frozen=True)
class FoundDatabase:
    """What the server said. ``tables``: name and bytes, largest first; ``bare``: those without a primary key."""

    server: str
    database: str
    tables: Sequence[tuple[str, int]] = field(default_factory=tuple)
    bare: Sequence[str] = field(default_factory=tuple)

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.tables)

    @property
    def in_words(self) -> str:
        largest = ", ".join(f"{name} {human_bytes(size)}" for name, size in self.tables[:3])
        text = f"{self.server}, {human_bytes(self.bytes)} in {counted(len(self.tables), 'table')}"
        return f"{text}; the largest: {largest}" if largest else text


def site_text(asked: Asked, looked: FoundDatabase | None = None) -> str:
    """A site file in YAML, with comments. ``looked``: None before anything was looked at."""
    store = [f"  url: {_text(asked.store_url)}"]
    if asked.store_conn_id:
        store.append(f"  conn_id: {_text(asked.store_conn_id)}")
    database = [f"  - name: app{_comment(looked.in_words if looked else '')}"]
    database += [f"    engine: {asked.engine}", f"    conn_id: {_text(asked.conn_id)}"]
    if asked.database:
        database.append(f"    database: {_text(asked.database)}")
    if asked.scratch_conn_id:
        database.append(f"    scratch_conn_id: {_text(asked.scratch_conn_id)}")
    else:
        database.append(
            "    # scratch_conn_id: ...      # an empty server where each week's backups are restored to prove them"
        )
    database += [
        "    # purge:                    # rows that may go, behind the night's proven backup; none without a rule",
        "    #   - {table: audit_logs, column: created_at, keep_days: 180, archive: true}",
        "    # checks:                   # what must be true of a restored copy",
        '    #   - {sql: "SELECT COUNT(*) FROM ...", at_least: 1}',
    ]
    if looked and looked.bare:
        shown = ", ".join(looked.bare[:NAMED]) + (" ..." if len(looked.bare) > NAMED else "")
        database.append(f"    # without a primary key, so never purged or archived: {_one_line(shown)}")
    return "\n".join(
        [
            f"# Made by upkeep init. Every setting: upkeep schema. After each change: upkeep check {asked.name}.yaml",
            f"name: {_text(asked.name)}",
            f"title: {_text(asked.title)}",
            f"timezone: {_text(asked.timezone)}",
            "",
            "rhythms:                        # cron in that time zone + how long the window stays open",
            '  daily:   {at: "0 2 * * *", length_h: 3}',
            '  weekly:  {at: "0 1 * * 0", length_h: 6}',
            '  # monthly: {at: "0 21 1 * *", length_h: 4}   # rebuilds it all in scratch, forecasts, scans',
            "",
            "store:                          # where backups go; credentials only as an Airflow connection",
            *store,
            "",
            f"spool: {_text(asked.spool)}      # where a finished backup waits on a worker while the store is away",
            "",
            "# encryption:                   # age public keys; the private key belongs in a connection, never here",
            '#   {recipients: ["age1..."], identity_conn_id: ...}',
            "",
            "retention: {daily: 14, weekly: 8, monthly: 12, keep_at_least: 3, min_age_days: 7}",
            "",
            "databases:",
            *database,
            "",
            "# caches:  [{name: sessions, conn_id: ...}]",
            "# folders: [{name: config, paths: [/etc/...]}]",
            "# logs:    [{path: /var/log/..., keep_days: 30, compress_over_mb: 100}]",
            '# endpoints: [{name: api, url: "http://localhost/health"}]',
            "# notify:  [{conn_id: ..., when: amber}]",
            "",
        ]
    )


def advice_on(asked: Asked, looked: FoundDatabase) -> list[str]:
    """What the figures call for before the first night."""
    advice = []
    if looked.bytes > LARGE_BYTES:
        advice.append(
            f"{human_bytes(looked.bytes)} may take longer than the window of 3 h: start the first run by hand, read "
            "its duration in the report, then set length_h and dump_streams"
        )
    if looked.bare:
        advice.append(
            f"{counted(len(looked.bare), 'table')} without a primary key ({', '.join(looked.bare[:NAMED])}): backups "
            "hold them, but they can't be purged in batches or replicated row by row; add one"
        )
    if not looked.tables:
        advice.append(f"database {looked.database!r} has no tables that this account can see: is it the right one?")
    if not asked.scratch_conn_id:
        advice.append(
            "no scratch server: backups are read back each night, but never restored; name an empty server of the same "
            "kind in scratch_conn_id"
        )
    return advice


def _text(text: str) -> str:
    """A YAML scalar that means just this text."""
    return json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    return f"                   # {_one_line(text)}" if text else ""


def _one_line(text: str) -> str:
    """Table names come from a server and may hold anything: a line break would end the comment."""
    return "".join(character if character.isprintable() else "?" for character in text)
