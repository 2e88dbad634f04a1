-- Kinds of statement that take the most time in all, and those that once took longest; values are not in their texts.
(SELECT DIGEST AS id, DIGEST_TEXT AS text, COUNT_STAR AS calls,
        SUM_TIMER_WAIT / 1e12 AS total_s, MAX_TIMER_WAIT / 1e12 AS worst_s
   FROM performance_schema.events_statements_summary_by_digest
  WHERE SCHEMA_NAME = DATABASE() AND DIGEST IS NOT NULL
  ORDER BY SUM_TIMER_WAIT DESC LIMIT 20)
UNION
(SELECT DIGEST, DIGEST_TEXT, COUNT_STAR, SUM_TIMER_WAIT / 1e12, MAX_TIMER_WAIT / 1e12
   FROM performance_schema.events_statements_summary_by_digest
  WHERE SCHEMA_NAME = DATABASE() AND DIGEST IS NOT NULL
  ORDER BY MAX_TIMER_WAIT DESC LIMIT 20);
