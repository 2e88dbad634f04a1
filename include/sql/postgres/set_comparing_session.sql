-- Values and definitions are printed alike in every session that compares a copy with its source: names with their schema,
-- numbers to the last digit. For the present transaction only.
SELECT set_config(name, value, true)
  FROM (VALUES ('search_path', ''), ('TimeZone', 'UTC'), ('DateStyle', 'ISO, MDY'), ('IntervalStyle', 'postgres'),
               ('extra_float_digits', '1'), ('bytea_output', 'hex'), ('lc_monetary', 'C'), ('xmlbinary', 'base64'),
               ('quote_all_identifiers', 'off')) AS wanted (name, value);
