"""The rows of the two tables that grow fastest in the kindergarten manual, many and fast, alike for every database."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta

from tests.servers.data.prose import identity, sentences

ROW_BYTES = {"attendance_records": 157, "audit_logs": 184}
"""About what one row of each takes in a dump."""

COLUMNS = {
    "attendance_records": ("id", "tenant_id", "student_id", "attendance_date", "status", "device", "note"),
    "audit_logs": ("id", "tenant_id", "user_id", "action", "detail", "created_at"),
}

MYSQL = {
    "attendance_records": """
        CREATE TABLE attendance_records (
            id VARCHAR(32) NOT NULL PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, student_id VARCHAR(32) NOT NULL,
            attendance_date DATE NOT NULL, status ENUM('present','absent','late','sick') NOT NULL, device VARCHAR(16),
            note VARCHAR(200))
        """,
    "audit_logs": """
        CREATE TABLE audit_logs (
            id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant_id VARCHAR(32), user_id VARCHAR(32),
            action VARCHAR(50) NOT NULL, detail JSON, created_at DATETIME NOT NULL)
        """,
}

POSTGRES = {
    "attendance_records": """
        CREATE TABLE attendance_records (
            id varchar(32) PRIMARY KEY, tenant_id varchar(32) NOT NULL, student_id varchar(32) NOT NULL,
            attendance_date date NOT NULL, status text NOT NULL, device varchar(16), note varchar(200))
        """,
    "audit_logs": """
        CREATE TABLE audit_logs (
            id bigint PRIMARY KEY, tenant_id varchar(32), user_id varchar(32),
            action varchar(50) NOT NULL, detail jsonb, created_at timestamp NOT NULL)
        """,
}

INDEXES = {
    "attendance_records": "CREATE INDEX idx_tenant_date ON attendance_records (tenant_id, attendance_date)",
    "audit_logs": "CREATE INDEX idx_created_at ON audit_logs (created_at)",
}
"""To be made after the rows, which is several times faster."""

AT_ONCE = 5_000
STATUSES, WEIGHTS = ("present", "absent", "late", "sick"), (90, 4, 3, 3)
ACTIONS = ("登录", "修改学生信息", "导出考勤", "重置密码")

Row = tuple[str | None, ...]


def batches(table: str, megabytes: float, *, seed: int = 1) -> Iterator[list[Row]]:
    """Enough rows of ``table`` to take ``megabytes`` (10^6) in a dump. Nothing in a value needs escaping."""
    rows = int(megabytes * 1_000_000 / ROW_BYTES[table])
    made = {"attendance_records": _attendance, "audit_logs": _audit}[table]
    chance = random.Random(seed)
    people = _People(chance)
    for start in range(0, rows, AT_ONCE):
        yield made(chance, people, start, min(AT_ONCE, rows - start))


class _People:
    def __init__(self, chance: random.Random) -> None:
        tenants = [identity(chance) for _ in range(150)]
        self.students = [(chance.choice(tenants), identity(chance)) for _ in range(20_000)]
        self.users = [(chance.choice(tenants), identity(chance)) for _ in range(3_000)]
        self.notes = sentences(chance, 2_000)
        self.times = [f"{chance.randrange(24):02d}:{chance.randrange(60):02d}:00" for _ in range(256)]
        self.days = [str(date(2026, 5, 1) + timedelta(days=day)) for day in range(200)]


def _attendance(chance: random.Random, people: _People, start: int, count: int) -> list[Row]:
    # Ids grow, like a ULID: the random ones of the manual would fill the tables at a tenth of the speed.
    random_part, devices = chance.randbytes(12 * count).hex(), chance.randbytes(6 * count).hex()
    marked = zip(chance.choices(people.students, k=count), chance.choices(STATUSES, WEIGHTS, k=count), strict=True)
    return [
        (
            f"{start + place:08x}{random_part[24 * place : 24 * place + 24]}",
            tenant,
            student,
            people.days[(start + place) // 20_000 % 200],
            status,
            devices[12 * place : 12 * place + 12],
            None if place % 10 else people.notes[(start + place) // 10 % 2_000],
        )
        for place, ((tenant, student), status) in enumerate(marked)
    ]


def _audit(chance: random.Random, people: _People, start: int, count: int) -> list[Row]:
    numbers, requests = chance.randbytes(3 * count), chance.randbytes(7 * count).hex()
    acted = zip(chance.choices(people.users, k=count), chance.choices(ACTIONS, k=count), strict=True)
    return [
        (
            str(start + place + 1),
            tenant,
            user,
            action,
            _detail(numbers[3 * place : 3 * place + 2], requests[14 * place : 14 * place + 14]),
            f"{people.days[(start + place) // 20_000 % 200]} {people.times[numbers[3 * place + 2]]}",
        )
        for place, ((tenant, user), action) in enumerate(acted)
    ]


def _detail(address: bytes, request: str) -> str:
    return f'{{"ip": "10.0.{address[0]}.{address[1]}", "request": "{request}"}}'
