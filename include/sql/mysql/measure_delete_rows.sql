-- Has the server plan the delete: fails where the account may not.
EXPLAIN DELETE t FROM {table} AS t FORCE INDEX (PRIMARY) WHERE ({keys}) AND {old};
