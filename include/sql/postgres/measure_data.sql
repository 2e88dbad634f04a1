-- Bytes of this database.
SELECT pg_database_size(current_database()) AS size;
