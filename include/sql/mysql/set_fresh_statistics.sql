-- MySQL 8 caches sizes and times of change for a day; others run nothing of this.
/*!80003 SET SESSION information_schema_stats_expiry = 0 */;
