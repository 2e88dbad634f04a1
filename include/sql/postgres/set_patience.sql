-- This session holds the snapshot for as long as the dump takes: server defaults meant for applications must not end it.
-- transaction_timeout exists from PostgreSQL 17 on.
SELECT set_config(name, '0', false)
  FROM pg_settings
 WHERE name IN ('idle_in_transaction_session_timeout', 'statement_timeout', 'transaction_timeout');
