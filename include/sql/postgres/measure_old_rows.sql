-- The server's estimate of the rows before the cut-off, from its statistics.
EXPLAIN (FORMAT JSON) SELECT {column} FROM {table} AS t WHERE {old};
