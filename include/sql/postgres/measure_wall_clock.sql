-- The earliest of the wall clocks that a time zone shows at the given moments.
SELECT min(moment AT TIME ZONE %s) FROM unnest(%s::timestamptz[]) AS moment;
