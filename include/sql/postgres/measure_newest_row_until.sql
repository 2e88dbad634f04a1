-- The newest value of one column, up to a moment.
SELECT max({column}) AS newest FROM {table} WHERE {column} <= %s::{kind};
