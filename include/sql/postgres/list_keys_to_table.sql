-- Foreign keys that refer to one table, the table's own included; those of single partitions come with their parent's.
SELECT f.conname AS name,
       f.conrelid::regclass::text AS table_name,
       array_to_json(ARRAY(SELECT a.attname FROM unnest(f.conkey) WITH ORDINALITY AS k (attnum, place)
                             JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.attnum
                            ORDER BY k.place)) AS columns,
       CASE f.confdeltype WHEN 'a' THEN 'NO ACTION' WHEN 'r' THEN 'RESTRICT' WHEN 'c' THEN 'CASCADE'
                          WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT' END AS on_delete,
       EXISTS (SELECT FROM pg_index i
                WHERE i.indrelid = f.conrelid AND i.indisvalid AND i.indpred IS NULL
                  AND i.indkey[0] = ANY (f.conkey)) AS indexed
  FROM pg_constraint f
 WHERE f.contype = 'f' AND f.confrelid = %s::oid AND f.conparentid = 0
 ORDER BY 2, 1;
