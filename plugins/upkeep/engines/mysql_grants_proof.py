"""Whether the rights in a backup of MySQL or MariaDB are those that were recorded, and a server takes them.

On the scratch server no account is made that the backup names. Each right is given, one at a time, to a locked account
that lasts for that one statement, on the copy instead of the source; what the server then says that this account may do
has to be what was recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pymysql
from pymysql.constants import ER

from upkeep.domain.manifest import Manifest
from upkeep.domain.proving import PREFIX
from upkeep.domain.units import human_bytes
from upkeep.engines.mysql_accounts import CLIENT_ERRORS, GRANTS, Right, rights_in
from upkeep.engines.mysql_catalogue import release
from upkeep.engines.mysql_load import said
from upkeep.engines.mysql_statements import quoted, rows_of, run
from upkeep.engines.restore_refusals import refused, unavailable
from upkeep.engines.writes_held import NO_PRIVILEGE

LARGEST_SCRIPT = 64 << 20
GONE = {ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR, ER.SP_DOES_NOT_EXIST}
"""A server keeps rights on what was dropped. What was lost on the way is found by comparing tables and routines."""
MOST_NOTES = 5


@dataclass
class GrantsCompared:
    """``rights``: how many were given and read back."""

    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rights: int = 0


def throwaway(database: str) -> str:
    """The one account that is ever made for a copy: at most one is left, whose name its copy tells."""
    return f"`{PREFIX}{hashlib.sha256(database.encode()).hexdigest()[:16]}`@`localhost`"


def drop_throwaway(connection: Any, database: str) -> None:
    """An account that may not drop one can't have made one either: that is no error."""
    try:
        run(connection, f"DROP USER IF EXISTS {throwaway(database)}")
    except pymysql.MySQLError as error:
        if said(error)[0] not in (*NO_PRIVILEGE, ER.OPTION_PREVENTS_STATEMENT):
            raise


def compare_grants(connection: Any, manifest: Manifest, database: str, chunks: Iterable[bytes]) -> GrantsCompared:
    """``connection``: to a scratch server, never another; ``database``: the copy there; ``chunks``: of ``grants.sql``.

    Errors: ``ProofFailed``, ``RestoreUnavailable``.
    """
    compared = GrantsCompared()
    script = bytearray()
    for chunk in chunks:
        script += chunk
        if len(script) > LARGEST_SCRIPT:
            raise refused(f"{GRANTS} is larger than {human_bytes(LARGEST_SCRIPT)}")
    found = list(rights_in(script.decode("utf-8", "replace")))
    _compare(compared, manifest.contents.get("grants", {}).get("accounts", {}), found)
    try:
        with suppress(pymysql.MySQLError):  # without leave to do that, replicas of the scratch server see it too
            run(connection, "SET SESSION sql_log_bin = 0")
        try:
            _try_all(compared, connection, manifest, database, [right for _, right, _ in found if right])
        finally:
            drop_throwaway(connection, database)
    except pymysql.MySQLError as error:
        raise unavailable(f"can't try rights on the scratch server: {said(error)[1]}") from error
    return compared


def _compare(
    compared: GrantsCompared, recorded: Mapping[str, Iterable[str]], found: Iterable[tuple[str, Right | None, str]]
) -> None:
    before = {(who, right) for who, rights in recorded.items() for right in rights}
    now = {(who, right) for who, _, right in found}
    compared.differences += [f"right {right} of {who} is missing in {GRANTS}" for who, right in sorted(before - now)]
    compared.differences += [f"right {right} of {who} is not in the manifest" for who, right in sorted(now - before)]


def _try_all(
    compared: GrantsCompared, connection: Any, manifest: Manifest, database: str, rights: Iterable[Right]
) -> None:
    version = str(rows_of(connection, "SELECT VERSION() AS version")[0]["version"])
    alike = release(version) == release(str(manifest.source.get("version", "")))
    account = throwaway(database)
    notes: list[str] = []
    for right in rights:
        # A pattern for names of databases stands there before an asterisk.
        place = quoted(database if right.object != "*" else database.replace("\\", "\\\\").replace("_", "\\_"))
        try:
            run(connection, f"DROP USER IF EXISTS {account}")
            run(connection, f"CREATE USER {account} ACCOUNT LOCK")
        except pymysql.MySQLError as error:
            notes.append(_not_tried(error))
            break
        try:
            run(connection, right.statement(account, place))
        except pymysql.MySQLError as error:
            number, words = said(error)
            if number in NO_PRIVILEGE:
                notes.append(_not_tried(error))
                break
            if number in CLIENT_ERRORS:
                raise
            if number in GONE or not alike:
                notes.append(f"right {right} of {right.who} is not compared: {words}")
            else:
                compared.differences.append(f"the scratch server refuses right {right} of {right.who}: {words}")
            continue
        given = [
            str(Right(each.what, each.kind, right.database, each.object, each.who, each.rest))
            for row in rows_of(connection, f"SHOW GRANTS FOR {account}")
            if (each := Right.read(str(next(iter(row.values())))))
        ]
        if alike and given != [str(right)]:
            compared.differences.append(f"right {right} of {right.who} comes back as {'; '.join(given) or 'nothing'}")
        compared.rights += 1
    compared.notes += notes[:MOST_NOTES]
    if len(notes) > MOST_NOTES:
        compared.notes.append(f"and {len(notes) - MOST_NOTES} more rights that are not compared")


def _not_tried(error: pymysql.MySQLError) -> str:
    number, words = said(error)
    if number in CLIENT_ERRORS:
        raise error
    return (
        f"rights are compared with the manifest, but not tried out: the scratch server says {words}; grant its account "
        "ALL ON *.* WITH GRANT OPTION"
    )
