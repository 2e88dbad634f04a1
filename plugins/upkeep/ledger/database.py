"""The ledger's database: how it is reached, and what is raised when it isn't."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from upkeep.domain.masking import mask
from upkeep.errors import LedgerUnavailable

LOCK_WAIT_S = 60
"""How long a writer waits for the others. Each holds the chain for a few milliseconds, so this is never reached in
order, only when somebody left a transaction open by hand."""

CONNECT_WAIT_S = 10

_POSTGRES_CONNECT: dict[str, Any] = {
    "connect_timeout": CONNECT_WAIT_S,
    "client_encoding": "utf8",
    "application_name": "upkeep ledger",
    # A server that vanished without a word is noticed after about a minute and a half, not after two hours.
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 90_000,
}

_LIES_IN = "SELECT system_identifier::text, current_database() FROM pg_control_system()"

AGAIN = "bring the ledger's database back and run it again"


class Database:
    """One SQLite file or one PostgreSQL database.

    There is no pool: a connection that a forked task inherits from its parent would be shared by both, and a lock
    that belongs to a session has to end with its owner. For the same reason pgbouncer in transaction mode must not
    stand in between: it would give the lock to whoever gets the server's session next.

    :param url: ``sqlite:////absolute/file`` or ``postgresql://user:secret@host:port/database``.
    :raises LedgerUnavailable: the URL can't be read, or leads to something that can't keep a ledger.
    """

    def __init__(self, url: str | URL) -> None:
        parsed = _parsed(url)
        self.place = parsed.set(query={}).render_as_string(hide_password=True)
        """The address for people; holds no secret."""
        self.file = Path(parsed.database or "") if parsed.drivername == "sqlite" else None
        """The SQLite file; None on PostgreSQL."""
        self._secrets = tuple(filter(None, (parsed.password, *_texts(parsed.query, "password"))))
        self._engine = _sqlite(parsed) if self.file else _postgres(parsed)

    @contextmanager
    def writing(self, *, hint: str = AGAIN) -> Iterator[Connection]:
        """One transaction that commits at the end. On SQLite it is the only writer from its first moment on."""
        with self.told("written", hint), self._engine.connect() as connection:
            connection = connection.execution_options(upkeep_begin="BEGIN IMMEDIATE")
            with connection.begin():
                if self.file is None:
                    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT_S}s'"))
                yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """One transaction for reading in which everything is as of one moment.

        Keep it short: on SQLite nobody can commit before it ends.
        """
        with self.told("read"), self._engine.connect() as connection:
            if self.file is None:
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    def lies_in(self) -> tuple[str, str] | None:
        """The PostgreSQL server, by what it says of itself, and the database; None for a file."""
        if self.file:
            return None
        with self.told("read"), self._engine.connect() as connection:
            server, name = connection.execute(text(_LIES_IN)).one()
        return str(server), str(name)

    def session(self) -> Connection:
        """A PostgreSQL session outside any transaction, for locks that belong to a session; close it yourself."""
        with self.told("reached"):
            return self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def told(self, verb: str, hint: str = AGAIN) -> Iterator[None]:
        """Turn what the driver says into a ``LedgerUnavailable`` that names the ledger and holds no secret."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            said = str(error.orig if isinstance(error, DBAPIError) else error).strip() or type(error).__name__
            said = mask(" ".join(said.split()), self._secrets)
            raise LedgerUnavailable(f"the ledger at {self.place} can't be {verb}: {said}", hint=hint) from error


def _parsed(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Neither the URL nor the parser's complaint, which may quote it: there may be a password in it.
        raise LedgerUnavailable(
            "the ledger's database URL can't be read",
            hint="give connection upkeep_ledger as JSON: conn_type postgres with host, login, password and schema (the "
            "database), or conn_type sqlite with the absolute path of its file as host",
        ) from None
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise LedgerUnavailable(f"the ledger can't be kept in {backend}", hint="use PostgreSQL or a SQLite file")
    if not parsed.database or not Path(parsed.database).is_absolute():
        raise LedgerUnavailable(
            f"the ledger's SQLite file {parsed.database or ':memory:'!r} isn't an absolute path",
            hint="write sqlite:// followed by three slashes and the path from the root, sqlite:////opt/upkeep_ledger.db",
        )
    return parsed.set(drivername="sqlite")


def _texts(query: Any, word: str) -> list[str]:
    return [str(value) for key, value in query.items() if word in key]


def _postgres(url: URL) -> Engine:
    return create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        # Not the server's default: under a stricter level the head would be read as of before the wait for its lock.
        isolation_level="READ COMMITTED",
        connect_args={name: value for name, value in _POSTGRES_CONNECT.items() if name not in url.query},
    )


def _sqlite(url: URL) -> Engine:
    """Journal mode stays ``delete``: without a pool WAL would make and remove its two side files for every row, and
    it fails on network filesystems. So the file alone is the ledger and can be copied while nobody writes."""
    engine = create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"timeout": LOCK_WAIT_S, "isolation_level": None},  # None: we say BEGIN ourselves, below
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        # EXTRA also syncs the folder, so that a committed row survives a power cut.
        connection.execute("PRAGMA synchronous = EXTRA")
        # Bytes a forger left that aren't UTF-8 come back as text with a wrong hash instead of ending the reading.
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("upkeep_begin", "BEGIN"))

    return engine


def stamp(moment: datetime) -> str:
    """In UTC and always of the same length, so that text sorts as time."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def storable(words: str) -> str:
    """PostgreSQL's text has no NUL, UTF-8 no lone surrogates; a file's name may hold both."""
    return words.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
