-- Every index of the database, a row for each column. All columns of the view: flavours differ in what they have.
SELECT s.* FROM information_schema.STATISTICS s
 WHERE s.TABLE_SCHEMA = DATABASE()
 ORDER BY s.TABLE_NAME, s.INDEX_NAME, s.SEQ_IN_INDEX;
