"""A Redis that lets in whoever asks, or whose users may too much. No hash of a password is kept or shown."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from upkeep.domain.findings import Inspection, Severity
from upkeep.engines.degrading import degrading, in_a_line
from upkeep.engines.redis_engine import RedisEngine
from upkeep.errors import SourceError

if TYPE_CHECKING:
    import redis


def redis_access(engine: RedisEngine) -> Inspection:
    """What a stranger gets, and what the users may. Errors: ``SourceError`` when the server doesn't answer."""
    import redis

    inspection = Inspection()
    server = engine.endpoint.address(6379)
    stranger = _a_stranger_is_let_in(engine)
    with closing(engine.connect()) as client:
        rules: dict[str, list[str]] | None = None
        with degrading(inspection.unread, f"users of {server}", redis.RedisError, engine.secrets):
            rules = _users(client)
        protected = True
        with degrading(inspection.unread, f"protected-mode of {server}", redis.RedisError, engine.secrets):
            protected = _text(client.config_get("protected-mode").get("protected-mode", "yes")) != "no"
    if stranger:
        _tell_open(inspection, server, (rules or {}).get("default"), protected)
    elif not protected:
        inspection.add(
            "redis-unprotected",
            server,
            "low",
            f"protected-mode of Redis {server} is off: without its password it would answer every address",
            "CONFIG SET protected-mode yes, and bind it to the addresses that need it",
        )
    for user, rule in (rules or {}).items():
        if user != "default" and "on" in rule and "nopass" in rule:
            inspection.add(
                "redis-user-without-password",
                f"user {user} on {server}",
                _severity(rule),
                f"user {user} on Redis {server} needs no password",
                f"ACL SETUSER {user} resetpass >..., then ACL SAVE or put it into redis.conf",
            )
    own = engine.endpoint.user
    default = (rules or {}).get("default", ["off"])
    if not stranger and own not in ("", "default") and "on" in default and _severity(default) == "high":
        inspection.add(
            "redis-default-user",
            server,
            "low",
            f"the default user of Redis {server} may do everything, though {own} is what logs in",
            "ACL SETUSER default off, once nothing logs in with the password alone",
        )
    return inspection


def _tell_open(inspection: Inspection, server: str, default: list[str] | None, protected: bool) -> None:
    limited = default is not None and _severity(default) != "high"
    reach = "its machine" if protected else "every address it listens on"
    inspection.add(
        "redis-without-password",
        server,
        "medium" if limited else "high",
        f"Redis {server} lets in whoever asks, from {reach}{' (with few commands)' if limited else ''}",
        "set requirepass in redis.conf and with CONFIG SET, and the password in the Airflow connection",
    )


def _a_stranger_is_let_in(engine: RedisEngine) -> bool:
    """The one answer that needs no rights: say PING without a password."""
    import redis

    with closing(RedisEngine(replace(engine.endpoint, user="", secret="")).connect()) as client:
        try:
            client.ping()
        except (redis.AuthenticationError, redis.ResponseError):
            return False  # asked for a password, or an account of protected mode or an ACL that may do nothing
        except redis.RedisError as error:
            raise SourceError(
                f"Redis {engine.endpoint.address(6379)} ({engine.endpoint.conn_id}): {in_a_line(error)}",
                hint="check that it runs, and the connection's host and port",
            ) from error
    return True


def _users(client: redis.Redis) -> dict[str, list[str]]:
    """The rules of each user, without the hashes of passwords."""
    import redis

    try:
        lines: list[Any] = list(client.acl_list())
    except redis.ResponseError as error:
        if "unknown command" in str(error).lower():
            return {}  # before Redis 6 there is only the password
        raise
    users = {}
    for words in (_text(line).split(" ") for line in lines):
        users[words[1]] = [word for word in words[2:] if not word.startswith(("#", ">", "<", "!"))]
    return users


def _severity(rule: list[str]) -> Severity:
    """Everything, or everything that isn't taken back again."""
    return "high" if "+@all" in rule and "-@dangerous" not in rule else "medium"


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
