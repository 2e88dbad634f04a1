"""The ChronoRetrace system of the second manual on PostgreSQL: prices, backtests, portfolios, with made-up rows."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from tests.servers.data.months import months_before
from tests.servers.data.prose import chinese_name, sentences

MONTHS_BACK = 6
"""How far the prices reach back; each month is a partition."""

TABLES = """
CREATE EXTENSION IF NOT EXISTS citext;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE SCHEMA market;
CREATE SEQUENCE backtest_numbers START 1000 INCREMENT 7;
CREATE TYPE portfolio_kind AS ENUM ('demo', 'real', '模拟');

CREATE TABLE users (
    id bigint PRIMARY KEY, email citext NOT NULL UNIQUE, name text NOT NULL, status text NOT NULL,
    secret_hash text NOT NULL, created_at timestamptz NOT NULL);
CREATE INDEX idx_users_email_status ON users (email, status);
CREATE INDEX idx_active_users ON users (created_at) WHERE status = 'active';

CREATE TABLE market.price_history (
    symbol text NOT NULL, traded_on date NOT NULL, open numeric(12,4) NOT NULL, close numeric(12,4) NOT NULL,
    volume bigint NOT NULL, PRIMARY KEY (symbol, traded_on)) PARTITION BY RANGE (traded_on);
CREATE TABLE market.price_history_default PARTITION OF market.price_history DEFAULT;

CREATE TABLE backtests (
    number bigint PRIMARY KEY DEFAULT nextval('backtest_numbers'), user_id bigint NOT NULL REFERENCES users,
    settings jsonb NOT NULL, note text, report oid, ran_at timestamptz NOT NULL, updated_at timestamptz);
ALTER SEQUENCE backtest_numbers OWNED BY backtests.number;
CREATE INDEX ON backtests USING gin (settings);

CREATE TABLE portfolios (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint NOT NULL REFERENCES users,
    kind portfolio_kind NOT NULL, name text NOT NULL, shares integer NOT NULL, price numeric(12,2) NOT NULL,
    worth numeric GENERATED ALWAYS AS (shares * price) STORED);

CREATE VIEW active_users AS SELECT id, email, created_at FROM users WHERE status = 'active';
CREATE MATERIALIZED VIEW market.monthly_close AS
    SELECT symbol, date_trunc('month', traded_on)::date AS month, max(close) AS highest
    FROM market.price_history GROUP BY 1, 2 WITH NO DATA;
CREATE UNIQUE INDEX ON market.monthly_close (symbol, month);
"""

TRIGGER = """
CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$body$;
CREATE TRIGGER backtests_touched BEFORE UPDATE ON backtests FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""


def fill_chronoretrace(
    conn: psycopg.Connection[Any], rows: int = 2_000, *, seed: int = 1, now: datetime | None = None
) -> dict[str, int]:
    """Make the schema and fill it: ``rows`` prices and the rest in proportion.

    Prices reach back six months from ``now`` (default: the coming midnight, UTC). The same seed and ``now`` make the
    same rows. Returns the number of rows in each table.
    """
    now = now or datetime.combine(datetime.now(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)
    chance = random.Random(seed)
    with conn.transaction():
        conn.execute(TABLES)
        for back in range(MONTHS_BACK, -2, -1):
            first, following = months_before(now.date(), back), months_before(now.date(), back - 1)
            conn.execute(
                f"CREATE TABLE market.price_history_{first:%Y%m} PARTITION OF market.price_history "
                f"FOR VALUES FROM ('{first}') TO ('{following}')".encode()
            )
        filled = {
            table: _copy(conn, f"{table} ({columns})", made)
            for table, (columns, made) in _rows(chance, rows, now).items()
        }
        for (number,) in conn.execute("SELECT number FROM backtests ORDER BY number LIMIT 3").fetchall():
            report = "\x89PDF 报告 ".encode() + chance.randbytes(20_000)
            conn.execute(
                "UPDATE backtests SET report = lo_from_bytea(%s, %s) WHERE number = %s",
                (500_000 + number, report, number),
            )
        conn.execute("REFRESH MATERIALIZED VIEW market.monthly_close")
        conn.execute(TRIGGER)
    return filled


def _rows(chance: random.Random, rows: int, now: datetime) -> dict[str, tuple[str, Sequence[tuple[Any, ...]]]]:
    pool = sentences(chance, 2_000)
    users = [
        (
            number,
            f"User{number}@chronoretrace.example",
            chinese_name(chance),
            chance.choices(("active", "inactive", "banned"), weights=(85, 10, 5))[0],
            f"{chance.getrandbits(256):064x}",
            now - timedelta(seconds=chance.randrange(700 * 86_400)),
        )
        for number in range(1, 6 + rows // 100)
    ]
    first = months_before(now.date(), MONTHS_BACK)
    days = (now.date() - first).days
    prices = []
    for place in range(rows):
        symbol, day = divmod(place, days)
        opened = 10 + chance.random() * 90
        prices.append(
            (
                f"{600000 + symbol}.SH",
                first + timedelta(days=day),
                f"{opened:.4f}",
                f"{opened * chance.uniform(0.9, 1.1):.4f}",
                chance.randrange(10**4, 10**8),
            )
        )
    backtests = [
        (
            chance.choice(users)[0],
            json.dumps(
                {"strategy": chance.choice(("均线", "动量", "mean reversion")), "window": chance.randrange(250)}
            ),
            "".join(chance.choices(pool, k=5)),
            now - timedelta(seconds=chance.randrange(90 * 86_400)),
        )
        for _ in range(5 + rows // 20)
    ]
    portfolios = [
        (
            chance.choice(users)[0],
            chance.choice(("demo", "real", "模拟")),
            f"{chinese_name(chance)}的组合 📈",
            chance.randrange(1, 5_000),
            f"{chance.uniform(1, 500):.2f}",
        )
        for _ in range(5 + rows // 50)
    ]
    return {
        "users": ("id, email, name, status, secret_hash, created_at", users),
        "market.price_history": ("symbol, traded_on, open, close, volume", prices),
        "backtests": ("user_id, settings, note, ran_at", backtests),
        "portfolios": ("user_id, kind, name, shares, price", portfolios),
    }


def _copy(conn: psycopg.Connection[Any], target: str, rows: Iterable[tuple[Any, ...]]) -> int:
    with conn.cursor() as cursor:
        with cursor.copy(f"COPY {target} FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)
        return cursor.rowcount
