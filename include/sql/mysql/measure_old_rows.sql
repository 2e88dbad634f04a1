-- The server's estimate of the rows before the cut-off, from the index; MySQL 9 would answer in another shape unasked.
EXPLAIN FORMAT=TRADITIONAL SELECT {column} FROM {table} FORCE INDEX ({index}) WHERE {column} >= %s AND {column} < %s;
