-- The same as list_rows, and nobody changes them until this transaction ends.
SELECT {columns}, {old} FROM unnest({keys}) AS k ({key_names}) JOIN {table} AS t ON {same_key} FOR UPDATE OF t;
