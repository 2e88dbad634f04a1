-- All that defines the current database's objects, tables and sequences left out. An object whose definition the account
-- may not read has none (NULL). Left out is what a copy can't or need not have: an event's status (a copy's must not run),
-- one-time events that vanish by themselves, and grants, which no mysqldump holds. Who they belong to comes by itself.
SELECT 'database' AS kind, '' AS name, '' AS definer,
       CONCAT_WS(' ', DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME) AS definition
  FROM information_schema.SCHEMATA
 WHERE SCHEMA_NAME = DATABASE()
UNION ALL
SELECT 'views', TABLE_NAME, DEFINER,
       CASE WHEN VIEW_DEFINITION <> '' THEN CONCAT_WS(' | ', SECURITY_TYPE, CHECK_OPTION, VIEW_DEFINITION) END
  FROM information_schema.VIEWS
 WHERE TABLE_SCHEMA = DATABASE()
UNION ALL
SELECT 'routines', CONCAT(LOWER(r.ROUTINE_TYPE), ' ', r.ROUTINE_NAME), r.DEFINER,
       CONCAT(r.ROUTINE_DEFINITION,
              CONCAT_WS(' | ', '', r.SECURITY_TYPE, r.SQL_DATA_ACCESS, r.IS_DETERMINISTIC, r.SQL_MODE,
                        r.CHARACTER_SET_CLIENT, r.COLLATION_CONNECTION, r.ROUTINE_COMMENT, r.DTD_IDENTIFIER,
                        (SELECT GROUP_CONCAT(CONCAT_WS(' ', p.PARAMETER_MODE, p.PARAMETER_NAME, p.DTD_IDENTIFIER)
                                             ORDER BY p.ORDINAL_POSITION)
                           FROM information_schema.PARAMETERS p
                          WHERE p.SPECIFIC_SCHEMA = r.ROUTINE_SCHEMA AND p.SPECIFIC_NAME = r.SPECIFIC_NAME
                            AND p.ROUTINE_TYPE = r.ROUTINE_TYPE)))
  FROM information_schema.ROUTINES r
 WHERE r.ROUTINE_SCHEMA = DATABASE() AND r.ROUTINE_TYPE IN ('FUNCTION', 'PROCEDURE')
UNION ALL
SELECT 'triggers', TRIGGER_NAME, DEFINER,
       CONCAT_WS(' | ', ACTION_TIMING, EVENT_MANIPULATION, EVENT_OBJECT_TABLE, ACTION_ORDER, SQL_MODE,
                 CHARACTER_SET_CLIENT, COLLATION_CONNECTION, ACTION_STATEMENT)
  FROM information_schema.TRIGGERS
 WHERE TRIGGER_SCHEMA = DATABASE()
UNION ALL
SELECT 'events', EVENT_NAME, DEFINER,
       CONCAT_WS(' | ', TIME_ZONE, EVENT_TYPE, EXECUTE_AT, INTERVAL_VALUE, INTERVAL_FIELD, STARTS, ENDS, ON_COMPLETION,
                 SQL_MODE, EVENT_COMMENT, EVENT_DEFINITION)
  FROM information_schema.EVENTS
 WHERE EVENT_SCHEMA = DATABASE()
   AND NOT (EVENT_TYPE = 'ONE TIME' AND ON_COMPLETION = 'NOT PRESERVE');
