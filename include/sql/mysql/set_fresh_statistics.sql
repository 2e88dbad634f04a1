-- MySQL 8 caches sizes and times of change for a day.
SET SESSION information_schema_stats_expiry = 0;
