-- Holds writes for the milliseconds in which two snapshots are opened. lock_wait_timeout bounds the wait for it, and
-- engines/writes_held.py has what else it takes to keep this from being in anybody's way.
FLUSH TABLES WITH READ LOCK;
