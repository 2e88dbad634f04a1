-- Has the server plan the delete: fails where the account may not.
EXPLAIN DELETE FROM {table} WHERE ({keys}) AND {old};
