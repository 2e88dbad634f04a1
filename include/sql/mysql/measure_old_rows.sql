-- The server's estimate of the rows before the cut-off, from the index. MySQL 9 would answer in another shape if not asked for this one.
EXPLAIN FORMAT=TRADITIONAL SELECT {column} FROM {table} FORCE INDEX ({index}) WHERE {column} >= %s AND {column} < %s;
