-- Rows that this session asked its storage engines for, by kind.
SHOW SESSION STATUS LIKE 'Handler_read%';
