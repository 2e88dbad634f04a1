"""The kindergarten system of the first manual, on MariaDB or MySQL: its tables, indexes, routines and made-up rows."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from pymysql.connections import Connection
from pymysql.cursors import Cursor

from tests.servers.data.months import months_before
from tests.servers.data.prose import chinese_name, identity, sentences

MONTHS_BACK = 6
"""How far the attendance records reach back; each month is a partition, and so is the one that runs."""

TABLES = """
CREATE TABLE tenants (
    id VARCHAR(32) NOT NULL PRIMARY KEY, name VARCHAR(100) NOT NULL, created_at DATETIME NOT NULL);
CREATE TABLE users (
    id VARCHAR(32) NOT NULL PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, name VARCHAR(50) NOT NULL,
    email VARCHAR(255) NOT NULL, created_at DATETIME NOT NULL,
    UNIQUE KEY uk_email (email), KEY idx_tenant (tenant_id),
    CONSTRAINT fk_users_tenant FOREIGN KEY (tenant_id) REFERENCES tenants (id));
CREATE TABLE user_profiles (
    user_id VARCHAR(32) NOT NULL PRIMARY KEY, bio TEXT, avatar_url VARCHAR(255),
    CONSTRAINT fk_profiles_user FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE);
CREATE TABLE classes (
    id VARCHAR(32) NOT NULL PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, name VARCHAR(50) NOT NULL,
    teacher_id VARCHAR(32), KEY idx_tenant (tenant_id),
    CONSTRAINT fk_classes_teacher FOREIGN KEY (teacher_id) REFERENCES users (id));
CREATE TABLE students (
    id VARCHAR(32) NOT NULL PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, class_id VARCHAR(32) NOT NULL,
    name VARCHAR(50) NOT NULL, status ENUM('active','graduated','left') NOT NULL DEFAULT 'active', born_on DATE,
    KEY idx_tenant_name (tenant_id, name), KEY idx_tenant_status (tenant_id, status),
    KEY idx_tenant_status_class (tenant_id, status, class_id),
    CONSTRAINT fk_students_class FOREIGN KEY (class_id) REFERENCES classes (id));
CREATE TABLE attendance_records (
    id VARCHAR(32) NOT NULL, tenant_id VARCHAR(32) NOT NULL, student_id VARCHAR(32) NOT NULL,
    attendance_date DATE NOT NULL, status ENUM('present','absent','late','sick') NOT NULL, note VARCHAR(200),
    PRIMARY KEY (id, attendance_date), KEY idx_tenant_date (tenant_id, attendance_date),
    KEY idx_attendance_cover (student_id, attendance_date, status))
    PARTITION BY RANGE (YEAR(attendance_date) * 100 + MONTH(attendance_date)) (%(partitions)s);
CREATE TABLE audit_logs (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant_id VARCHAR(32), user_id VARCHAR(32),
    action VARCHAR(50) NOT NULL, detail JSON, created_at DATETIME NOT NULL, KEY idx_created_at (created_at));
CREATE TABLE tokens (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, user_id VARCHAR(32) NOT NULL, token CHAR(64) NOT NULL,
    expires_at DATETIME NOT NULL, KEY idx_expires_at (expires_at))
"""

ROUTINES = """
CREATE VIEW active_students AS
    SELECT s.id, s.tenant_id, s.name, c.name AS class_name
    FROM students s JOIN classes c ON s.class_id = c.id WHERE s.status = 'active'
;;
CREATE TRIGGER students_after_update AFTER UPDATE ON students FOR EACH ROW
BEGIN
    IF NEW.status <> OLD.status THEN
        INSERT INTO audit_logs (tenant_id, action, detail, created_at)
        VALUES (NEW.tenant_id, '学籍变更', JSON_OBJECT('student', NEW.id, 'status', NEW.status), NOW());
    END IF;
END
;;
CREATE FUNCTION attendance_rate(wanted VARCHAR(32)) RETURNS DECIMAL(5,2) READS SQL DATA
    RETURN (SELECT 100 * AVG(status IN ('present', 'late')) FROM attendance_records WHERE student_id = wanted)
;;
CREATE PROCEDURE graduate_class(IN wanted VARCHAR(32))
BEGIN
    UPDATE students SET status = 'graduated' WHERE class_id = wanted AND status = 'active';
END
;;
CREATE EVENT expire_tokens ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 03:00:00'
    DO DELETE FROM tokens WHERE expires_at < NOW()
"""


def fill_kindergarten(
    conn: Connection[Cursor], rows: int = 2_000, *, seed: int = 1, now: datetime | None = None
) -> dict[str, int]:
    """Make the schema and fill it: ``rows`` attendance records and the rest in proportion.

    ``audit_logs`` and ``tokens`` reach back 60 and 10 days from ``now`` (default: the coming midnight), so that part of
    them is due for purging. The same seed and ``now`` make the same rows. Returns the number of rows in each table.
    """
    now = now or datetime.combine(datetime.now(UTC).date() + timedelta(days=1), datetime.min.time())
    chance = random.Random(seed)
    months = [months_before(now.date(), back) for back in range(MONTHS_BACK, -2, -1)]
    with conn.cursor() as cursor:
        for statement in (TABLES % {"partitions": ", ".join(map(_partition, months))}).split(";\n"):
            cursor.execute(statement)
        conn.begin()
        filled = {
            table: _insert(cursor, table, made) for table, made in _rows(chance, rows, now.replace(tzinfo=None)).items()
        }
        conn.commit()
        for statement in ROUTINES.split(";;\n"):
            cursor.execute(statement)
    return filled


def _rows(chance: random.Random, rows: int, now: datetime) -> dict[str, Sequence[dict[str, Any]]]:
    """Parents before children."""
    pool = sentences(chance, 2_000)
    tenants = [
        {"id": identity(chance), "name": f"{chinese_name(chance)}幼儿园", "created_at": now - timedelta(days=900 - i)}
        for i in range(1 + rows // 2_000)
    ]
    users = [
        {
            "id": identity(chance),
            "tenant_id": chance.choice(tenants)["id"],
            "name": chinese_name(chance),
            "email": f"teacher{i}@kindergarten.example",
            "created_at": now - timedelta(days=chance.randrange(800)),
        }
        for i in range(5 + rows // 100)
    ]
    profiles = [
        {
            "user_id": user["id"],
            "bio": f"{user['name']}老师 👩‍🏫 " + "".join(chance.choices(pool, k=6)),
            "avatar_url": f"https://img.example/{user['id']}.jpg",
        }
        for user in users[::2]
    ]
    classes = [
        {
            "id": identity(chance),
            "tenant_id": (teacher := chance.choice(users))["tenant_id"],
            "name": f"{chance.choice('大中小')}{i + 1}班",
            "teacher_id": teacher["id"],
        }
        for i in range(2 + rows // 500)
    ]
    students = [
        {
            "id": identity(chance),
            "tenant_id": (home := chance.choice(classes))["tenant_id"],
            "class_id": home["id"],
            "name": chinese_name(chance),
            "status": chance.choices(("active", "graduated", "left"), weights=(80, 15, 5))[0],
            "born_on": now.date() - timedelta(days=chance.randrange(1100, 2300)),
        }
        for _ in range(20 + rows // 20)
    ]
    first_day = months_before(now.date(), MONTHS_BACK)
    days = (now.date() - first_day).days
    attendance = [
        {
            "id": identity(chance),
            "tenant_id": (student := chance.choice(students))["tenant_id"],
            "student_id": student["id"],
            "attendance_date": first_day + timedelta(days=chance.randrange(days)),
            "status": chance.choices(("present", "absent", "late", "sick"), weights=(90, 4, 3, 3))[0],
            "note": chance.choice(pool) if chance.random() < 0.1 else None,
        }
        for _ in range(rows)
    ]
    logs = [
        {
            "tenant_id": (user := chance.choice(users))["tenant_id"],
            "user_id": user["id"],
            "action": chance.choice(("登录", "修改学生信息", "导出考勤", "重置密码")),
            "detail": json.dumps({"ip": f"10.0.{chance.randrange(256)}.{chance.randrange(256)}", "ok": True}),
            "created_at": now - timedelta(seconds=chance.randrange(1, 60 * 86_400)),
        }
        for _ in range(rows)
    ]
    tokens = [
        {
            "user_id": chance.choice(users)["id"],
            "token": f"{chance.getrandbits(256):064x}",
            "expires_at": now + timedelta(seconds=chance.randrange(-10 * 86_400, 10 * 86_400)),
        }
        for _ in range(rows // 4)
    ]
    return {
        "tenants": tenants,
        "users": users,
        "user_profiles": profiles,
        "classes": classes,
        "students": students,
        "attendance_records": attendance,
        "audit_logs": logs,
        "tokens": tokens,
    }


def _insert(cursor: Cursor, table: str, rows: Iterable[dict[str, Any]]) -> int:
    count, waiting = 0, iter(rows)
    while batch := list(islice(waiting, 1_000)):
        columns = list(batch[0])
        statement = f"INSERT INTO {table} ({','.join(columns)}) VALUES ({','.join(['%s'] * len(columns))})"
        count += cursor.executemany(statement, [tuple(row.values()) for row in batch]) or 0
    return count


def _partition(first: date) -> str:
    following = months_before(first, -1)
    return f"PARTITION p{first:%Y%m} VALUES LESS THAN ({following:%Y%m})"
