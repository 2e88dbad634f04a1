-- One line of what a swap is going to do.
INSERT INTO {book} (what, place, kind, name, body, settings, charset, collation, time_zone)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
