"""The fingerprint of a PostgreSQL database."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from tests.servers.data.fingerprint import Fingerprint

# Objects of schemas that aren't the server's own, and that don't come with an extension.
OURS = """
    JOIN pg_namespace n ON n.oid = {namespace} AND n.nspname !~ '^(pg_|information_schema)'
    WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = {oid} AND e.deptype = 'e')"""

RELATIONS = OURS.format(namespace="c.relnamespace", oid="c.oid")

OBJECTS = {
    "schema": """
        SELECT nspname, concat_ws(' | ', pg_get_userbyid(nspowner), nspacl) FROM pg_namespace
        WHERE nspname !~ '^(pg_|information_schema)'""",
    "extension": """
        SELECT extname, concat_ws(' | ', extversion, extnamespace::regnamespace) FROM pg_extension""",
    "relation": f"""
        SELECT c.oid::regclass, concat_ws(' | ', c.relkind, c.relpersistence, pg_get_userbyid(c.relowner), c.relacl,
            c.reloptions, c.relrowsecurity, c.relforcerowsecurity, c.relispopulated, c.relreplident,
            obj_description(c.oid, 'pg_class'), pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid),
            (SELECT string_agg(i.inhparent::regclass::text, ',' ORDER BY i.inhseqno)
             FROM pg_inherits i WHERE i.inhrelid = c.oid))
        FROM pg_class c {RELATIONS} AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')""",
    "column": f"""
        SELECT c.oid::regclass || '.' || a.attname, concat_ws(' | ', format_type(a.atttypid, a.atttypmod), a.attnotnull,
            a.attidentity, a.attgenerated, a.attislocal, a.attstorage, a.attacl, a.attcollation::regcollation,
            pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum),
            row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum))
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        {RELATIONS} AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')""",
    "view": f"""
        SELECT c.oid::regclass, pg_get_viewdef(c.oid) FROM pg_class c {RELATIONS} AND c.relkind IN ('v', 'm')""",
    "index": f"""
        SELECT c.oid::regclass, concat_ws(' | ', pg_get_indexdef(c.oid), i.indisvalid, i.indisclustered)
        FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid {RELATIONS}""",
    "constraint": f"""
        SELECT k.conrelid::regclass || '.' || k.conname,
            concat_ws(' | ', pg_get_constraintdef(k.oid), k.convalidated, k.condeferrable, k.condeferred)
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid {RELATIONS}""",
    "trigger": f"""
        SELECT c.oid::regclass || '.' || t.tgname, concat_ws(' | ', pg_get_triggerdef(t.oid), t.tgenabled)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid {RELATIONS} AND NOT t.tgisinternal""",
    "rule": f"""
        SELECT c.oid::regclass || '.' || r.rulename, pg_get_ruledef(r.oid)
        FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class {RELATIONS}""",
    "policy": """
        SELECT tablename || '.' || policyname, concat_ws(' | ', permissive, roles, cmd, qual, with_check)
        FROM pg_policies""",
    "sequence": """
        SELECT schemaname || '.' || sequencename, concat_ws(' | ', data_type, start_value, min_value, max_value,
            increment_by, cycle, cache_size, coalesce(last_value::text, 'unused'))
        FROM pg_sequences""",
    "function": f"""
        SELECT p.oid::regprocedure, concat_ws(' | ', pg_get_userbyid(p.proowner), p.proacl,
            CASE WHEN p.prokind = 'a' THEN (SELECT concat_ws(' ', aggtransfn, agginitval) FROM pg_aggregate
                                            WHERE aggfnoid = p.oid) ELSE pg_get_functiondef(p.oid) END)
        FROM pg_proc p {OURS.format(namespace="p.pronamespace", oid="p.oid")}""",
    "type": f"""
        SELECT t.oid::regtype, concat_ws(' | ', t.typtype, format_type(t.typbasetype, t.typtypmod), t.typdefault,
            (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid),
            (SELECT string_agg(pg_get_constraintdef(oid), ',' ORDER BY conname) FROM pg_constraint
             WHERE contypid = t.oid), (SELECT format_type(rngsubtype, -1) FROM pg_range WHERE rngtypid = t.oid))
        FROM pg_type t {OURS.format(namespace="t.typnamespace", oid="t.oid")} AND t.typtype IN ('d', 'e', 'r', 'm')""",
    "operator": f"""
        SELECT o.oid::regoperator, o.oprcode FROM pg_operator o
        {OURS.format(namespace="o.oprnamespace", oid="o.oid")}""",
    "statistics": f"""
        SELECT s.stxname, pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s
        {OURS.format(namespace="s.stxnamespace", oid="s.oid")}""",
    "collation": f"""
        SELECT k.collname, concat_ws(' | ', k.collprovider, k.collcollate, k.collctype) FROM pg_collation k
        {OURS.format(namespace="k.collnamespace", oid="k.oid")}""",
    "cast": """
        SELECT concat(castsource::regtype, ' as ', casttarget::regtype), concat_ws(' | ', castfunc::regproc, castmethod)
        FROM pg_cast c WHERE oid >= 16384
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = c.oid AND e.deptype = 'e')""",
    "event trigger": """
        SELECT evtname, concat_ws(' | ', evtevent, evtfoid::regproc, evtenabled, evttags) FROM pg_event_trigger""",
    "publication": """
        SELECT p.pubname || ' of ' || coalesce(r.prrelid::regclass::text, 'all'),
            concat_ws(' | ', puballtables, pubinsert, pubupdate, pubdelete, r.prattrs, pg_get_expr(r.prqual, r.prrelid))
        FROM pg_publication p LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid""",
    "default privilege": """
        SELECT concat_ws(' | ', pg_get_userbyid(defaclrole), defaclnamespace::regnamespace, defaclobjtype), defaclacl
        FROM pg_default_acl""",
    "large object": """
        SELECT m.oid, concat_ws(' | ', pg_get_userbyid(m.lomowner), m.lomacl, obj_description(m.oid, 'pg_largeobject'),
            encode(sha256(lo_get(m.oid)), 'hex'))
        FROM pg_largeobject_metadata m""",
}


def fingerprint_postgres(conn: psycopg.Connection[Any]) -> Fingerprint:
    """Read every row and every definition of the current database, in one snapshot."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for setting in (
            "search_path TO ''",  # so that every name is printed with its schema
            "timezone TO 'UTC'",
            "datestyle TO 'ISO'",
            "intervalstyle TO 'postgres'",
            "extra_float_digits TO 3",
            "bytea_output TO 'hex'",
        ):
            conn.execute(f"SET LOCAL {setting}".encode())
        objects = {kind: _objects(conn, statement) for kind, statement in OBJECTS.items()}
        tables = conn.execute(
            f"SELECT c.oid::regclass::text, n.nspname, c.relname FROM pg_class c {RELATIONS} "
            "AND c.relkind IN ('r', 'p', 'm') AND c.relispopulated ORDER BY 1".encode()
        ).fetchall()
        return Fingerprint({shown: _content(conn, schema, name) for shown, schema, name in tables}, objects)


def _objects(conn: psycopg.Connection[Any], statement: str) -> dict[str, str]:
    return {str(name): str(text) for name, text in conn.execute(statement.encode()).fetchall()}


def _content(conn: psycopg.Connection[Any], schema: str, name: str) -> tuple[int, str]:
    """The sum of a hash of each row: the same in any order, and two equal rows don't cancel each other out."""
    statement = sql.SQL(
        'SELECT count(*), sum(hashtextextended("the row"::text, 0)::numeric), '
        'sum(hashtextextended("the row"::text, 1)::numeric) FROM {} AS "the row"'
    )
    row = conn.execute(statement.format(sql.Identifier(schema, name))).fetchone()
    assert row is not None
    return row[0], f"{row[1] or 0}/{row[2] or 0}"
