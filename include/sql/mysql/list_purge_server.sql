-- What a purge has to know of the server.
SELECT @@version AS version,
       @@global.read_only AS read_only,
       @@innodb_read_only AS innodb_read_only,
       @@log_bin AS log_bin,
       @@binlog_format AS binlog_format;
