-- The oldest row before the cut-off: one look at the beginning of the index.
SELECT min({column}) FROM {table} AS t WHERE {old};
