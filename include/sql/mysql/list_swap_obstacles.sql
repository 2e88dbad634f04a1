-- Foreign keys follow a table that is renamed: those of other databases would go on pointing to the old one.
SELECT CONCAT('foreign key ', k.CONSTRAINT_NAME, ' of table ', k.CONSTRAINT_SCHEMA, '.', k.TABLE_NAME, ' refers to table ',
              k.REFERENCED_TABLE_NAME, ' from another database: drop it, and add it again afterwards') AS told
  FROM information_schema.REFERENTIAL_CONSTRAINTS k
 WHERE k.UNIQUE_CONSTRAINT_SCHEMA = %s AND k.CONSTRAINT_SCHEMA <> %s ORDER BY 1
