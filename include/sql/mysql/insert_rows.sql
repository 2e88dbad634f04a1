-- Rows of an archive, back into a table.
INSERT INTO {table} ({columns}) VALUES {rows};
