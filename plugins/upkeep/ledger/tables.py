"""The ledger's two tables, and the triggers that keep them append-only.

``upkeep_ledger`` holds the rows, ``upkeep_ledger_heads`` the end of each site's chain, moved in the same transaction as
a row is added: without it nobody could tell that the last rows were cut off.

The database itself refuses UPDATE, DELETE and TRUNCATE of rows, and any move of a head but one step forward. Whoever
owns the tables can get around that: drop the triggers (PostgreSQL: or ``ALTER TABLE ... DISABLE TRIGGER``), make the
change, put them back. ``verify`` then still finds the change through the hashes, and missing triggers as such. What it
can't find by itself is a forger who also computes every later hash and the head anew; against that, compare with a head
noted elsewhere (``verify(noted=...)``): every report prints it.

On PostgreSQL let one role own the tables and Upkeep log in as another with no more than
``GRANT SELECT, INSERT ON upkeep_ledger`` and ``GRANT SELECT, INSERT, UPDATE ON upkeep_ledger_heads``.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, Table, Text, UniqueConstraint, inspect
from sqlalchemy import text as sql

from upkeep.errors import LedgerUnavailable

# "C": order and equality by code point, the same on every server and after every upgrade of its C library.
_TEXT = Text().with_variant(Text(collation="C"), "postgresql")

_METADATA = MetaData()

ROWS = Table(
    "upkeep_ledger",
    _METADATA,
    Column("site", _TEXT, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("act_id", _TEXT, nullable=False),
    Column("event", _TEXT, nullable=False),
    Column("at", _TEXT, nullable=False),
    Column("duty", _TEXT, nullable=False),
    Column("target", _TEXT, nullable=False),
    Column("run_id", _TEXT, nullable=False),
    Column("task_id", _TEXT, nullable=False),
    Column("try_number", Integer, nullable=False),
    Column("actor", _TEXT, nullable=False),
    Column("trigger", _TEXT, nullable=False),
    Column("host", _TEXT, nullable=False),
    Column("command", _TEXT, nullable=False),
    Column("config_hash", _TEXT, nullable=False),
    Column("approver", _TEXT, nullable=False),
    Column("result", _TEXT),
    Column("rows", BigInteger),
    Column("bytes", BigInteger),
    Column("checksum", _TEXT),
    Column("error", _TEXT),
    Column("detail", _TEXT),
    Column("prev_hash", _TEXT, nullable=False),
    Column("hash", _TEXT, nullable=False),
    UniqueConstraint("act_id", "event", name="upkeep_ledger_once"),
    Index("upkeep_ledger_run", "run_id"),
    Index("upkeep_ledger_at", "at"),
    sqlite_with_rowid=False,  # a hidden rowid would be a second key by which INSERT OR REPLACE could replace a row
)

HEADS = Table(
    "upkeep_ledger_heads",
    _METADATA,
    Column("site", _TEXT, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", _TEXT, nullable=False),
    sqlite_with_rowid=False,
)

# On SQLite, INSERT OR REPLACE removes the row in its way without a word to DELETE triggers: hence the two on INSERT.
_SQLITE_GUARDS = {
    "upkeep_ledger_no_update": "BEFORE UPDATE ON upkeep_ledger",
    "upkeep_ledger_no_delete": "BEFORE DELETE ON upkeep_ledger",
    "upkeep_ledger_no_replace": """BEFORE INSERT ON upkeep_ledger WHEN EXISTS (
        SELECT 1 FROM upkeep_ledger WHERE (site = NEW.site AND seq = NEW.seq)
        UNION ALL SELECT 1 FROM upkeep_ledger WHERE act_id = NEW.act_id AND event = NEW.event)""",
    "upkeep_ledger_heads_forward": """BEFORE UPDATE ON upkeep_ledger_heads
        WHEN NEW.seq <> OLD.seq + 1 OR NEW.site <> OLD.site""",
    "upkeep_ledger_heads_no_delete": "BEFORE DELETE ON upkeep_ledger_heads",
    "upkeep_ledger_heads_no_replace": """BEFORE INSERT ON upkeep_ledger_heads
        WHEN EXISTS (SELECT 1 FROM upkeep_ledger_heads WHERE site = NEW.site)""",
}

_POSTGRES_GUARDS = {
    "upkeep_ledger_append_only": (
        "upkeep_ledger",
        "BEFORE UPDATE OR DELETE OR TRUNCATE ON upkeep_ledger FOR EACH STATEMENT",
    ),
    "upkeep_ledger_heads_keep": (
        "upkeep_ledger_heads",
        "BEFORE DELETE OR TRUNCATE ON upkeep_ledger_heads FOR EACH STATEMENT",
    ),
    "upkeep_ledger_heads_forward": (
        "upkeep_ledger_heads",
        "BEFORE UPDATE ON upkeep_ledger_heads FOR EACH ROW WHEN (NEW.seq <> OLD.seq + 1 OR NEW.site <> OLD.site)",
    ),
}

_REFUSAL = "the ledger is append-only: its rows are never changed or removed"

_POSTGRES_REFUSE = f"""
CREATE FUNCTION upkeep_ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$
"""

_CREATION_LOCK = 0x75706B656570  # "upkeep": any number will do that is the same in every process


def exist(connection: Connection) -> bool:
    return inspect(connection).has_table(HEADS.name)


def create(connection: Connection) -> None:
    """Create tables and triggers if they aren't there: all or nothing, and by one process however many try."""
    if connection.dialect.name == "postgresql":
        connection.execute(sql("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATION_LOCK})
        _require_unicode(connection)
    if exist(connection):
        return
    _METADATA.create_all(connection)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_POSTGRES_REFUSE)
        for name, (table, when) in _POSTGRES_GUARDS.items():
            connection.exec_driver_sql(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION upkeep_ledger_refuse()")
            # ALWAYS: otherwise session_replication_role = replica would switch it off without touching the table.
            connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
    else:
        for name, when in _SQLITE_GUARDS.items():
            connection.exec_driver_sql(f"CREATE TRIGGER {name} {when} BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END")


def missing_guards(connection: Connection) -> list[str]:
    """The names of the triggers that should be there and working, but aren't."""
    if connection.dialect.name == "postgresql":
        query = """
            SELECT tgname FROM pg_trigger
            WHERE tgrelid IN ('upkeep_ledger'::regclass, 'upkeep_ledger_heads'::regclass) AND tgenabled = 'A'
        """
        expected = list(_POSTGRES_GUARDS)
    else:
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'upkeep_ledger%'"
        expected = list(_SQLITE_GUARDS)
    found = set(connection.scalars(sql(query)))
    return [name for name in expected if name not in found]


def _require_unicode(connection: Connection) -> None:
    encoding = connection.scalar(sql("SHOW server_encoding"))
    if encoding not in ("UTF8", "SQL_ASCII"):
        raise LedgerUnavailable(
            f"database {connection.engine.url.database} has the encoding {encoding}, which can't hold every text",
            hint="create a database with ENCODING 'UTF8' for the ledger",
        )
