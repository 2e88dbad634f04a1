-- One table or view by its name: in public, or written as schema.table.
SELECT n.nspname AS schema,
       c.relname AS name,
       c.oid::int8 AS oid,
       CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view'
                      WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' END AS kind,
       c.relkind = 'p' AS partitioned,
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid) AS inherited
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND ((n.nspname = 'public' AND c.relname = %s) OR n.nspname || '.' || c.relname = %s)
 ORDER BY n.nspname = 'public' DESC;
