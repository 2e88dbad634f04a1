-- The size of one table, values stored out of line included. Waits while somebody rewrites it: ask under lock.
SELECT pg_table_size(%s::regclass) AS bytes;
