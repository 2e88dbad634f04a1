-- Rows and their content: two sums of a hash of each row. A sum doesn't depend on the order of the rows, and two equal rows
-- don't cancel each other out as they would with XOR. The hash is the one that places rows in hash partitions, so it can't
-- change from release to release. Each row is printed once: OFFSET keeps the subquery from being merged.
SELECT count(*) AS row_count,
       COALESCE(sum(hashtextextended(line COLLATE "C", 0)::numeric), 0) AS first_sum,
       COALESCE(sum(hashtextextended(line COLLATE "C", 1)::numeric), 0) AS second_sum
  FROM (SELECT {row}::text AS line FROM ONLY {table} AS upkeep_row OFFSET 0) AS lines;
