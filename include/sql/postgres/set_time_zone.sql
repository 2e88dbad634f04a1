-- The time zone of the rest of this transaction: triggers that call now() speak as they do for the application.
SELECT set_config('TimeZone', %s, true);
