-- Columns that hold a moment, and whether an index begins with them. has_zone: kept as an instant.
SELECT n.nspname                        AS schema_name,
       c.relname                        AS table_name,
       a.attname                        AS column_name,
       t.typname = 'timestamptz'        AS has_zone,
       EXISTS (SELECT FROM pg_index i
                WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum AND i.indisvalid AND i.indpred IS NULL) AS indexed
  FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_type t ON t.oid = a.atttypid
 WHERE t.typname IN ('timestamp', 'timestamptz')
   AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND a.attnum > 0 AND NOT a.attisdropped
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_toast%'
 ORDER BY indexed DESC, 1, 2, 3;
