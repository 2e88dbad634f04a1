-- How far the server's own time zone, in which its NOW() speaks, is ahead of UTC.
SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW()) AS ahead_s;
