-- The indexes of one table; the servers name their columns differently in information_schema, here they are alike.
SHOW INDEX FROM {table};
