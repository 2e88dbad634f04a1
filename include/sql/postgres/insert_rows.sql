-- Rows of an archive, back into a table: each value from the text in which the server wrote it.
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM unnest({texts}) AS r ({names});
