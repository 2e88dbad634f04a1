-- Those of the named extensions that the server could not make.
SELECT name FROM unnest(%s::text[]) AS name WHERE name NOT IN (SELECT name FROM pg_available_extensions) ORDER BY 1;
