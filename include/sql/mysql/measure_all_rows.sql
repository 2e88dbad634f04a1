-- The server's estimate of all rows. MySQL 9 would answer in another shape if not asked for this one.
EXPLAIN FORMAT=TRADITIONAL SELECT * FROM {table};
