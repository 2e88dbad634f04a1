-- The largest tables, each with its indexes, its TOAST and all its partitions, so that a series doesn't end when a
-- partition goes. Rows are the planner's estimate; NULL where nothing was ever analyzed.
WITH whole AS (
  SELECT COALESCE(pg_partition_root(c.oid), c.oid) AS oid,
         sum(pg_total_relation_size(c.oid))::bigint AS bytes,
         sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples END)::bigint AS row_estimate
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
     AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   GROUP BY 1
)
SELECT n.nspname || '.' || c.relname AS name, whole.bytes, whole.row_estimate
  FROM whole JOIN pg_class c ON c.oid = whole.oid JOIN pg_namespace n ON n.oid = c.relnamespace
 ORDER BY 2 DESC, 1
 LIMIT %s;
