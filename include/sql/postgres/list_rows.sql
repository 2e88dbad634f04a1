-- Rows by their primary keys; the last column says whether a row is still old.
SELECT {columns}, {old} FROM unnest({keys}) AS k ({key_names}) JOIN {table} AS t ON {same_key};
