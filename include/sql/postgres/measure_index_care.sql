-- Every index of the tables, with the pages that a B-tree of its rows would fill by their average width; NULL where that
-- can't be known: another kind of index, a partial one, an expression or column without statistics, a column of type
-- name. Equal keys that share one entry (13 and later) make the true number smaller: waste is missed, never invented.
SELECT x.indrelid::int8 AS table_oid,
       c.oid::int8 AS oid,
       n.nspname AS schema,
       c.relname AS name,
       m.amname AS method,
       pg_relation_size(c.oid) AS bytes,
       x.indisvalid AND x.indisready AS valid,
       x.indisexclusion AS exclusion,
       c.relname ~ '_cc(new|old)[0-9]*$' AS leftover,
       EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.relid = x.indrelid) AS building,
       coalesce(substring(array_to_string(c.reloptions, ' ') FROM 'fillfactor=([0-9]+)')::int, 90) AS fillfactor,
       CASE WHEN m.amname = 'btree' AND x.indpred IS NULL AND NOT k.unknown AND c.reltuples > 0 THEN
         2 + ceil(c.reltuples / floor((current_setting('block_size')::int - 40) / (4 + 8 * ceil(k.head / 8.0)
              + 8 * ceil(k.data / 8.0)))) END::float8 AS expected,
       current_setting('block_size')::int AS page
  FROM pg_index x
  JOIN pg_class c ON c.oid = x.indexrelid
  JOIN pg_class t ON t.oid = x.indrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_am m ON m.oid = c.relam
 CROSS JOIN LATERAL (
       SELECT CASE WHEN max(coalesce(s.null_frac, 0)) > 0 THEN 12 ELSE 8 END AS head,
              sum((1 - coalesce(s.null_frac, 0)) * coalesce(s.avg_width, 0)) AS data,
              bool_or(a.atttypid = 'name'::regtype) OR count(*) <> count(s.attname) AS unknown
         FROM pg_attribute a
         LEFT JOIN pg_attribute ta ON ta.attrelid = x.indrelid AND ta.attnum = x.indkey[a.attnum - 1]
         LEFT JOIN pg_stats s
           ON s.schemaname = n.nspname AND NOT s.inherited
          AND ((x.indkey[a.attnum - 1] = 0 AND s.tablename = c.relname AND s.attname = a.attname)
            OR (x.indkey[a.attnum - 1] <> 0 AND s.tablename = t.relname AND s.attname = ta.attname))
        WHERE a.attrelid = c.oid) AS k
 WHERE c.relkind = 'i' AND t.relkind = 'r' AND t.relpersistence <> 't'
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   AND (%s::text IS NULL OR n.nspname || '.' || t.relname = %s)
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = t.oid AND d.deptype = 'e')
 ORDER BY 3, 4;
