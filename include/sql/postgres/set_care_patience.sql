-- How long this session waits for a lock, and how long any one statement may take; settings that a release lacks are
-- passed over. The search path stays as it is: functions in the expressions of an index may need it.
SELECT set_config(name, value, false)
  FROM (VALUES ('lock_timeout', %s),
               ('statement_timeout', %s),
               ('idle_session_timeout', '0'),
               ('transaction_timeout', '0'),
               ('client_min_messages', 'notice')) AS wanted (name, value)
  JOIN pg_settings USING (name);
