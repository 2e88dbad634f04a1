-- The time zone in which TIMESTAMP columns are read without a doubt.
SET SESSION time_zone = '+00:00';
