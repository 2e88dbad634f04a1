-- A partition belongs to whom its table belongs.
ALTER TABLE {new} OWNER TO {owner};
