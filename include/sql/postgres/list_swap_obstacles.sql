-- What keeps a database from being renamed, whoever's sessions are ended.
SELECT 'prepared transaction ' || quote_literal(gid) || ' of ' || owner || ' since ' || prepared::timestamp(0)
       || ' has to be committed or rolled back first' AS told
  FROM pg_prepared_xacts WHERE database = %(name)s ORDER BY 1;
