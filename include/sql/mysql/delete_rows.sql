-- Exactly these rows, if they are old even now.
DELETE FROM {table} WHERE ({keys}) AND {old};
