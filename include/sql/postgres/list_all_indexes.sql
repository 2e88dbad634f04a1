-- Every usable index of the database but those of partitions, whose parent's tells enough. keys: each with its operator
-- class, collation and direction.
SELECT n.nspname AS schema,
       t.relname AS table_name,
       c.relname AS name,
       m.amname AS method,
       i.indisunique AS is_unique,
       i.indisprimary AS is_primary,
       EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
           AS is_constraint,
       array_to_json(ARRAY(SELECT concat_ws(' ', pg_get_indexdef(i.indexrelid, k, true),
                                            CASE WHEN NOT o.opcdefault THEN o.opcname END,
                                            CASE WHEN l.oid IS NOT NULL AND l.oid <> COALESCE(a.attcollation, 0)
                                                      AND a.attnum IS NOT NULL
                                                 THEN 'COLLATE ' || quote_ident(l.collname) END,
                                            CASE (i.indoption::int2[])[k - 1] WHEN 1 THEN 'DESC NULLS LAST'
                                                 WHEN 2 THEN 'NULLS FIRST' WHEN 3 THEN 'DESC' END)
                             FROM generate_series(1, i.indnkeyatts) k
                             LEFT JOIN pg_opclass o ON o.oid = (i.indclass::oid[])[k - 1]
                             LEFT JOIN pg_collation l ON l.oid = (i.indcollation::oid[])[k - 1]
                             LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = (i.indkey::int2[])[k - 1]
                                                         AND a.attnum > 0
                            ORDER BY k)) AS keys,
       array_to_json(ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true)
                             FROM generate_series(i.indnkeyatts + 1, i.indnatts) k)) AS includes,
       COALESCE(pg_get_expr(i.indpred, i.indrelid), '') AS predicate,
       CASE WHEN i.indisreplident THEN 'replicas find rows by it'
            WHEN c.relkind = 'I' THEN 'it is made of those of partitions'
            WHEN EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid) THEN 'a constraint needs it'
            ELSE '' END AS needed,
       pg_relation_size(c.oid) AS size,
       s.idx_scan AS scans
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_class t ON t.oid = i.indrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace
  JOIN pg_am m ON m.oid = c.relam
  LEFT JOIN pg_stat_user_indexes s ON s.indexrelid = i.indexrelid
 WHERE i.indisvalid
   AND NOT c.relispartition
   AND t.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND n.nspname NOT LIKE 'pg\_toast%'
 ORDER BY 1, 2, 3;
