-- Whether the database itself makes every new session read only.
SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
 WHERE d.datname = %s AND s.setrole = 0 AND 'default_transaction_read_only=on' = ANY (s.setconfig);
