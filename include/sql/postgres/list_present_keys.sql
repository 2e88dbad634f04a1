-- Which of the given rows are there.
SELECT {key} FROM unnest({keys}) AS k ({key_names}) JOIN {table} AS t ON {same_key};
