-- Foreign keys whose columns no index begins with, in whatever order.
SELECT n.nspname AS schema,
       t.relname AS table_name,
       f.conname AS name,
       f.confrelid::regclass::text AS refers_to,
       array_to_json(ARRAY(SELECT a.attname FROM unnest(f.conkey) WITH ORDINALITY AS k (attnum, place)
                             JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.attnum
                            ORDER BY k.place)) AS columns,
       GREATEST(t.reltuples, 0)::float8 AS row_estimate
  FROM pg_constraint f
  JOIN pg_class t ON t.oid = f.conrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace
 WHERE f.contype = 'f'
   AND f.conparentid = 0
   AND NOT EXISTS (SELECT FROM pg_index i
                    WHERE i.indrelid = f.conrelid AND i.indisvalid AND i.indpred IS NULL
                      AND (i.indkey::int2[])[0:cardinality(f.conkey) - 1] @> f.conkey)
 ORDER BY 1, 2, 3;
