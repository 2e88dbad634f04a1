-- The newest value of one column.
SELECT max({column}) AS newest FROM {table};
