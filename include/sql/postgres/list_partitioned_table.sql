-- How one table is partitioned: a name in public, or written as schema.table. columns: NULL for an expression.
SELECT c.oid::int8 AS oid,
       n.nspname AS schema,
       c.relname AS name,
       c.relkind IN ('r', 'p') AS is_table,
       c.relkind = 'p' AS partitioned,
       p.partstrat::text AS strategy,
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS key,
       array_to_json(ARRAY(SELECT a.attname
                             FROM unnest(p.partattrs::int2[]) WITH ORDINALITY AS k (attnum, place)
                             LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum AND k.attnum > 0
                            ORDER BY k.place)) AS columns,
       (SELECT t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
         WHERE a.attrelid = c.oid AND a.attname = %s AND NOT a.attisdropped) AS data_type,
       pg_get_userbyid(c.relowner) AS owner,
       pg_get_userbyid(c.relowner) <> current_user AS of_another,
       (SELECT spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace) AS tablespace,
       (SELECT array_to_json(array_agg(r.relname)) FROM pg_class r WHERE r.relnamespace = c.relnamespace) AS taken,
       (SELECT array_to_json(array_agg(quote_ident(a.attname) ORDER BY a.attnum)) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS stored_columns
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND ((n.nspname = 'public' AND c.relname = %s) OR n.nspname || '.' || c.relname = %s)
 ORDER BY n.nspname = 'public' DESC;
