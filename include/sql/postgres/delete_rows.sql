-- Exactly these rows, if they are old even now.
DELETE FROM {table} AS t USING unnest({keys}) AS k ({key_names}) WHERE {same_key} AND {old};
