-- Nobody else changes the partitions. With a default partition writers wait here as well: one that had chosen the default
-- partition for its row before the row's own partition was made would be refused afterwards.
LOCK TABLE ONLY {table} IN {mode} MODE;
