-- Rows move out of it, or its bounds change: nobody reads it meanwhile.
LOCK TABLE ONLY {partition} IN ACCESS EXCLUSIVE MODE;
