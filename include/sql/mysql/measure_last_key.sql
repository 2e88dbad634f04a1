-- One row by its key, from the end that is written to.
SELECT {keys} FROM {table} ORDER BY {descending} LIMIT 1;
