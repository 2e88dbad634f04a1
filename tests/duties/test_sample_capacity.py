"""Capacity is sampled from real servers, kept, and judged; what can't be read stops nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from tests.engines.prometheus_speaker import Answer, Speaker, vector
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.places import free_port
from tests.servers.redis_server import RedisServer
from upkeep.domain.endpoint import Endpoint
from upkeep.duties.job import Run
from upkeep.duties.sample_capacity import sample_capacity
from upkeep.ledger import verify
from upkeep.ledger.samples import KEEP, Samples

NIGHT = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)


class Machine:
    """A machine as Prometheus tells of it: every share is ``share`` percent, unless ``disk`` says otherwise."""

    def __init__(self) -> None:
        self.share, self.disk = 10.0, 10.0

    def say(self, query: str) -> Answer:
        value = self.disk if query.startswith("100 - ((node_filesystem_avail_bytes") else self.share
        return vector(({"instance": "db1", "mountpoint": "/", "device": "eth0"}, str(value)))


@pytest.fixture
def machine(sites: SiteFactory) -> Iterator[Machine]:
    made = Machine()
    speaker = Speaker(made.say)
    sites.settings["host"] = {"prometheus_url": speaker.url}
    yield made
    speaker.close()


def sampled(sites: SiteFactory, at: datetime = NIGHT) -> dict[str, Any]:
    return sample_capacity(sites.job(now=lambda: at))


def series(sites: SiteFactory, at: datetime = NIGHT) -> dict[tuple[str, str], float]:
    found = Samples(sites.job().ledger.database).series("kindergarten", since=at)
    return {key: points[-1].value for key, points in found.items()}


def test_every_source_of_a_site_is_sampled(
    sites: SiteFactory,
    machine: Machine,
    tmp_path: Path,
    mariadb_database: MySqlDatabase,
    postgres_database: PostgresDatabase,
    redis_server: RedisServer,
) -> None:
    mariadb_database.execute("CREATE TABLE users (i INT PRIMARY KEY)")
    postgres_database.execute("CREATE TABLE orders (i int PRIMARY KEY)")
    sites.database(mariadb_database, "app")
    sites.database(postgres_database, "shop")
    sites.cache(redis_server, "sessions")
    (tmp_path / "config").write_text("x" * 5000)
    sites.paths(tmp_path / "config")
    manifest = sites.back_up("config")
    result = sampled(sites)
    found = series(sites)
    assert result["light"] == "green", result
    assert result["unread"] == []
    assert result["samples"] == len(found)
    assert {
        ("cpu_pct", "db1"), ("disk_pct", "db1:/"), ("connections_pct", "app"), ("connections_pct", "shop"),
        ("table_bytes", "app/users"), ("table_bytes", "shop/public.orders"), ("cache_bytes", "sessions"),
        ("store_bytes", "kindergarten"),
    } <= set(found)  # fmt: skip
    assert found["backup_bytes", "kindergarten/config"] == manifest.size
    assert found["store_objects", "kindergarten/config"] == 2
    assert found["store_bytes", "kindergarten"] == found["store_bytes", "kindergarten/config"] > manifest.size
    assert ("backup_bytes", "kindergarten/app") not in found  # it was never backed up
    assert found["store_bytes", "kindergarten/app"] == 0


def test_without_a_prometheus_the_machine_itself_is_sampled_with_the_disks_of_the_site(
    sites: SiteFactory, tmp_path: Path
) -> None:
    sites.paths(tmp_path)
    job = sites.job(now=lambda: NIGHT, run=Run(run_id="night-1", host="worker-1"))
    result = sample_capacity(job)
    found = series(sites)
    assert result["unread"] == []
    assert {("cpu_pct", "worker-1"), ("memory_pct", "worker-1"), ("load_5m", "worker-1")} <= set(found)
    assert ("disk_pct", "worker-1:/") in found


def test_what_is_over_its_limit_is_told_with_the_trend_of_the_samples_of_the_week(
    sites: SiteFactory, machine: Machine, tmp_path: Path
) -> None:
    sites.paths(tmp_path)
    for day in range(7):
        machine.disk = 82.8 + 0.6 * day
        sampled(sites, NIGHT + timedelta(days=day))
    machine.disk = 87
    result = sampled(sites, NIGHT + timedelta(days=7))
    assert result["light"] == "amber"
    assert result["summary"] == "disk db1:/ is 87 % full (limit 85 %), +0.6 %/day over 7 days"
    assert result["figures"]["disk_pct db1:/"] == 87


def test_the_sites_own_limits_count(sites: SiteFactory, machine: Machine, tmp_path: Path) -> None:
    sites.paths(tmp_path)
    sites.settings["thresholds"] = {"memory_pct": 9}
    assert sampled(sites)["summary"] == "memory of db1 is 10 % used (limit 9 %)"


def test_a_cache_is_judged_by_its_own_limit(sites: SiteFactory, machine: Machine) -> None:
    with RedisServer(maxmemory="10mb") as server:
        sites.cache(server, "sessions")
        sites.settings["caches"][0]["max_memory_pct"] = 1
        assert sampled(sites)["summary"].startswith("memory of cache sessions is ")


def test_a_source_that_is_away_is_told_and_the_others_are_sampled(
    sites: SiteFactory, machine: Machine, mariadb_database: MySqlDatabase, redis_server: RedisServer
) -> None:
    away = Endpoint(**{**vars(mariadb_database.endpoint()), "port": free_port()})
    sites.database(mariadb_database, "app", endpoint=away)
    sites.cache(redis_server, "sessions")
    sites.settings["caches"].append({"name": "unknown", "conn_id": "nobody_knows"})
    result = sampled(sites)
    assert result["light"] == "amber"
    assert [why.split(":")[0] for why in result["unread"]] == ["database/app", "cache/unknown"]
    assert "can't log in to" in result["unread"][0]
    assert "no connection nobody_knows" in result["unread"][1]
    assert ("cache_bytes", "sessions") in series(sites)
    assert away.secret not in json.dumps(result, ensure_ascii=False)


def test_a_source_that_hangs_is_left_behind(sites: SiteFactory, tmp_path: Path) -> None:
    speaker = Speaker(lambda _: _slow())
    sites.paths(tmp_path)
    sites.settings["host"] = {"prometheus_url": speaker.url}
    begun = time.monotonic()
    result = sample_capacity(sites.job(now=lambda: NIGHT), limit_s=1)
    speaker.close()
    assert time.monotonic() - begun < 8
    assert result["unread"] == ["prometheus: no answer within 1 s"]
    assert ("store_bytes", "kindergarten") in series(sites)


def _slow() -> Answer:
    time.sleep(3)
    return vector()


def test_a_surprise_in_one_source_does_not_cost_the_others(
    sites: SiteFactory, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upkeep.duties.sample_capacity._from_store", lambda _: 1 / 0)  # a fault of ours
    sites.paths(tmp_path)
    result = sampled(sites)
    assert result["unread"] == ["store: can't be read (ZeroDivisionError; the task's log says where)"]
    assert ("cpu_pct", "db1") in series(sites)


def test_the_ledger_says_what_was_found_and_what_was_not_read(
    sites: SiteFactory, machine: Machine, tmp_path: Path
) -> None:
    sites.paths(tmp_path)
    sites.settings["caches"].append({"name": "sessions", "conn_id": "nobody_knows"})
    machine.disk = 99
    result = sampled(sites)
    ledger = sites.job().ledger
    (record,) = ledger.acts("kindergarten", duty="sample_capacity")
    assert record.state == "done"
    assert record.finished and record.finished.rows == result["samples"]
    assert record.detail["light"] == "red"
    assert record.detail["summary"].startswith("disk db1:/ is 99 % full")
    assert len(record.detail["unread"]) == 1
    assert verify(ledger).clean


def test_a_thousand_full_disks_still_fit_into_the_ledger(sites: SiteFactory, tmp_path: Path) -> None:
    mounts = [({"instance": f"machine-{n:04}.example.com:9100", "mountpoint": f"/mnt/{n}"}, "99") for n in range(400)]
    speaker = Speaker(lambda _: vector(*mounts))
    sites.paths(tmp_path)
    sites.settings["host"] = {"prometheus_url": speaker.url}
    result = sampled(sites)
    speaker.close()
    (record,) = sites.job().ledger.acts("kindergarten", duty="sample_capacity")
    assert record.detail["light"] == "red"
    assert "and " in record.detail["summary"]
    assert result["samples"] > 12 * 400


def test_samples_older_than_two_years_go(sites: SiteFactory, machine: Machine, tmp_path: Path) -> None:
    sites.paths(tmp_path)
    sampled(sites, NIGHT - KEEP - timedelta(seconds=1))
    sampled(sites, NIGHT - KEEP)
    result = sampled(sites)
    points = Samples(sites.job().ledger.database).series(
        "kindergarten", since=NIGHT - 2 * KEEP, metric="cpu_pct", target="db1"
    )["cpu_pct", "db1"]
    assert [point.at for point in points] == [NIGHT - KEEP, NIGHT]
    assert result["thinned_out"] == result["samples"]


def test_a_site_may_keep_its_samples_for_less(sites: SiteFactory, machine: Machine, tmp_path: Path) -> None:
    sites.paths(tmp_path)
    sites.settings["keep_samples_days"] = 31
    first = sampled(sites, NIGHT - timedelta(days=32))
    assert sampled(sites)["thinned_out"] == first["samples"]


def test_samples_that_cannot_be_kept_fail_the_act(
    sites: SiteFactory, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites.paths(tmp_path)

    def full(*_: object) -> int:
        raise OSError("no room")

    monkeypatch.setattr(Samples, "append", full)
    with pytest.raises(OSError, match="no room"):
        sampled(sites)
    (record,) = sites.job().ledger.acts("kindergarten", duty="sample_capacity")
    assert record.state == "failed"
