-- The time zone in which the server's now() speaks to a session that sets none.
SELECT current_setting('TimeZone') AS zone;
