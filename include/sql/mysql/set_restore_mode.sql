-- Takes every value as it once was: zero dates, and a zero in an AUTO_INCREMENT column; but nothing that doesn't fit.
SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES';
