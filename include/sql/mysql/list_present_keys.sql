-- Which of the given rows are there.
SELECT {key} FROM {table} FORCE INDEX (PRIMARY) WHERE {keys};
