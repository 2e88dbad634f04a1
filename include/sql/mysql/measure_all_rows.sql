-- The server's estimate of all rows.
EXPLAIN SELECT * FROM {table};
