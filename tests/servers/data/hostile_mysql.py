"""A MariaDB or MySQL database with everything that a dump is known to lose, to mangle or to stumble over."""

from __future__ import annotations

import random

from pymysql.connections import Connection
from pymysql.cursors import Cursor

from tests.servers.data.prose import sentences

ALL_BYTES = bytes(range(256))

TRICKY_TEXT = "\n".join(
    [
        "plain",
        "-- Dump completed on 2026-11-21  2:00:03",
        "CREATE TABLE `x` (i int);",
        "INSERT INTO `x` VALUES (1);",
        "/*!40101 SET NAMES latin1 */;",
        "DELIMITER ;;",
        'it\'s "quoted" `so` \\n \\0 \\Z \\ %s %d ${HOME} \x00 \x1a \r\n\t',
        "张老师 🎒 e\u0301 \U00020bb7 \ufffd",
    ]
)

STRANGE_NAMES = (
    "with space",
    "back`tick",
    "quote'\"s",
    "学生",
    "da-shes",
    "-leading-dash",
    "--all-databases",
    "select",
    "UPPER",
    "upper",
    "100%",
    "a.b/c\\d",
    "$(touch gone)",
    "; DROP TABLE x; --",
    "n" * 64,
)

TABLES = r"""
CREATE TABLE empty_table (id INT PRIMARY KEY, note TEXT);
CREATE TABLE no_primary_key (a INT, b VARCHAR(10));
CREATE TABLE texts (id INT AUTO_INCREMENT PRIMARY KEY, body LONGTEXT, short VARCHAR(255)) AUTO_INCREMENT=4242;
CREATE TABLE in_gbk (id INT PRIMARY KEY, body VARCHAR(50)) CHARACTER SET gbk;
CREATE TABLE in_latin1 (id INT PRIMARY KEY, body VARCHAR(50)) CHARACTER SET latin1;
CREATE TABLE blobs (id INT PRIMARY KEY, body LONGBLOB, fixed BINARY(8), `varying` VARBINARY(300));
CREATE TABLE numbers (
    id INT PRIMARY KEY, big BIGINT UNSIGNED, price DECIMAL(65,30), ratio DOUBLE, small FLOAT, flags BIT(64),
    yes BOOLEAN, zeros INT(8) UNSIGNED ZEROFILL);
CREATE TABLE choices (
    id INT PRIMARY KEY, one ENUM('', 'a,b', 'it''s', '中'), many SET('x', 'y y', '中'), document JSON);
CREATE TABLE times (
    id INT PRIMARY KEY, d DATE, dt DATETIME(6), ts TIMESTAMP(6) NULL, t TIME(6), y YEAR,
    changed TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP);
CREATE TABLE places (
    id INT PRIMARY KEY, at POINT NOT NULL, area GEOMETRY, SPATIAL INDEX (at));
CREATE TABLE computed (
    id INT PRIMARY KEY, price DECIMAL(10,2), amount INT, sum_virtual DECIMAL(20,2) AS (price * amount) VIRTUAL,
    name VARCHAR(50), name_stored VARCHAR(60) AS (CONCAT('<', name, '>')) STORED, KEY (name_stored));
CREATE TABLE ruled (
    id INT PRIMARY KEY, state VARCHAR(10) CHECK (state IN ('open', '关')), is_open INT AS (state = 'open') STORED,
    kind VARCHAR(20) DEFAULT (CONCAT('类', '-')), KEY (is_open));
CREATE TABLE by_word (word VARCHAR(10) PRIMARY KEY) PARTITION BY LIST COLUMNS (word)
    (PARTITION said VALUES IN ('open', '关'), PARTITION other VALUES IN ('积木'));
CREATE TABLE hidden (id INT PRIMARY KEY, seen INT, unseen INT INVISIBLE DEFAULT 7, CHECK (seen > 0));
CREATE TABLE not_transactional (id INT PRIMARY KEY, body TEXT, FULLTEXT (body)) ENGINE=MyISAM;
CREATE TABLE in_memory (id INT PRIMARY KEY, body VARCHAR(20)) ENGINE=MEMORY;
CREATE TABLE partitioned (id INT, at DATE, PRIMARY KEY (id, at)) PARTITION BY RANGE (YEAR(at))
    (PARTITION p2025 VALUES LESS THAN (2026), PARTITION `p max` VALUES LESS THAN MAXVALUE);
CREATE TABLE cycle_a (id INT PRIMARY KEY, b_id INT, self_id INT);
CREATE TABLE cycle_b (id INT PRIMARY KEY, a_id INT NOT NULL, FOREIGN KEY (a_id) REFERENCES cycle_a (id));
CREATE TABLE `strange columns` (
    `a b``c` INT PRIMARY KEY, `列` INT, `select` INT, `-- x` INT COMMENT 'it''s\n-- a comment');
CREATE TABLE triggered (id INT PRIMARY KEY, body TEXT) COMMENT='表 ''comment'' ; -- x'
"""

ROWS = r"""
INSERT INTO no_primary_key VALUES (1, 'twice'), (1, 'twice'), (NULL, NULL), (2, '');
INSERT INTO numbers VALUES
    (1, 18446744073709551615, 12345678901234567890123456789012345.123456789012345678901234567890,
     1.7976931348623157e308, 3.4028e38, b'1111111111111111111111111111111111111111111111111111111111111111', 1, 42),
    (2, 0, -0.000000000000000000000000000001, -2.2250738585072014e-308, -0.1, b'0', 0, 0),
    (3, NULL, NULL, 0.1, NULL, NULL, NULL, NULL);
INSERT INTO choices VALUES
    (1, '', '', '{"a": [1, 2.5, null, "\\"", "中🎒"], "b c": {}}'), (2, 'a,b', 'x,y y', '[]'),
    (3, 'it''s', 'x,y y,中', '"-- Dump completed"'), (4, NULL, NULL, NULL), (5, '中', '中', 'null');
INSERT INTO times (id, d, dt, ts, t, y, changed) VALUES
    (1, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', '00:00:00', 0000, '0000-00-00 00:00:00'),
    (2, '2026-00-00', '2026-02-00 10:00:00', NULL, '-838:59:59', 1901, '1970-01-01 00:00:01'),
    (3, '9999-12-31', '9999-12-31 23:59:59.999999', '2026-03-29 02:30:00.123456', '838:59:58.5', 2155,
     '2026-11-01 01:30:00'),
    (4, '1000-01-01', '1000-01-01 00:00:00', '2038-01-19 03:14:07', '12:00:00.000001', 2026, '2026-01-01 00:00:00');
INSERT INTO places VALUES
    (1, ST_GeomFromText('POINT(121.47 31.23)'),
     ST_GeomFromText('POLYGON((0 0,0 9,9 9,9 0,0 0),(1 1,1 2,2 2,2 1,1 1))')),
    (2, ST_GeomFromText('POINT(-0.5 1e-300)'), ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))')),
    (3, ST_GeomFromText('POINT(0 0)'), NULL);
INSERT INTO computed (id, price, amount, name) VALUES (1, 9.99, 3, '积木'), (2, NULL, 1, NULL);
INSERT INTO ruled (id, state) VALUES (1, 'OPEN'), (2, '关'), (3, NULL);
INSERT INTO by_word VALUES ('Open'), ('关'), ('积木');
INSERT INTO hidden (id, seen, unseen) VALUES (1, 1, 99), (2, 2, NULL);
INSERT INTO hidden (id, seen) VALUES (3, 3);
INSERT INTO not_transactional VALUES (1, 'MyISAM 没有事务'), (2, NULL);
INSERT INTO in_memory VALUES (1, 'gone at a restart');
INSERT INTO partitioned VALUES (1, '2025-12-31'), (2, '2026-01-01'), (3, '9999-12-31');
INSERT INTO cycle_a (id, b_id, self_id) VALUES (1, NULL, 1), (2, NULL, 1);
INSERT INTO cycle_b VALUES (10, 1), (20, 2);
UPDATE cycle_a SET b_id = id * 10;
ALTER TABLE cycle_a ADD FOREIGN KEY (b_id) REFERENCES cycle_b (id), ADD FOREIGN KEY (self_id) REFERENCES cycle_a (id);
INSERT INTO `strange columns` VALUES (1, 2, 3, 4)
"""

PROGRAMS = r"""
CREATE VIEW healthy_view AS SELECT id, short FROM texts WHERE id > 0 WITH CHECK OPTION
====
CREATE DEFINER=`ghost`@`nowhere` SQL SECURITY DEFINER VIEW orphaned_view AS SELECT id FROM texts
====
CREATE VIEW `view of 学生` AS SELECT o.id, 'it''s -- x' AS `c d` FROM healthy_view o
====
CREATE DEFINER=`ghost`@`nowhere` TRIGGER orphaned_trigger BEFORE INSERT ON texts FOR EACH ROW SET NEW.short = NEW.short
====
CREATE TRIGGER `first 触发` BEFORE INSERT ON triggered FOR EACH ROW
BEGIN
    -- Dump completed on 2026-11-21  2:00:03
    /*
CREATE TABLE `x` (i int);
    */
    SET NEW.body = CONCAT(NEW.body, '
CREATE TABLE `x` (
-- Dump completed
;;
');
END
====
CREATE TRIGGER second_of_its_kind BEFORE INSERT ON triggered FOR EACH ROW FOLLOWS `first 触发`
    SET NEW.body = TRIM(NEW.body)
====
CREATE FUNCTION `tricky function`(a VARCHAR(20) CHARSET utf8mb4) RETURNS TEXT CHARSET utf8mb4 DETERMINISTIC
BEGIN
    -- Dump completed
    RETURN CONCAT(a, '
CREATE TABLE `x` (i int);
-- Dump completed on 2026-11-21  2:00:03
');
END
====
CREATE DEFINER=`ghost`@`nowhere` PROCEDURE orphaned_procedure(OUT n INT) COMMENT 'it''s'
    SELECT COUNT(*) INTO n FROM texts
====
CREATE EVENT `nightly 清理` ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE
    COMMENT '-- Dump completed' DO
BEGIN
    -- Dump completed
    DELETE FROM triggered WHERE body = '
CREATE TABLE `x`';
END
"""

BROKEN_VIEW = """
CREATE TABLE soon_gone (id INT);
CREATE VIEW broken_view AS SELECT id FROM soon_gone;
DROP TABLE soon_gone
"""

MARIADB_ONLY = """
CREATE SEQUENCE tickets START WITH 100 INCREMENT BY 10;
DO NEXT VALUE FOR tickets;
CREATE TABLE only_mariadb (id UUID PRIMARY KEY, address INET6, squeezed TEXT COMPRESSED);
INSERT INTO only_mariadb VALUES ('123e4567-e89b-12d3-a456-426655440000', '2001:db8::ff00:42:8329', REPEAT('压缩', 5000))
"""

MYSQL_ONLY = """
CREATE TABLE only_mysql (
    id INT PRIMARY KEY, tags JSON, name VARCHAR(20), KEY ((LOWER(name))), KEY ((CAST(tags->'$[*]' AS UNSIGNED ARRAY))));
INSERT INTO only_mysql VALUES (1, '[1, 2, 3]', 'Wang')
"""

ONLY_AS_TEXT = """
DROP VIEW healthy_view, orphaned_view, `view of 学生`;
DROP TABLE in_gbk, in_latin1, places, computed, ruled, hidden;
DROP TABLE IF EXISTS only_mariadb, only_mysql;
ALTER TABLE choices DROP COLUMN document
"""


def fill_hostile_mysql(
    conn: Connection[Cursor],
    *,
    broken_view: bool = True,
    as_bytes: bool = False,
    long_row_bytes: int = 6_000_000,
    seed: int = 1,
) -> None:
    """Fill the current, empty database.

    :param broken_view: whether it has a view of a table that was dropped; ``mysqldump`` without ``--force`` ends there.
    :param as_bytes: leave out what may only pass through a dump as text.
    :param long_row_bytes: the size of the longest row: half text, half random bytes.
    """
    chance = random.Random(seed)
    with conn.cursor() as cursor:
        cursor.execute("SELECT @@session.sql_mode, @@session.time_zone, version()")
        [(sql_mode, time_zone, version)] = cursor.fetchall()
        cursor.execute("SET SESSION sql_mode = '', SESSION time_zone = '+00:00'")
        _run(cursor, TABLES)
        _run(cursor, ROWS)
        for place, name in enumerate(STRANGE_NAMES):
            quoted = "`" + name.replace("`", "``") + "`"
            cursor.execute(f"CREATE TABLE {quoted} (id INT PRIMARY KEY, name VARCHAR(70))".replace("%", "%%"), ())
            cursor.execute(f"INSERT INTO {quoted.replace('%', '%%')} VALUES (%s, %s)", (place, name))
        _fill_text_and_bytes(cursor, chance, long_row_bytes)
        if broken_view:
            _run(cursor, BROKEN_VIEW)
        _run(cursor, MARIADB_ONLY if "MariaDB" in version else MYSQL_ONLY)
        for statement in PROGRAMS.split("\n====\n"):
            cursor.execute(statement)
        if as_bytes:
            _run(cursor, ONLY_AS_TEXT)
        cursor.execute("INSERT INTO triggered VALUES (1, 'through two triggers')")
        cursor.execute("SET SESSION sql_mode = %s, SESSION time_zone = %s", (sql_mode, time_zone))
    conn.commit()


def _fill_text_and_bytes(cursor: Cursor, chance: random.Random, long_row_bytes: int) -> None:
    texts = [TRICKY_TEXT, "", " ", "\\", "'", "\n", "\x00", "NULL", "\\N", "🎒" * 60, None]
    cursor.executemany(
        "INSERT INTO texts (body, short) VALUES (%s, %s)", [(text, text and text[:60]) for text in texts]
    )
    cursor.execute("INSERT INTO in_gbk VALUES (1, %s), (2, %s)", ("縗 運 誠 幼儿园", "\\'\"`"))
    cursor.execute("INSERT INTO in_latin1 VALUES (1, %s), (2, %s)", ("é ü ß €", "\\'\"`"))
    blobs = [
        ALL_BYTES,
        ALL_BYTES[::-1] * 40,
        b"",
        b"\x00",
        b"'",
        b"\\",
        b"\n-- Dump completed\n",
        "大".encode("gbk"),
        None,
    ]
    cursor.executemany(
        "INSERT INTO blobs VALUES (%s, %s, %s, %s)",
        [(place, blob, blob and blob[:8], blob and blob[:300]) for place, blob in enumerate(blobs)],
    )
    half = long_row_bytes // 2
    pool = sentences(chance, 2_000)
    long_text = "".join(chance.choices(pool, k=1 + half // 50))[:half]
    cursor.execute("INSERT INTO texts (body, short) VALUES (%s, 'a very long row')", (long_text,))
    cursor.execute("INSERT INTO blobs VALUES (1000, %s, NULL, NULL)", (chance.randbytes(half),))


def _run(cursor: Cursor, script: str) -> None:
    for statement in script.split(";\n"):
        if statement.strip():
            cursor.execute(statement)
