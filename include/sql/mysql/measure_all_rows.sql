-- The server's estimate of all rows; MySQL 9 would answer in another shape unasked.
EXPLAIN FORMAT=TRADITIONAL SELECT * FROM {table};
