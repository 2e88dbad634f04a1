-- What belongs to a database rather than to its name, and so stays with the old one.
SELECT 'replication slot ' || quote_ident(slot_name) || ' stays with the old database: its consumer has to be set up anew'
       AS told
  FROM pg_replication_slots WHERE database = %(name)s
UNION ALL
SELECT 'subscription ' || quote_ident(s.subname) || ' stays with the old database and goes on there'
  FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = %(name)s
ORDER BY 1;
