"""A copy of a database that was loaded from a backup: the server it goes to, and how it is compared with its source."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import closing
from typing import Any

from upkeep.domain.copy_comparison import compare_catalogues, compare_tables, not_compared
from upkeep.domain.manifest import Manifest
from upkeep.duties.job import Job
from upkeep.duties.scratch import Restored
from upkeep.engines.evidence import added_up
from upkeep.engines.restore_base import Restorer

SPACE_FACTOR = 2
"""Bytes of disk on a scratch server for each plain byte of a dump: rows, indexes and the server's log."""
SESSIONS = 2
"""Sessions that load one backup side by side."""
CHECK_LIMIT_S = 120
"""What one of the site's checks may take."""


def open_restorer(job: Job, engine: str, conn_id: str, *, live: bool = False) -> Restorer:
    endpoint = job.connect(conn_id)
    if engine == "mysql":
        from upkeep.engines.mysql_restore import MySqlRestorer

        return MySqlRestorer(endpoint, live=live)
    from upkeep.engines.postgres_restore import PostgresRestorer

    return PostgresRestorer(endpoint, live=live)


def compare_database(
    restorer: Restorer,
    engine: str,
    manifest: Manifest,
    name: str,
    restored: Restored,
    only: Collection[str] = (),
) -> None:
    """Compare what was loaded as database ``name`` with what its manifest says; differences are added to ``restored``.

    :param only: the tables whose rows were loaded; none means all.
    """
    from upkeep.engines.copies import look_at_mysql, look_at_postgres

    recorded = dict(manifest.contents.get("tables", {}))
    with closing(restorer.connect(name)) as connection:
        if engine == "mysql":
            copy = look_at_mysql(connection, name, manifest)
        else:
            copy = look_at_postgres(connection, manifest)
    tables = copy.tables
    if only:
        recorded = {table: facts for table, facts in recorded.items() if table in only}
        tables = {table: facts for table, facts in tables.items() if table in only}
    compared = added_up(recorded, copy.regrouped)
    restored.differences += compare_tables(
        compared, added_up(tables, copy.regrouped), exact=manifest.rows_are == "exact"
    )
    # Foreign keys and views with rows of their own need all tables.
    catalogue: Mapping[str, Any] = {} if only else manifest.contents.get("catalogue", {})
    differences, notes = compare_catalogues(catalogue, copy.catalogue)
    restored.differences += differences
    restored.notes += [*not_compared(compared, manifest.rows_are), *([] if only else notes)]
    if large := manifest.contents.get("large_objects"):
        restored.notes.append(f"of {large} large objects the number is compared, not the content")
    restored.figures |= {
        "tables": len(tables),
        "rows": sum(int(table["rows"]) for table in tables.values()),
        "checksums": sum("checksum" in table for table in recorded.values()),
        "objects": sum(len(kind) for kind in copy.catalogue.values() if isinstance(kind, Mapping)),
        **({} if manifest.rows_are == "exact" else {"rows_are": manifest.rows_are}),
    }
