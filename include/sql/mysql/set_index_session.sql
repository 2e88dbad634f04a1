-- What mysqldump sets before it creates tables, for the session that adds their indexes and foreign keys: the rows have
-- been checked where they come from, and an old date that strict mode refuses may be among them.
SET SESSION foreign_key_checks = 0, SESSION unique_checks = 0, SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO',
    SESSION time_zone = '+00:00';
