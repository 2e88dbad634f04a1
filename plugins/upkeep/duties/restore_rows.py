"""Put archived rows back: ``upkeep restore rows``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from upkeep.domain.row_archive import Row, RowArchive, key_text, row_of
from upkeep.domain.tables import Column, Table
from upkeep.duties.job import Job
from upkeep.duties.purge_rows import hold_name
from upkeep.duties.row_archives import Archives
from upkeep.engines.row_purge import RowPurge, open_row_purge
from upkeep.errors import ObjectMissing, PurgeRefused

log = logging.getLogger(__name__)

BATCH = 500


@dataclass
class _Count:
    restored: int = 0
    there_already: int = 0
    passed_over: int = 0
    differing: int = 0


def restore_rows(
    job: Job,
    database: str,
    table: str,
    archives: Sequence[str] | Literal["all"],
    *,
    into_table: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Put the rows of archives back into their table, or into another of the same columns.

    A row whose primary key is in the table stays as it is there, so it may be run again and again. Of several archives
    the latest comes first: where two hold a row, its last state is the one that is restored. Rows that the purge had
    left in the table, because they changed before they could be deleted, are passed over.

    Errors: ``ObjectMissing`` for an unknown archive or none at all, ``ObjectDamaged`` before any of its rows is
    restored, ``PurgeRefused`` when the table has other columns, ``SourceError`` when a row doesn't fit (nothing of
    its batch of 500 is kept).
    """
    shelf = Archives(job, database, table)
    into = into_table or table
    with job.hold(hold_name(database, table)):
        found, endings = shelf.committed()
        chosen = _chosen(shelf, found, archives)
        with open_row_purge(job.engine(database)) as session:
            targets = {archive.archive_id: _fitting(session, archive, into) for archive in chosen}
            if dry_run:
                return _result(job, database, table, into, chosen, _Count(), dry_run=True)
            act = job.act("restore_rows", database, command=f"restore {len(chosen)} archives of {table} into {into}")
            with job.ledger.record(act, secrets=job.engine(database).secrets) as entry:
                count = _Count()
                try:
                    for archive in reversed(chosen):
                        ending = endings.get(archive.archive_id)
                        left = set(ending.left) if ending else set()
                        _restore(shelf, session, archive, targets[archive.archive_id], left, count)
                finally:
                    entry.note(rows=count.restored, table=table, into=into, archives=len(chosen), **vars(count))
        return _result(job, database, table, into, chosen, count, dry_run=False)


def _chosen(shelf: Archives, found: list[RowArchive], wanted: Sequence[str] | Literal["all"]) -> list[RowArchive]:
    if wanted == "all":
        if not found:
            raise ObjectMissing(
                f"{shelf.folder} holds no committed archive: no purged row of that table was kept",
                hint="check the table's name; only purge rules with archive: true keep what they delete",
            )
        return found
    unknown = sorted(set(wanted) - {archive.archive_id for archive in found})
    if unknown:
        known = ", ".join(archive.archive_id for archive in found[-10:]) or "none"
        raise ObjectMissing(
            f"{shelf.folder} holds no committed archive {', '.join(unknown)}", hint=f"the latest it holds: {known}"
        )
    return [archive for archive in found if archive.archive_id in wanted]


def _fitting(session: RowPurge, archive: RowArchive, into: str) -> tuple[Table, list[Column]]:
    """The table to restore into and its columns in the archive's order. Errors: ``PurgeRefused``."""
    table = session.look(into)
    copy = f"make a table with the columns that {archive.prefix}manifest.json lists, and name that one as into_table"
    if table is None:
        raise PurgeRefused(f"there is no table {into!r} to restore into", hint=copy)
    if read_only := session.read_only():
        raise PurgeRefused(read_only, hint="restore on the primary")
    columns = {column.name: column for column in table.kept_columns}
    amiss = [
        str(was["name"])
        for was in archive.columns
        if was["name"] not in columns or columns[was["name"]].form != was["form"]
    ]
    if amiss or table.primary_key != archive.key:
        what = f"columns {', '.join(amiss)}" if amiss else "primary key"
        raise PurgeRefused(
            f"the {what} of archive {archive.archive_id} don't fit table {table.label} any more", hint=copy
        )
    return table, [columns[name] for name in archive.column_names]


def _restore(
    shelf: Archives,
    session: RowPurge,
    archive: RowArchive,
    target: tuple[Table, list[Column]],
    left: set[tuple[str | None, ...]],
    count: _Count,
) -> None:
    table, columns = target
    for rows in _batches(shelf, archive):
        wanted = [row for row in rows if key_text(row, archive.key) not in left]
        count.passed_over += len(rows) - len(wanted)
        keys = [session.key_of(table, row) for row in wanted]
        there = session.present(table, keys)
        missing = [row for key, row in zip(keys, wanted, strict=True) if key not in there]
        count.there_already += len(wanted) - len(missing)
        if missing:
            count.differing += session.insert(table, columns, missing)
            count.restored += len(missing)
    if count.differing:
        log.warning(
            "%d rows differ from the archive once they are in %s: has it triggers?", count.differing, table.label
        )


def _batches(shelf: Archives, archive: RowArchive) -> Iterator[list[Row]]:
    some: list[Row] = []
    for line in shelf.lines(archive):
        some.append(row_of(line))
        if len(some) == BATCH:
            yield some
            some = []
    if some:
        yield some


def _result(
    job: Job, database: str, table: str, into: str, chosen: list[RowArchive], count: _Count, *, dry_run: bool
) -> dict[str, Any]:
    return {
        "site": job.site.name,
        "database": database,
        "table": table,
        "into": into,
        "dry_run": dry_run,
        "archives": [archive.archive_id for archive in chosen],
        "rows_archived": sum(archive.rows for archive in chosen),
        **vars(count),
    }
