-- While a lock is held already: shorter than deadlock_timeout, so that nobody else is ended for our sake.
SET LOCAL lock_timeout = '200ms';
