"""How a migration is cut into statements, what is refused of it, and what must be true after it."""

from __future__ import annotations

import time

import pytest

from upkeep.domain.migration import otherwise_shaped, plan_of, rows_missed, shapes_changed, tables_changed, within
from upkeep.domain.sql_statements import missing_from_session, read_statements
from upkeep.errors import MigrationRefused


def cut(engine: str, text: str) -> list[tuple[str, bool]]:
    return [(one.bare, one.by_itself) for one in read_statements(engine, text, "the migration")]


def test_a_statement_ends_where_psql_ends_it() -> None:
    text = """-- first; comment
        CREATE FUNCTION f() RETURNS int AS $b$ BEGIN RETURN 1; END $b$ LANGUAGE plpgsql;
        CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END;
        /* a /* nested; */ b; */ INSERT INTO t VALUES ('a;''b', 'x\\', E'x\\';y', "c;d", a$1, $1);;
        CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2);
        CREATE FUNCTION begin(begin int) RETURNS int AS 'SELECT 1' LANGUAGE sql;
        SELECT 1 -- not hidden:\r; SELECT 2;
        SELECT E'a'
          'b\\'; c';
        CREATE INDEX CONCURRENTLY i ON t (a)"""
    assert cut("postgres", text) == [
        ("CREATE FUNCTION f() RETURNS int AS '' LANGUAGE plpgsql", False),
        ("CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END", False),
        ("INSERT INTO t VALUES ('', '', '', \"c;d\", a$1, $1)", False),
        ("CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2)", False),
        ("CREATE FUNCTION begin(begin int) RETURNS int AS '' LANGUAGE sql", False),
        ("SELECT 1", False),
        ("SELECT 2", False),
        ("SELECT ''", False),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", True),
    ]


def test_a_statement_ends_where_the_mysql_client_ends_it() -> None:
    text = """ALTER TABLE a ADD b INT; # x;y
DELIMITER //
CREATE TRIGGER x BEFORE INSERT ON a FOR EACH ROW BEGIN SET NEW.b = 1; SET @a = '//'; END//
delimiter ;
INSERT INTO `a;` VALUES ("x;\\";y", 'it''s -- no', 1--1) -- last; comment
;
  DELIMITER $$
CREATE PROCEDURE p() BEGIN SELECT 1; END$$
CREATE VIEW v AS SELECT 1$$
"""
    assert cut("mysql", text) == [
        ("ALTER TABLE a ADD b INT", True),
        ("CREATE TRIGGER x BEFORE INSERT ON a FOR EACH ROW BEGIN SET NEW.b = 1; SET @a = ''; END", True),
        ("INSERT INTO `a;` VALUES ('', '', 1--1)", False),
        ("CREATE PROCEDURE p() BEGIN SELECT 1; END", True),
        ("CREATE VIEW v AS SELECT 1", True),
    ]


@pytest.mark.parametrize(
    ("engine", "text", "why"),
    [
        ("postgres", "BEGIN; ALTER TABLE a ADD b int; COMMIT", "begins or ends transactions"),
        ("postgres", "ALTER SYSTEM SET fsync = off", "whole server"),
        ("postgres", "GRANT admin TO li", "whole server"),
        ("postgres", "COPY a FROM STDIN", "needs a file or a client"),
        ("postgres", "\\connect other", "command of the client's own in line 1"),
        ("postgres", "INSERT INTO a VALUES ('x); SELECT 1", "line 1 with ' has no end"),
        ("postgres", "SELECT $$ body", "line 1"),
        ("mysql", "SELECT 1;\nUSE other", "leaves the database"),
        ("mysql", "set @@global.fsync = 0", "whole server"),
        ("mysql", "SET SESSION sort_buffer_size = 1, GLOBAL read_only = 1", "whole server"),
        ("mysql", "SET STATEMENT lock_wait_timeout = 9 FOR ALTER TABLE a ADD b INT", "hides what it runs"),
        ("postgres", "COPY a FROM'/tmp/a'", "needs a file or a client"),
        ("postgres", "CREATE SUBSCRIPTION s CONNECTION 'host=live' PUBLICATION p", "reaches another server"),
        ("postgres", "CREATE EXTENSION IF NOT EXISTS dblink", "reaches another server"),
        ("mysql", "CREATE TABLE a (b INT) ENGINE=FEDERATED CONNECTION='mysql://live/a'", "reaches another server"),
        ("mysql", "GRANT ALL ON *.* TO li", "whole server"),
        ("mysql", "STOP REPLICA", "whole server"),
        ("mysql", "ALTER INSTANCE DISABLE INNODB REDO_LOG", "whole server"),
        ("mysql", "LOCK TABLES a WRITE", "wait for its lock"),
        ("mysql", "/*!50003 DROP TABLE a */", "depends on the server's release"),
        ("mysql", "SELECT 1 /* open", "has no end"),
        ("mysql", "-- nothing", "holds no statement"),
    ],
)
def test_what_can_not_be_rehearsed_or_cut_is_refused(engine: str, text: str, why: str) -> None:
    with pytest.raises(MigrationRefused) as refused:
        read_statements(engine, text, "the migration")
    assert why in refused.value.message


@pytest.mark.parametrize(
    ("text", "first", "missing"),
    [
        ("SELECT MAX(id) INTO @m FROM a; ALTER TABLE a ADD b INT; UPDATE a SET b = 1 WHERE id <= @M", 3, "@m"),
        ("SET @m = (SELECT MAX(id) FROM a); ALTER TABLE a ADD b INT; UPDATE a SET b = 1 WHERE id <= @m", 3, "@m"),
        ("SET @m = (SELECT 1); SET @n = @m; ALTER TABLE a ADD b INT; UPDATE a SET b = @n", 4, "@m"),
        ("SET @m = (SELECT 1); DROP TABLE a; SET @m = @m + 1; DROP TABLE b", 3, "@m"),
        ("DROP TABLE z; INSERT INTO a VALUES (1); INSERT INTO b VALUES (last_insert_id())", 3, "last_insert_id"),
        ("SET @m = 'new'; ALTER TABLE a ADD b INT; UPDATE a SET b = @m", 3, ""),
        ("SET @s = (SELECT 1); PREPARE p FROM @s; EXECUTE p; SET @s = (SELECT 2); PREPARE p FROM @s", 4, ""),
        ("SELECT @@version; SELECT 1 INTO @mm; DROP TABLE a; UPDATE a SET b = @m", 3, ""),
        ("INSERT INTO a VALUES (1); INSERT INTO a VALUES (2); INSERT INTO b VALUES (LAST_INSERT_ID())", 2, ""),
    ],
)
def test_what_goes_on_half_way_is_not_run_with_values_that_mysql_has_forgotten(
    text: str, first: int, missing: str
) -> None:
    assert missing_from_session("mysql", read_statements("mysql", text, "it"), first) == missing


@pytest.mark.parametrize("engine", ["mysql", "postgres"])
def test_a_long_statement_is_cut_in_a_time_that_grows_with_its_length_alone(engine: str) -> None:
    begun = time.process_time()
    read_statements(engine, "INSERT INTO a VALUES " + ",".join(f"({i}, 'it;s {i}')" for i in range(8000)), "it")
    assert time.process_time() - begun < 10, "0.5 s; a minute and more where each token looks back at all before it"


def test_the_plan_says_plainly_what_would_stand() -> None:
    text = "ALTER TABLE a ADD b INT; UPDATE a SET b = 1; DROP TABLE c"
    told = "\n".join(plan_of("mysql", text, rollback="", on_failure="stop").lines())
    assert "statements 1, 3 commit by themselves (MySQL's DDL is not transactional)" in told
    assert "if statement 3 fails, statements 1 to 2 stand" in told
    assert "nothing of it stands" in "\n".join(plan_of("postgres", text, rollback="", on_failure="stop").lines())
    with pytest.raises(MigrationRefused, match="there is none"):
        plan_of("mysql", text, rollback=" ", on_failure="rollback")


def test_who_approves_sees_all_that_runs_but_secrets() -> None:
    text = """UPDATE a SET mail = 'Li  @example.com'  -- why
        WHERE id = 1;
        UPDATE accounts SET password = 'hunter2', mail = 'li' WHERE id = 2;
        DO $$ BEGIN DELETE FROM a; END $$;
        SELECT 'a\u202eb'; SELECT '#'""".replace("#", 5000 * "x")
    plan = plan_of("postgres", text, rollback="UPDATE a SET mail = 'before'", on_failure="stop", source="file a.sql")
    told = "\n".join(plan.lines())
    assert f"5 statements from file a.sql, SHA-256 {plan.digest}" in told
    assert "UPDATE a SET mail = 'Li  @example.com' WHERE id = 1\n" in told
    assert "UPDATE accounts SET password = '', mail = '' WHERE id = 2 [it may hold a secret" in told
    assert "DO $$ BEGIN DELETE FROM a; END $$\n" in told
    assert "SELECT 'a\\u202eb'" in told, "what can't be seen is written out"
    assert "[and 1,009 more characters: read the text itself]" in told
    assert f"rollback script: 1 statement, SHA-256 {plan.rollback_digest}\n  1. UPDATE a SET mail = 'before'" in told
    assert within(["one", "two", "three"], 6)[-1] == "and 1 more lines that are not shown: read the text itself"


def test_what_a_migration_made_is_looked_for_on_live() -> None:
    before = {"release": "postgres 15", "tables": {"a": "1", "gone": "1"}, "indexes": {"i": "1"}, "views": {"v": "1"}}
    after = {"release": "postgres 15", "tables": {"a": "2", "made": "1"}, "indexes": {"i": "1"}, "views": {"v": "2"}}
    rehearsed = shapes_changed(before, after)
    assert otherwise_shaped(rehearsed, {**after, "tables": {"a": "2", "made": "1", "other": "9"}}) == []
    live = {**after, "tables": {"a": "3", "gone": "1"}}
    assert otherwise_shaped(rehearsed, live) == ["table a", "table gone", "table made"]
    assert otherwise_shaped(rehearsed, {**live, "release": "postgres 16"}) == [], "another release prints otherwise"
    assert otherwise_shaped(None, live) == []


def test_rows_are_missed_where_live_lost_more_than_the_rehearsal() -> None:
    rehearsed = tables_changed({"a": 1000, "b": 50, "gone": 3}, {"a": 500, "b": 50, "made": 2})
    assert rehearsed == {"a": (1000, 500), "gone": (3, None), "made": (None, 2)}
    before = {"a": 2000, "b": 60, "gone": 4, "other": 5}
    assert rows_missed(rehearsed, before, {"a": 990, "b": 55, "made": 2, "other": 9}) == []
    missed = rows_missed(rehearsed, before, {"a": 500, "b": 40, "gone": 4})
    assert [line.split()[1] for line in missed] == ["a", "b", "gone", "made", "other"]


def test_no_rows_are_missed_where_a_migration_adds_or_removes_a_fixed_number_of_them() -> None:
    rehearsed = tables_changed({"codes": 2, "old": 1000, "all": 5000}, {"codes": 502, "old": 400, "all": 0})
    before = {"codes": 40, "old": 700, "all": 6000}
    assert rows_missed(rehearsed, before, {"codes": 540, "old": 100, "all": 0}) == []
    (missed,) = rows_missed(rehearsed, before, {"codes": 40, "old": 100, "all": 0})
    assert "codes has 40 rows, it had 40; by the rehearsal (2 to 502) it should have at least about 540" in missed


def test_a_table_that_was_not_counted_in_time_is_not_taken_for_one_that_is_gone() -> None:
    rehearsed = tables_changed({"a": 1000}, {"a": 500, "made": 2})
    assert rows_missed(rehearsed, {"a": 1000, "large": 9}, {"a": None, "large": None, "made": None}) == []
    assert rows_missed(rehearsed, {"a": None, "large": None}, {"a": 0, "large": 3, "made": 2}) == []
    assert rows_missed(rehearsed, {"a": None, "large": None}, {"a": 0, "made": 2}) == ["table large is gone"]
