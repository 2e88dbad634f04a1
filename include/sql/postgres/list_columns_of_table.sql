-- The columns of one table in their order; base: the type below a domain.
SELECT a.attname AS name,
       format_type(a.atttypid, a.atttypmod) AS type,
       COALESCE(b.typname, t.typname) AS base,
       NOT a.attnotnull AS nullable,
       a.attgenerated <> '' AS computed
  FROM pg_attribute a
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
 WHERE a.attrelid = %s::oid AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum;
