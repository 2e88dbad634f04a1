-- The partitions of one table. pending: a concurrent detach that did not end; servers before 14 know none.
SELECT c.oid::int8 AS oid,
       n.nspname AS schema,
       c.relname AS name,
       pg_get_expr(c.relpartbound, c.oid) AS bound,
       COALESCE((to_jsonb(i) ->> 'inhdetachpending')::boolean, false) AS pending,
       c.relkind::text AS kind,
       pg_total_relation_size(c.oid) AS size
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE i.inhparent = %s::oid
 ORDER BY c.relname;
