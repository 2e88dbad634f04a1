-- The same as list_rows, and nobody changes them until this transaction ends.
SELECT {columns}, ({old}) AS purge_is_old FROM {table} FORCE INDEX (PRIMARY) WHERE {keys} FOR UPDATE;
