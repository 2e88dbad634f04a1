"""Judging figures, without any system."""

from __future__ import annotations

from typing import Any

import pytest

from upkeep.domain.health import Health, judge_cache, judge_database, judge_endpoint, judge_store, unreachable

WELL: dict[str, Any] = {"latency_ms": 4.0, "connections": 10, "max_connections": 100, "blocked": 0}


def database(**figures: Any) -> Health:
    return judge_database(
        "app", "mysql", {**WELL, **figures}, latency_ms=500, connections_pct=80, max_lag_s=60, long_transaction_s=600
    )


def cache(**figures: Any) -> Health:
    return judge_cache(
        "sessions",
        {"latency_ms": 1.0, "used_bytes": 10, "max_bytes": 0, "evicted": 0, "evicted_before": 0, **figures},
        latency_ms=200,
        max_memory_pct=80,
        max_lag_s=60,
        big_key_bytes=50_000_000,
    )


def endpoint(**figures: Any) -> Health:
    return judge_endpoint(
        "api", {"status": 200, "latency_ms": 20.0, **figures}, expect_status=200, latency_ms=2000, certificate_days=21
    )


@pytest.mark.parametrize(
    ("health", "light", "words"),
    [
        (database(), "green", "answers in 4 ms"),
        (database(latency_ms=501), "amber", "501 ms"),
        (database(connections=79), "green", ""),
        (database(connections=80), "amber", "80 of 100"),
        (database(connections=95), "red", "95 %"),
        (database(replica={"running": False, "error": "Error 1062"}), "red", "has stopped: Error 1062"),
        (database(replica={"running": True, "lag_s": 61}), "red", "1 min 1 s behind"),
        (database(replica={"running": True, "lag_s": 60}), "green", ""),
        (database(replica={"running": True, "lag_s": None}), "green", ""),
        (database(replica={"running": False, "channel": "eu"}), "red", "replication of channel eu has stopped"),
        (database(standby_lag_s={"eu": 61.0, "us": None}), "amber", "replica eu is"),
        (database(blocked=2), "amber", "2 sessions wait"),
        (database(oldest_transaction_s=601), "amber", "open for 10 min"),
        (database(unread=["blocked (denied)"]), "amber", "not checked: blocked (denied)"),
        (cache(), "green", "answers in 1 ms"),
        (cache(used_bytes=81, max_bytes=100), "amber", "81 %"),
        (cache(used_bytes=10**12, max_bytes=0), "green", ""),
        (cache(evicted=5, evicted_before=2), "amber", "3 keys evicted"),
        (cache(evicted=5, evicted_before=None), "green", ""),
        (cache(evicted=0, evicted_before=7), "green", ""),
        (cache(evicted=5, evicted_before=7), "amber", "5 keys evicted"),
        (cache(replica={"running": False}), "red", "has stopped"),
        (cache(big_keys={"会话": 50_000_000}), "amber", "会话"),
        (endpoint(), "green", ""),
        (endpoint(status=503), "red", "HTTP 503 instead of 200"),
        (endpoint(error="no answer within 10 s"), "red", "no answer"),
        (endpoint(latency_ms=2001), "amber", "2001 ms"),
        (endpoint(certificate_days=64.2), "green", "answers in 20 ms (certificate: 64 days)"),
        (endpoint(certificate_days=20), "amber", "ends in 20 days"),
        (endpoint(certificate_days=-3), "red", "ended 3 days ago"),
        (judge_store({"latency_ms": 5001.0}, latency_ms=5000), "amber", "5001 ms (limit 5000 ms)"),
        (unreachable("app", "mysql", "connection refused"), "red", "connection refused"),
    ],
)
def test_a_figure_gets_its_light_and_its_words(health: Health, light: str, words: str) -> None:
    assert health.light == light
    assert words in health.summary


def test_the_worst_symptom_gives_the_light_and_all_are_told() -> None:
    health = database(latency_ms=900, replica={"running": False})
    assert health.light == "red"
    assert "900 ms" in health.summary
    assert "has stopped" in health.summary
