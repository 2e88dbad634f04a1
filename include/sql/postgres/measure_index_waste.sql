-- Bytes free in a B-tree index beyond the tenth that is left free on purpose; reads the whole index. Needs pgstattuple.
SELECT s.index_size - (s.leaf_pages + s.internal_pages + 1) * current_setting('block_size')::int8
       + (s.leaf_pages * current_setting('block_size')::int8
          * greatest(0, 1 - s.avg_leaf_density / {fillfactor}.0))::int8 AS waste
  FROM {schema}.pgstatindex({index}::regclass) AS s;
