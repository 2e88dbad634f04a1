-- What tells what a table needs; a partitioned table has a row of its own. expected: how many pages its rows would fill,
-- by their average width; NULL where columns have no statistics, or are of type name, whose width the statistics don't
-- know. What moved to TOAST isn't counted. An account sees the statistics of tables that it may read.
WITH RECURSIVE above AS (
  SELECT inhrelid AS oid, inhparent AS parent FROM pg_inherits
   UNION
  SELECT above.oid, i.inhparent FROM above JOIN pg_inherits i ON i.inhrelid = above.parent
), wide AS (
  SELECT a.attrelid AS oid,
         23 + CASE WHEN max(coalesce(s.null_frac, 0)) > 0 THEN (7 + count(*)) / 8 ELSE 0 END AS head,
         sum((1 - coalesce(s.null_frac, 0)) * coalesce(s.avg_width, 0)) AS data,
         bool_or(a.atttypid = 'name'::regtype) OR count(*) <> count(s.attname) AS unknown
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_stats s
      ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname AND NOT s.inherited
   WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind = 'r'
     AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   GROUP BY a.attrelid
)
SELECT c.oid::int8 AS oid,
       n.nspname AS schema,
       c.relname AS name,
       CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned' WHEN 'v' THEN 'view'
                      WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' END AS kind,
       ARRAY(SELECT pn.nspname || '.' || p.relname FROM above
               JOIN pg_class p ON p.oid = above.parent JOIN pg_namespace pn ON pn.oid = p.relnamespace
              WHERE above.oid = c.oid AND p.relkind = 'p') AS parents,
       CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) ELSE 0 END AS bytes,
       CASE WHEN c.relkind = 'r' THEN pg_total_relation_size(c.oid) ELSE 0 END AS total_bytes,
       c.reltuples::float8 AS row_estimate,
       coalesce(u.n_live_tup, 0) AS live,
       coalesce(u.n_dead_tup, 0) AS dead,
       coalesce(u.n_mod_since_analyze, 0) AS changed,
       (to_jsonb(u) ->> 'n_ins_since_vacuum')::int8 AS inserted,
       extract(epoch FROM clock_timestamp() - greatest(u.last_analyze, u.last_autoanalyze))::float8 AS statistics_age,
       greatest(u.last_analyze, u.last_autoanalyze) IS NOT NULL
         OR NOT has_table_privilege(c.oid, 'SELECT')
         OR EXISTS (SELECT FROM pg_stats s WHERE s.schemaname = n.nspname AND s.tablename = c.relname)
         AS has_statistics,
       CASE WHEN c.relkind = 'r' THEN greatest(age(c.relfrozenxid), age(t.relfrozenxid)) ELSE 0 END AS xid_age,
       CASE WHEN c.relkind = 'r' THEN greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid)) ELSE 0 END AS mxid_age,
       EXISTS (SELECT FROM pg_stat_progress_vacuum v WHERE v.relid = c.oid) AS vacuum_running,
       coalesce(substring(array_to_string(c.reloptions, ' ') FROM 'fillfactor=([0-9]+)')::int, 100) AS fillfactor,
       CASE WHEN NOT w.unknown AND c.reltuples > 0 THEN
         ceil(c.reltuples / floor((current_setting('block_size')::int - 24) / (4 + 8 * ceil(w.head / 8.0)
              + 8 * ceil(w.data / 8.0)))) END::float8 AS expected,
       current_setting('block_size')::int AS page
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
  LEFT JOIN pg_stat_all_tables u ON u.relid = c.oid
  LEFT JOIN wide w ON w.oid = c.oid
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND c.relpersistence <> 't'
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   AND (%s::text IS NULL OR n.nspname || '.' || c.relname = %s)
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 2, 3;
