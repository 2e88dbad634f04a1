-- One partition and its rows.
ALTER TABLE {table} DROP PARTITION {partition};
