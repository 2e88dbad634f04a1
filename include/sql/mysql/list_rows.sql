-- Rows by their primary keys, in a form that loses nothing; the last column says whether a row is still old.
SELECT {columns}, ({old}) AS purge_is_old FROM {table} FORCE INDEX (PRIMARY) WHERE {keys};
