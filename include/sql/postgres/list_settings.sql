-- Every setting; sizes in bytes, times in milliseconds. A number below zero stands for a word, such as off.
SELECT name,
       CASE WHEN unit IS NULL OR setting !~ '^[0-9]+$' THEN setting
            WHEN unit ~ '^[0-9]*[kM]?B$'
            THEN (setting::int8 * COALESCE(substring(unit FROM '^[0-9]+')::int8, 1)
                  * CASE WHEN unit ~ 'kB' THEN 1024 WHEN unit ~ 'MB' THEN 1048576 ELSE 1 END)::text
            WHEN unit = 's' THEN (setting::int8 * 1000)::text
            WHEN unit = 'min' THEN (setting::int8 * 60000)::text
            ELSE setting END AS value,
       COALESCE(unit ~ 'B$', false) AS is_size,
       context = 'postmaster' AS needs_restart
  FROM pg_settings;
