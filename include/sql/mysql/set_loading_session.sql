-- What makes a session that fills a scratch database fast and patient: each statement for itself, since an account may not
-- use them all and no flavour knows them all. Nothing here outlives the session.
SET SESSION sql_log_bin = 0;
SET SESSION wait_timeout = 86400;
SET SESSION lock_wait_timeout = 3600;
SET SESSION max_statement_time = 0;
SET SESSION sql_require_primary_key = OFF;
SET SESSION sql_generate_invisible_primary_key = OFF;
SET SESSION restrict_fk_on_non_standard_key = OFF;
SET SESSION innodb_ddl_threads = 2;
SET SESSION innodb_ddl_buffer_size = 67108864
