-- Tables that a dump makes again with their columns in another order, and that order.
SELECT n.nspname AS schema, c.relname AS name, array_agg(a.attname::text ORDER BY r.place) AS columns
  FROM ({restored_columns}) AS r
  JOIN pg_attribute a ON a.attrelid = r.table_oid AND a.attnum = r.attnum
  JOIN pg_class c ON c.oid = r.table_oid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 GROUP BY n.nspname, c.relname
HAVING array_agg(a.attnum ORDER BY r.place) <> array_agg(a.attnum ORDER BY a.attnum);
