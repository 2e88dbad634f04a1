-- The earliest of the wall clocks that this session's time zone shows at the given moments (seconds since 1970, UTC).
SELECT LEAST({moments}) AS clock;
