-- Whether performance_schema keeps count of metadata locks: always on MySQL 8, on MariaDB only where it was switched on.
SELECT COUNT(*) AS counts FROM performance_schema.setup_instruments
 WHERE NAME = 'wait/lock/metadata/sql/mdl' AND ENABLED = 'YES';
