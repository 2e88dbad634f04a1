-- This session holds the snapshot for as long as the dump takes: server defaults meant for applications must not end it.
SELECT set_config('idle_in_transaction_session_timeout', '0', false), set_config('statement_timeout', '0', false);
