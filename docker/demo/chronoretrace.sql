-- A small ChronoRetrace for the profile demo. The image's account upkeep is a superuser here; a real one is not.
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, created_at timestamptz NOT NULL);
INSERT INTO users SELECT n, '用户' || n, now() - n * interval '1 hour' FROM generate_series(1, 500) n;
CREATE TABLE prices (symbol text NOT NULL, at timestamptz NOT NULL, close numeric(12, 4) NOT NULL, PRIMARY KEY (symbol, at));
INSERT INTO prices
    SELECT 's' || s, date_trunc('day', now()) - d * interval '1 day', 100 + s + d * 0.25
    FROM generate_series(1, 20) s, generate_series(1, 365) d;
ANALYZE;
