-- The primary key of the largest table that has one, a row for each column.
WITH largest AS (
    SELECT c.oid, n.nspname, c.relname, i.indkey
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
     WHERE c.relkind = 'r' AND NOT c.relispartition
       AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_toast%'
     ORDER BY pg_table_size(c.oid) DESC, 2, 3
     LIMIT 1)
SELECT l.nspname AS schema_name, l.relname AS table_name, a.attname AS column_name
  FROM largest l
 CROSS JOIN LATERAL unnest(l.indkey) WITH ORDINALITY AS k(attnum, place)
  JOIN pg_attribute a ON a.attrelid = l.oid AND a.attnum = k.attnum
 ORDER BY k.place;
