-- {how}: CONCURRENTLY, FINALIZE, or nothing.
ALTER TABLE {table} DETACH PARTITION {partition} {how};
