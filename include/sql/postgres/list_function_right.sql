-- Whether this session may call a function.
SELECT has_function_privilege(%s, 'EXECUTE') AS held;
