-- How long this session waits for locks and for any one statement, and how it writes the bounds of partitions.
SELECT set_config(name, value, false)
  FROM (VALUES ('lock_timeout', %s),
               ('statement_timeout', %s),
               ('idle_in_transaction_session_timeout', '1min'),
               ('TimeZone', 'UTC'),
               ('DateStyle', 'ISO, YMD')) AS wanted (name, value)
  JOIN pg_settings USING (name);
