-- Foreign keys that refer to one table, the table's own included.
SELECT r.CONSTRAINT_NAME AS name,
       k.TABLE_SCHEMA AS table_schema,
       r.TABLE_NAME AS table_name,
       k.COLUMN_NAME AS column_name,
       r.DELETE_RULE AS on_delete
  FROM information_schema.REFERENTIAL_CONSTRAINTS r
  JOIN information_schema.KEY_COLUMN_USAGE k
    ON k.CONSTRAINT_SCHEMA = r.CONSTRAINT_SCHEMA AND k.CONSTRAINT_NAME = r.CONSTRAINT_NAME
   AND k.TABLE_NAME = r.TABLE_NAME
 WHERE r.UNIQUE_CONSTRAINT_SCHEMA = DATABASE() AND r.REFERENCED_TABLE_NAME = %s
 ORDER BY k.TABLE_SCHEMA, r.TABLE_NAME, r.CONSTRAINT_NAME, k.ORDINAL_POSITION;
