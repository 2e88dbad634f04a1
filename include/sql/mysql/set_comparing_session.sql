-- Values and definitions are printed alike in every session that compares a copy with its source.
SET SESSION time_zone = '+00:00', SESSION sql_mode = 'NO_ENGINE_SUBSTITUTION', SESSION group_concat_max_len = 1048576,
    SESSION sql_quote_show_create = 1;
