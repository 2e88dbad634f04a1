-- Months out of the partition that takes what no other does; rows are copied, and writers wait meanwhile.
ALTER TABLE {table} REORGANIZE PARTITION {partition} INTO ({makes}, PARTITION {partition} VALUES LESS THAN {most});
