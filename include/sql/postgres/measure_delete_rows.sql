-- Has the server plan the delete: fails where the account may not.
EXPLAIN DELETE FROM {table} AS t USING unnest({keys}) AS k ({key_names}) WHERE {same_key} AND {old};
