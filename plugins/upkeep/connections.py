"""Airflow connections without Airflow: the same environment variables, read by the command line."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from upkeep.domain.endpoint import Endpoint
from upkeep.errors import ConnectionUnknown
from upkeep.settings import SECRETS_KWARGS, connection_text, connections_file


def connection_from_environment(conn_id: str) -> Endpoint:
    """``AIRFLOW_CONN_<ID>`` as JSON or as a URI, in Airflow's own two forms; where it isn't set, the same from the file
    of connections that Airflow's file backend reads, if there is one. Errors: ``ConnectionUnknown``.
    """
    variable, text = connection_text(conn_id)
    text = (text or _from_file(conn_id)).strip()
    if not text:
        raise ConnectionUnknown(
            f"connection {conn_id!r} is not set",
            hint=f"export {variable}; 'airflow connections get {conn_id} -o json' shows what Airflow itself uses",
        )
    try:
        return _from_json(conn_id, text) if text.startswith("{") else _from_uri(conn_id, text)
    except (ValueError, TypeError) as error:
        # Not chained: the parser's own message quotes the text, password and all.
        raise ConnectionUnknown(
            f"{variable} can't be read as a connection ({type(error).__name__})",
            hint='write it as JSON: {"conn_type": "mysql", "host": "...", "login": "...", "password": "..."}',
        ) from None


def filesystem_from_environment(url: str, conn_id: str | None) -> tuple[Any, str]:
    """An fsspec filesystem for a store URL; the connection's extra holds the options of that filesystem."""
    import fsspec

    options = dict(connection_from_environment(conn_id).extra) if conn_id else {}
    return fsspec.core.url_to_fs(url, **options)  # type: ignore[no-any-return]  # fsspec ships without types


def _from_file(conn_id: str) -> str:
    """The connection's text, empty where the file has none. Errors: ``ConnectionUnknown``: the file can't be read."""
    try:
        path = connections_file()
        found = json.loads(path.read_text(encoding="utf-8")).get(conn_id, "") if path else ""
    except (OSError, ValueError, AttributeError) as error:
        # Not chained: a JSON error quotes what stands there.
        raise ConnectionUnknown(
            f"the file of connections can't be read ({type(error).__name__})",
            hint=f"look at {SECRETS_KWARGS.variable}, and at the mode of the JSON file that it names",
        ) from None
    return found if isinstance(found, str) else json.dumps(found)


def _from_json(conn_id: str, text: str) -> Endpoint:
    fields = json.loads(text)
    extra = fields.get("extra") or {}
    return Endpoint(
        conn_id=conn_id,
        kind=str(fields.get("conn_type") or ""),
        host=str(fields.get("host") or ""),
        port=int(fields["port"]) if fields.get("port") else None,
        user=str(fields.get("login") or ""),
        secret=str(fields.get("password") or ""),
        schema=str(fields.get("schema") or ""),
        extra=json.loads(extra) if isinstance(extra, str) else extra,
    )


def _from_uri(conn_id: str, text: str) -> Endpoint:
    parts = urlsplit(text)
    if not parts.scheme:
        raise ValueError("neither JSON nor a URI")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    extra = json.loads(query.pop("__extra__", "{}"))
    return Endpoint(
        conn_id=conn_id,
        kind=parts.scheme,
        host=unquote(parts.hostname or ""),
        port=parts.port,
        user=unquote(parts.username or ""),
        secret=unquote(parts.password or ""),
        schema=unquote(parts.path.lstrip("/")),
        extra={**query, **extra},
    )
