"""Where the ledger's database is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL

from upkeep.domain.endpoint import Endpoint
from upkeep.errors import LedgerUnavailable

FILE_NAME = "upkeep_ledger.db"

_LIBPQ_EXTRAS = ("ssl", "gss", "channel_binding", "connect_timeout", "target_session_attrs")
"""How the connection extras begin that libpq knows; others (cursor, iam, ...) are for Airflow's hook."""


def default_url(home: Path) -> str:
    """The SQLite file in Airflow's home that is used when there is no connection ``upkeep_ledger``."""
    return URL.create("sqlite", database=str(home.absolute() / FILE_NAME)).render_as_string(hide_password=False)


def url_of(endpoint: Endpoint) -> URL:
    """The database behind an Airflow connection of type ``postgres`` or ``sqlite``.

    :raises LedgerUnavailable: it is of another type, or its SQLite path isn't absolute.
    """
    if endpoint.kind in ("postgres", "postgresql"):
        return URL.create(
            "postgresql+psycopg",
            username=endpoint.user or None,
            password=endpoint.secret or None,
            host=endpoint.host or None,
            port=endpoint.port,
            database=endpoint.schema or None,
            query={key: _text(value) for key, value in endpoint.extra.items() if key.startswith(_LIBPQ_EXTRAS)},
        )
    if endpoint.kind == "sqlite":
        # sqlite://%2Fopt%2Fledger.db puts the path into the host, sqlite:////opt/ledger.db into the schema.
        path = endpoint.host or endpoint.schema
        if Path(path).is_absolute():
            return URL.create("sqlite", database=path)
        raise LedgerUnavailable(
            f"connection {endpoint.conn_id} names the SQLite file {path!r}, which isn't an absolute path",
            hint=f"put the whole path into the host of {endpoint.conn_id}: every task has a working folder of its own",
        )
    raise LedgerUnavailable(
        f"connection {endpoint.conn_id} is of type {endpoint.kind or 'none'}: the ledger can't be kept there",
        hint=f"make {endpoint.conn_id} a connection of type postgres or sqlite",
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
