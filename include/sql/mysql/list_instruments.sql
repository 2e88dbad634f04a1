-- Whether the performance schema counts the use of indexes: it may be there and switched off.
SELECT (SELECT ENABLED = 'YES' FROM performance_schema.setup_instruments WHERE NAME = 'wait/io/table/sql/handler')
       AND (SELECT ENABLED = 'YES' FROM performance_schema.setup_consumers WHERE NAME = 'global_instrumentation')
           AS counts;
