-- Bytes free or dead in a table beyond what its fillfactor leaves free; reads what VACUUM has not yet seen. Needs
-- pgstattuple.
SELECT greatest(0, s.approx_free_space + s.dead_tuple_len - s.table_len * (100 - {fillfactor}) / 100)::int8 AS waste
  FROM {schema}.pgstattuple_approx({table}::regclass) AS s;
