-- MariaDB's GTID for a place in the binary log.
SELECT BINLOG_GTID_POS(%s, %s) AS gtid;
