-- Looks through the default partition, if there is one, for rows that would belong here.
ALTER TABLE {table} ATTACH PARTITION {new} FOR VALUES FROM ({lower}) TO ({upper});
