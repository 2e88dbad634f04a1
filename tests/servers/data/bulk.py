"""Many megabytes of rows for benchmarks: several tables of business documents, in half-compressible text."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import psycopg
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from tests.servers.data.prose import identity, sentences

ROW_BYTES = 656
"""About what one row takes in a dump."""

ROWS_AT_ONCE = 1_500
"""About 1 MB a statement, well below every default of max_allowed_packet."""

COLUMNS = ("id", "tenant_id", "reference", "amount", "status", "created_at", "body")


def grow_mysql(conn: Connection[Cursor], megabytes: float, *, tables: int = 4, seed: int = 1) -> int:
    """Fill ``documents_1`` to ``documents_<tables>`` with ``megabytes`` (10^6) in all; the number of rows."""
    rows = int(megabytes * 1_000_000 / ROW_BYTES)
    chance = random.Random(seed)
    pool = sentences(chance, 200_000)
    with conn.cursor() as cursor:
        for number in range(1, tables + 1):
            cursor.execute(
                f"CREATE TABLE documents_{number} ("
                "id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant_id CHAR(32) CHARACTER SET ascii NOT NULL, "
                "reference VARCHAR(40) NOT NULL, amount DECIMAL(12,2) NOT NULL, status VARCHAR(10) NOT NULL, "
                "created_at DATETIME NOT NULL, body TEXT NOT NULL, KEY idx_tenant (tenant_id)) ENGINE=InnoDB"
            )
            for rows_at_once in _batches(chance, pool, _share(rows, tables, number)):
                # Nothing in these values needs escaping, so they are pasted: PyMySQL's own escaping costs more.
                values = ",".join("('" + "','".join(row) + "')" for row in rows_at_once)
                conn.query(f"INSERT INTO documents_{number} ({','.join(COLUMNS)}) VALUES {values}")
    conn.commit()
    return rows


def grow_postgres(conn: psycopg.Connection[Any], megabytes: float, *, tables: int = 4, seed: int = 1) -> int:
    """The same documents as ``grow_mysql`` makes from the same seed."""
    rows = int(megabytes * 1_000_000 / ROW_BYTES)
    chance = random.Random(seed)
    pool = sentences(chance, 200_000)
    for number in range(1, tables + 1):
        table = f"documents_{number}"
        conn.execute(
            f"CREATE TABLE {table} ("
            "id bigint PRIMARY KEY, tenant_id char(32) NOT NULL, reference varchar(40) NOT NULL, "
            "amount numeric(12,2) NOT NULL, status varchar(10) NOT NULL, created_at timestamp NOT NULL, "
            "body text NOT NULL)".encode()
        )
        statement = f"COPY {table} ({','.join(COLUMNS)}) FROM STDIN".encode()
        with conn.cursor() as cursor, cursor.copy(statement) as copy:
            for rows_at_once in _batches(chance, pool, _share(rows, tables, number)):
                copy.write("".join("\t".join(row) + "\n" for row in rows_at_once))
        conn.execute(f"CREATE INDEX ON {table} (tenant_id)".encode())
    conn.commit()
    return rows


def _share(rows: int, tables: int, number: int) -> int:
    return rows * number // tables - rows * (number - 1) // tables


def _batches(chance: random.Random, pool: list[str], rows: int) -> Iterator[list[tuple[str, ...]]]:
    tenants = [identity(chance) for _ in range(50)]
    for start in range(0, rows, ROWS_AT_ONCE):
        numbers = range(start + 1, min(start + ROWS_AT_ONCE, rows) + 1)
        bodies = chance.choices(pool, k=len(numbers) * 8)
        yield [
            (
                str(number),
                chance.choice(tenants),
                f"{number:08d}/{chance.getrandbits(16):04x}",
                f"{chance.getrandbits(24) / 100:.2f}",
                chance.choice(("open", "paid", "void")),
                f"2026-{number % 12 + 1:02d}-{number % 28 + 1:02d} {number % 24:02d}:{number % 60:02d}:00",
                "".join(bodies[place * 8 : place * 8 + 8]),
            )
            for place, number in enumerate(numbers)
        ]
