-- Rows and their content: the sums of two halves of a hash of each row. A sum doesn't depend on the order of the rows, and
-- two equal rows don't cancel each other out as they would with XOR.
SELECT COUNT(*) AS row_count,
       COALESCE(SUM(CAST(CONV(LEFT(SHA2({row}, 256), 16), 16, 10) AS UNSIGNED)), 0) AS first_sum,
       COALESCE(SUM(CAST(CONV(SUBSTRING(SHA2({row}, 256), 17, 16), 16, 10) AS UNSIGNED)), 0) AS second_sum
  FROM {table};
