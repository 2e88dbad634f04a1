-- include/sql/mysql/grants_scratch.sql
GRANT ALL ON *.* TO upkeep@'%';
