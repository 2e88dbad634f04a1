-- Whole, valid B-tree indexes of one table by their columns.
SELECT c.relname AS name,
       i.indisprimary AS is_primary,
       k.place AS place,
       a.attname AS column_name
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_am m ON m.oid = c.relam
 CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
  LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
 WHERE i.indrelid = %s::oid AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree' AND k.place <= i.indnkeyatts
 ORDER BY c.relname, k.place;
