-- Tables that have a file of their own, and its size; names are written as InnoDB names files. Needs PROCESS. view:
-- INNODB_TABLESPACES on MySQL 8, INNODB_SYS_TABLESPACES elsewhere.
SELECT NAME AS name, FILE_SIZE AS bytes FROM information_schema.{view} WHERE NAME LIKE '%/%';
