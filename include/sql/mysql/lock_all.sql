-- Holds writes for the milliseconds in which two snapshots are opened. lock_wait_timeout bounds the wait for it: without
-- that, one long SELECT would make every write of the server wait behind this statement.
FLUSH TABLES WITH READ LOCK;
