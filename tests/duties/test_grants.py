"""The accounts that the runbook says are enough: its own statements make them, then the whole day is done as they."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.redis_server import RedisServer
from upkeep.duties.back_up import back_up
from upkeep.duties.check_health import check_health
from upkeep.duties.check_security import Machine, check_security
from upkeep.duties.forget import forget
from upkeep.duties.purge_rows import plan_purge, purge_rows
from upkeep.duties.sample_capacity import sample_capacity
from upkeep.duties.verify import verify

RUNBOOK = Path(__file__).resolve().parents[2] / "docs" / "runbooks" / "daily.md"
SECRET = "only-Here-7"
RULE = {"table": "audit_logs", "column": "created_at", "keep_days": 30, "archive": True}


def block(title: str) -> list[str]:
    """The statements of the runbook's block that begins with this comment, without their comments."""
    text = RUNBOOK.read_text(encoding="utf-8")
    found = re.search(rf"```sql\n-- {re.escape(title)}[^\n]*\n(.*?)```", text, re.S)
    assert found, f"the runbook has no block for {title}"
    return [re.sub(r"\s+--.*", "", line).rstrip(";") for line in found[1].splitlines() if line]


@contextmanager
def account(database: MySqlDatabase | PostgresDatabase, statements: list[str]) -> Iterator[str]:
    user = f"u_{database.name}"[:32]
    is_mysql = isinstance(database, MySqlDatabase)
    names = {"upkeep@'10.1.%'": f"{user}@'%'", "upkeep": user, "app.": f"`{database.name}`.", "secret": SECRET}
    pattern = re.compile("|".join(re.escape(name) if name[-1] in "'." else rf"\b{name}\b" for name in names))
    try:
        for statement in statements:
            database.execute(pattern.sub(lambda found: names[found[0]], statement))
        yield user
    finally:
        if is_mysql:
            database.execute(f"DROP USER IF EXISTS {user}@'%'")
        else:
            database.execute(f"DROP OWNED BY {user}")
            database.execute(f"DROP ROLE {user}")


def whole_day(sites: SiteFactory, check: str, target: str, tmp_path: Path) -> dict[str, Any]:
    """Every duty of the daily DAG that logs in to a target; what each said."""
    machine = Machine(root=tmp_path, journal="no-such-journal", apt="no-such-apt")
    job = sites.job()
    made = back_up(job, target)
    (record,) = job.ledger.acts(job.site.name, duty="back_up")
    return {
        "warnings": record.detail["warnings"],
        "position": record.detail["position"],
        "verify": verify(job, target, str(made["backup_id"])),
        "forget": forget(job, target, str(made["backup_id"])),
        "health": check_health(job, check),
        "capacity": sample_capacity(job),
        "security": check_security(job, machine=machine),
    }


def require_nothing_unseen(said: dict[str, Any], name: str) -> None:
    assert [warning for warning in said["warnings"] if "masking policies" not in warning] == []
    assert "missing" not in said["position"]
    assert "not checked" not in said["health"]["summary"], said["health"]
    assert said["health"]["light"] == "green", said["health"]
    assert [why for why in said["capacity"]["unread"] if name in why] == []
    machine = ("logins", "updates", "apt", "journal", "auth.log", "sign-ins")
    assert [why for why in said["security"]["unread"] if not any(word in why for word in machine)] == []


def make_old_rows(database: MySqlDatabase | PostgresDatabase) -> None:
    moment = "TIMESTAMP NULL" if isinstance(database, MySqlDatabase) else "TIMESTAMPTZ"
    database.execute(f"CREATE TABLE audit_logs (id INT PRIMARY KEY, created_at {moment}, words VARCHAR(20))")
    database.execute("CREATE INDEX by_date ON audit_logs (created_at)")
    database.execute("INSERT INTO audit_logs VALUES (1, '2020-01-01 00:00:00', 'alt'), (2, NULL, 'neu')")


def test_the_runbook_s_account_does_the_whole_day_on_mysql(
    sites: SiteFactory, any_mysql_database: MySqlDatabase, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database = any_mysql_database
    mariadb = "mariadb" in request.node.callspec.id
    make_old_rows(database)
    database.execute("CREATE PROCEDURE p() SELECT 1")
    database.execute("CREATE TRIGGER t BEFORE INSERT ON audit_logs FOR EACH ROW SET NEW.words = NEW.words")
    with account(database, block("MariaDB" if mariadb else "MySQL 8 and 9")) as user:
        endpoint = replace(database.endpoint(), user=user, secret=SECRET)
        sites.database(database, endpoint=endpoint, purge=[RULE], latency_ms=60_000)
        said = whole_day(sites, "database/app", "app", tmp_path)
        require_nothing_unseen(said, "database/app")
        (plan,) = plan_purge(sites.job(), "app")
        assert (plan.refusals, plan.notes) == ((), ())
        assert purge_rows(sites.job(), "app", 0, closes_at=None)["deleted"] == 1
    assert database.query("SELECT id FROM audit_logs") == [(2,)]


def test_the_runbook_s_role_does_the_whole_day_on_postgres(
    sites: SiteFactory, postgres_database: PostgresDatabase, tmp_path: Path
) -> None:
    database = postgres_database
    make_old_rows(database)
    with account(database, block("PostgreSQL")) as user:
        endpoint = replace(database.endpoint(), user=user, secret=SECRET)
        sites.database(database, endpoint=endpoint, purge=[RULE], latency_ms=60_000)
        said = whole_day(sites, "database/app", "app", tmp_path)
        require_nothing_unseen(said, "database/app")
        (plan,) = plan_purge(sites.job(), "app")
        assert (plan.refusals, plan.notes) == ((), ())
        assert purge_rows(sites.job(), "app", 0, closes_at=None)["deleted"] == 1
    assert database.query("SELECT id FROM audit_logs") == [(2,)]


def test_the_runbook_s_user_does_the_whole_day_on_redis(
    sites: SiteFactory, redis_server: RedisServer, tmp_path: Path
) -> None:
    found = re.search(r"^ACL SETUSER upkeep (.*)$", RUNBOOK.read_text(encoding="utf-8"), re.M)
    assert found
    client: Any = redis_server.connect()
    client.set("学生", "张三")
    client.execute_command("ACL", "SETUSER", "upkeep", "reset", *found[1].replace("secret", SECRET).split())
    try:
        sites.cache(redis_server, endpoint=replace(redis_server.endpoint(), user="upkeep", secret=SECRET))
        sites.settings["caches"][0]["latency_ms"] = 60_000
        said = whole_day(sites, "cache/sessions", "sessions", tmp_path)
        require_nothing_unseen(said, "cache/sessions")
        assert said["health"]["figures"]["big_keys"]
    finally:
        client.execute_command("ACL", "DELUSER", "upkeep")
        client.delete("学生")
