-- The server's estimate of the rows before the cut-off, from the index.
EXPLAIN SELECT {column} FROM {table} FORCE INDEX ({index}) WHERE {column} >= %s AND {column} < %s;
