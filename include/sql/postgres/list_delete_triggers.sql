-- Triggers that a delete fires.
SELECT tgname AS name FROM pg_trigger
 WHERE tgrelid = %s::oid AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 8 <> 0
 ORDER BY 1;
