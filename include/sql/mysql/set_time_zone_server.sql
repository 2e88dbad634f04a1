-- The time zone in which the application's NOW() speaks: for wall clocks, and for triggers that call it.
SET SESSION time_zone = @@global.time_zone;
