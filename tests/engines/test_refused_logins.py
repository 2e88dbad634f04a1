"""A login that is refused is told apart from one that may succeed a moment later: the first must not be repeated, or
the account is locked out."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.redis_server import RedisServer
from upkeep.domain.endpoint import Endpoint
from upkeep.engines.mysql_engine import MySqlEngine
from upkeep.engines.mysql_restore import MySqlRestorer
from upkeep.engines.postgres_engine import PostgresEngine
from upkeep.engines.redis_engine import RedisEngine
from upkeep.errors import LoginRefused, RestoreUnavailable, SourceError

SECRET = "only-Here-7"


@contextmanager
def mysql_account(database: MySqlDatabase, options: str = "") -> Iterator[Endpoint]:
    user = f"u_{secrets.token_hex(4)}"
    database.execute(f"CREATE USER {user}@'%%' IDENTIFIED BY %s {options}", SECRET)
    database.execute(f"GRANT SELECT ON {database.quoted}.* TO {user}@'%'")
    try:
        yield replace(database.endpoint(), user=user, secret=SECRET)
    finally:
        database.execute(f"DROP USER {user}@'%'")


def mysql_login(endpoint: Endpoint) -> type[BaseException]:
    with pytest.raises(SourceError, match="can't log in to") as caught:
        MySqlEngine(endpoint, endpoint.schema).connect()
    return caught.type


@pytest.mark.parametrize(
    ("change", "options"),
    [({"secret": "wrong"}, ""), ({"user": "nobody"}, ""), ({}, "ACCOUNT LOCK")],
    ids=["another password", "no such account", "locked"],
)
def test_mysql_will_have_none_of_it(any_mysql_database: MySqlDatabase, change: dict[str, Any], options: str) -> None:
    with mysql_account(any_mysql_database, options) as endpoint:
        assert mysql_login(replace(endpoint, **change)) is LoginRefused


def test_mysql_that_locked_the_account_after_wrong_passwords_is_not_asked_again(mysql_database: MySqlDatabase) -> None:
    with mysql_account(mysql_database, "FAILED_LOGIN_ATTEMPTS 1 PASSWORD_LOCK_TIME 1") as endpoint:
        assert mysql_login(replace(endpoint, secret="wrong")) is LoginRefused
        assert mysql_login(endpoint) is LoginRefused


def test_mysql_with_too_many_connections_may_be_asked_again(any_mysql_database: MySqlDatabase) -> None:
    with (
        mysql_account(any_mysql_database, "WITH MAX_USER_CONNECTIONS 1") as endpoint,
        closing(MySqlEngine(endpoint, endpoint.schema).connect()),
    ):
        assert mysql_login(endpoint) is SourceError


def test_a_statement_that_needs_another_right_is_no_refused_login(any_mysql_database: MySqlDatabase) -> None:
    """Its error may have the same number."""
    with mysql_account(any_mysql_database) as endpoint:
        engine = MySqlEngine(endpoint, endpoint.schema)
        with pytest.raises(SourceError) as caught, closing(engine.connect()) as connection, engine.told("write out"):
            connection.query("SELECT 1 INTO OUTFILE '/tmp/never'")
        assert caught.type is SourceError


def test_a_scratch_server_that_refuses_the_login_names_that_as_the_cause(mariadb_database: MySqlDatabase) -> None:
    restorer = MySqlRestorer(replace(mariadb_database.endpoint(), secret="wrong"))
    with pytest.raises(RestoreUnavailable) as caught:
        restorer.identity()
    assert isinstance(caught.value.__cause__, LoginRefused)


@pytest.mark.parametrize(
    ("change", "options", "kind"),
    [
        ({"secret": "wrong"}, "LOGIN", LoginRefused),
        ({"secret": ""}, "LOGIN", LoginRefused),
        ({"user": "nobody"}, "LOGIN", LoginRefused),
        ({}, "NOLOGIN", LoginRefused),
        ({}, "LOGIN CONNECTION LIMIT 0", SourceError),
    ],
    ids=["another password", "no password", "no such role", "no login", "too many connections"],
)
def test_postgres(
    postgres_database: PostgresDatabase, change: dict[str, Any], options: str, kind: type[BaseException]
) -> None:
    role = f"r_{secrets.token_hex(4)}"
    postgres_database.execute(f"CREATE ROLE {role} {options} PASSWORD '{SECRET}'")
    endpoint = replace(postgres_database.endpoint(), **{"user": role, "secret": SECRET, **change})
    try:
        with pytest.raises(SourceError, match="can't log in to") as caught:
            PostgresEngine(endpoint, postgres_database.name).connect()
    finally:
        postgres_database.execute(f"DROP ROLE {role}")
    assert caught.type is kind, caught.value


@pytest.mark.parametrize(
    "change",
    [{"secret": "wrong"}, {"secret": ""}, {"user": "nobody"}],
    ids=["another password", "no password", "no such user"],
)
def test_redis_will_have_none_of_it(redis_server: RedisServer, change: dict[str, Any]) -> None:
    engine = RedisEngine(replace(redis_server.endpoint(), **change))
    with pytest.raises(LoginRefused, match="HINT: check user and password"), engine.snapshot():
        pass


def test_redis_with_too_many_clients_may_be_asked_again(redis_server: RedisServer) -> None:
    with redis_server.connect() as client:
        before: Any = client.config_get("maxclients")
        client.config_set("maxclients", 1)
        try:
            with pytest.raises(SourceError) as caught, RedisEngine(redis_server.endpoint()).snapshot():
                pass
        finally:
            client.config_set("maxclients", before["maxclients"])
    assert caught.type is SourceError, caught.value
