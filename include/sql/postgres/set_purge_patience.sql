-- How long this session waits for others, how it writes values so that nothing is lost, and that it finds rows by index:
-- a plan that reads the table is never what a purge wants. Settings that a release lacks are passed over.
SELECT set_config(name, value, false)
  FROM (VALUES ('lock_timeout', %s),
               ('statement_timeout', %s),
               ('idle_in_transaction_session_timeout', '5min'),
               ('idle_session_timeout', '0'),
               ('default_transaction_isolation', 'read committed'),
               ('TimeZone', 'UTC'),
               ('DateStyle', 'ISO, YMD'),
               ('IntervalStyle', 'postgres'),
               ('extra_float_digits', '3'),
               ('bytea_output', 'hex'),
               ('lc_monetary', 'C'),
               ('enable_seqscan', 'off'),
               ('enable_bitmapscan', 'off'),
               ('enable_hashjoin', 'off'),
               ('enable_mergejoin', 'off'),
               ('jit', 'off')) AS wanted (name, value)
  JOIN pg_settings USING (name);
