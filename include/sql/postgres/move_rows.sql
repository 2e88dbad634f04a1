-- Rows of one month out of the default partition.
WITH moved AS (DELETE FROM ONLY {partition} WHERE {column} >= {lower} AND {column} < {upper} RETURNING {columns})
INSERT INTO {new} ({columns}) SELECT {columns} FROM moved;
