-- Seconds for any one statement of this session.
SET SESSION max_statement_time = %s;
