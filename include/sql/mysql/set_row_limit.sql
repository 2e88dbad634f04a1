-- A benchmark reads what a page shows: a statement without a LIMIT of its own gives no more rows than this.
SET SESSION sql_select_limit = %s;
