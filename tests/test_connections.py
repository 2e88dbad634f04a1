"""Airflow connections read without Airflow, against Airflow's own reading of the same text."""

from __future__ import annotations

import json

import pytest

from upkeep.connections import connection_from_environment
from upkeep.errors import ConnectionUnknown

TEXTS = [
    json.dumps(
        {"conn_type": "mysql", "host": "db", "port": 3306, "login": "u", "password": "p@:/ 密", "schema": "app"}
    ),
    json.dumps({"conn_type": "mysql", "host": "db", "extra": {"ssl": {"ca": "/ca.pem"}}}),
    json.dumps({"conn_type": "redis", "host": "db", "extra": '{"ssl": true}'}),
    "mysql://u:p%40%3A%2F@db:3306/app",
    "postgres://u:p@db/app?sslmode=require",
    "redis://:secret@db:6379/0",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_connection_reads_as_airflow_reads_it(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import BaseHook

    monkeypatch.setenv("AIRFLOW_CONN_THIS_ONE", text)
    theirs = BaseHook.get_connection("this_one")
    ours = connection_from_environment("this_one")
    assert (ours.kind, ours.host, ours.port) == (theirs.conn_type, theirs.host or "", theirs.port)
    assert (ours.user, ours.secret, ours.schema) == (theirs.login or "", theirs.password or "", theirs.schema or "")
    assert dict(ours.extra) == theirs.extra_dejson


def test_a_missing_connection_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_NOT_THERE", raising=False)
    with pytest.raises(ConnectionUnknown, match="not_there") as raised:
        connection_from_environment("not_there")
    assert "AIRFLOW_CONN_NOT_THERE" in raised.value.hint


@pytest.mark.parametrize(
    "text", ['{"password": "s3cret"', "mysql://u:s3cret@db:notaport/", '{"port": "s3cret"}', "u s3cret", "s3cret"]
)
def test_what_cannot_be_read_is_refused_without_showing_it(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", text)
    with pytest.raises(ConnectionUnknown) as raised:
        connection_from_environment("broken")
    assert "s3cret" not in f"{raised.value}{raised.value.__cause__}{raised.value.hint}"
