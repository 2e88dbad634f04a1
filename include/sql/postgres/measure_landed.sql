-- Rows of a default partition by month, as {local} tells the time; rows without a date under no month.
SELECT COALESCE(CASE WHEN isfinite({column}) AND {column} >= '0001-01-02' THEN to_char({local}, 'YYYY-MM') END, '')
           AS month,
       count(*) AS row_count
  FROM ONLY {partition}
 GROUP BY 1;
