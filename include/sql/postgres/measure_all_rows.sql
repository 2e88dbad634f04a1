-- The server's estimate of all rows.
EXPLAIN (FORMAT JSON) SELECT FROM {table} AS t;
