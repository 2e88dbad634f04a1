-- One partition and its rows.
DROP TABLE {partition};
