-- Milliseconds for any one SELECT of this session; MySQL has no limit for others.
SET SESSION max_execution_time = %s;
