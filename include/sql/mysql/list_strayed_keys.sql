-- Foreign keys of a database that lead out of it: after a swap there should be none that weren't there before.
SELECT CONCAT('foreign key ', CONSTRAINT_NAME, ' of table ', TABLE_NAME, ' refers to database ', UNIQUE_CONSTRAINT_SCHEMA)
       AS told
  FROM information_schema.REFERENTIAL_CONSTRAINTS
 WHERE CONSTRAINT_SCHEMA = %s AND UNIQUE_CONSTRAINT_SCHEMA <> %s ORDER BY 1
