-- New partitions behind the last one.
ALTER TABLE {table} ADD PARTITION ({makes});
