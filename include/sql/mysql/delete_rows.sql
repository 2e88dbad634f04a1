-- Exactly these rows, if they are old even now. Only this form of DELETE takes an index hint; without one a small table
-- is read whole, and rows that others hold are waited for although they aren't meant.
DELETE t FROM {table} AS t FORCE INDEX (PRIMARY) WHERE ({keys}) AND {old};
