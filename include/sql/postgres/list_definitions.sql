-- All that defines the current database's objects, those of extensions left out: they come with the extension. Columns are
-- part of their table. Left out is what a copy can't have: the database's name and settings, the version of an extension,
-- values of sequences (no snapshot holds them), subscriptions. What was made for an object by default is not a grant.
WITH own AS (
  SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), extended AS (
  SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), relations AS (
  SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS shown
    FROM pg_class c JOIN own n ON n.oid = c.relnamespace
   WHERE c.relpersistence <> 't'
     AND NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)
), routines AS (
  SELECT p.*, p.oid::regprocedure::text AS shown
    FROM pg_proc p JOIN own n ON n.oid = p.pronamespace
   WHERE NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)
), types AS (
  SELECT t.*, t.oid::regtype::text AS shown
    FROM pg_type t JOIN own n ON n.oid = t.typnamespace
   WHERE t.typtype IN ('d', 'e', 'r', 'm')
     AND NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)
), rights (what, shown, owner, acl, usual) AS (
  SELECT 'schema', format('%I', nspname), nspowner, nspacl, acldefault('n', nspowner) FROM own
  UNION ALL
  SELECT 'relation', shown, relowner, relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)
    FROM relations WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  UNION ALL
  SELECT 'column', c.shown || '.' || quote_ident(a.attname), c.relowner, a.attacl, NULL::aclitem[]
    FROM relations c JOIN pg_attribute a ON a.attrelid = c.oid
   WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attacl IS NOT NULL AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  UNION ALL
  SELECT 'routine', shown, proowner, proacl, acldefault('f', proowner) FROM routines
  UNION ALL
  SELECT 'type', shown, typowner, typacl, acldefault('T', typowner) FROM types
  UNION ALL
  SELECT 'large object', oid::text, lomowner, lomacl, acldefault('L', lomowner) FROM pg_largeobject_metadata
), granted AS (
  SELECT what, shown,
         COALESCE((SELECT string_agg(one, ',' ORDER BY one COLLATE "C")
                     FROM (SELECT concat_ws(' ', COALESCE(r.rolname, 'PUBLIC'), x.privilege_type, x.is_grantable) AS one
                             FROM aclexplode(COALESCE(acl, usual)) x LEFT JOIN pg_roles r ON r.oid = x.grantee) s), '')
           AS now,
         COALESCE((SELECT string_agg(one, ',' ORDER BY one COLLATE "C")
                     FROM (SELECT concat_ws(' ', COALESCE(r.rolname, 'PUBLIC'), x.privilege_type, x.is_grantable) AS one
                             FROM aclexplode(usual) x LEFT JOIN pg_roles r ON r.oid = x.grantee) s), '') AS by_default
    FROM rights
), restored AS (
  {restored_columns}
), columns AS (
  SELECT a.attrelid AS oid,
         string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attnotnull,
                              a.attidentity, a.attgenerated, a.attislocal, a.attstorage, a.attcollation::regcollation,
                              pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum)),
                    ', ' ORDER BY r.place, a.attnum) AS definitions
    FROM relations c
    JOIN pg_attribute a ON a.attrelid = c.oid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN restored r ON r.table_oid = a.attrelid AND r.attnum = a.attnum
   WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
   GROUP BY a.attrelid
)
SELECT 'database' AS kind, '' AS name, pg_encoding_to_char(encoding) || ' ' || datcollate || ' ' || datctype AS definition
  FROM pg_database WHERE datname = current_database()
UNION ALL
SELECT 'schemas', format('%I', nspname), concat_ws(' | ', obj_description(oid, 'pg_namespace')) FROM own
UNION ALL
SELECT 'extensions', extname, extnamespace::regnamespace::text FROM pg_extension WHERE extname <> 'plpgsql'
UNION ALL
SELECT CASE WHEN c.relkind IN ('v', 'm') THEN 'views' WHEN c.relkind = 'c' THEN 'types' ELSE 'tables' END, c.shown,
       concat_ws(' | ', c.relkind, c.relpersistence, c.reloptions, c.relrowsecurity, c.relforcerowsecurity, c.relispopulated,
                 c.relreplident, obj_description(c.oid, 'pg_class'), pg_get_partkeydef(c.oid),
                 pg_get_expr(c.relpartbound, c.oid),
                 CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
                 (SELECT string_agg(i.inhparent::regclass::text, ',' ORDER BY i.ctid)  -- pg_dump's own order
                    FROM pg_inherits i WHERE i.inhrelid = c.oid),
                 columns.definitions)
  FROM relations c LEFT JOIN columns ON columns.oid = c.oid WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
UNION ALL
SELECT 'indexes', c.shown, concat_ws(' | ', pg_get_indexdef(c.oid), i.indisvalid, i.indisclustered, i.indisreplident)
  FROM relations c JOIN pg_index i ON i.indexrelid = c.oid
 WHERE i.indisvalid OR c.relkind = 'I'  -- as in a dump: what a broken CREATE INDEX CONCURRENTLY left is not in it
UNION ALL
SELECT 'constraints', c.shown || '.' || k.conname,
       concat_ws(' | ', pg_get_constraintdef(k.oid), k.convalidated, k.condeferrable, k.condeferred)
  FROM pg_constraint k JOIN relations c ON c.oid = k.conrelid
UNION ALL
SELECT 'triggers', c.shown || '.' || t.tgname, concat_ws(' | ', pg_get_triggerdef(t.oid), t.tgenabled)
  FROM pg_trigger t JOIN relations c ON c.oid = t.tgrelid
 WHERE NOT t.tgisinternal
UNION ALL
SELECT 'rules', c.shown || '.' || r.rulename, concat_ws(' | ', pg_get_ruledef(r.oid), r.ev_enabled)
  FROM pg_rewrite r JOIN relations c ON c.oid = r.ev_class
 WHERE r.rulename <> '_RETURN'
UNION ALL
SELECT 'policies', c.shown || '.' || p.polname,
       concat_ws(' | ', p.polpermissive, p.polcmd, pg_get_expr(p.polqual, p.polrelid),
                 pg_get_expr(p.polwithcheck, p.polrelid),
                 (SELECT string_agg(COALESCE(r.rolname, 'PUBLIC'), ',' ORDER BY r.rolname)
                    FROM unnest(p.polroles) AS one (role) LEFT JOIN pg_roles r ON r.oid = one.role))
  FROM pg_policy p JOIN relations c ON c.oid = p.polrelid
UNION ALL
SELECT 'sequences', c.shown,
       concat_ws(' | ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
  FROM relations c JOIN pg_sequence s ON s.seqrelid = c.oid
UNION ALL
SELECT 'routines', p.shown,
       concat_ws(' | ', CASE WHEN p.prokind = 'a' THEN (SELECT concat_ws(' ', g.aggtransfn, g.aggfinalfn, g.agginitval)
                                                          FROM pg_aggregate g WHERE g.aggfnoid = p.oid)
                             ELSE pg_get_functiondef(p.oid) END, obj_description(p.oid, 'pg_proc'))
  FROM routines p
UNION ALL
SELECT 'types', t.shown,
       concat_ws(' | ', t.typtype, format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typdefault,
                 (SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
                 (SELECT string_agg(pg_get_constraintdef(k.oid), ',' ORDER BY k.conname)
                    FROM pg_constraint k WHERE k.contypid = t.oid),
                 (SELECT format_type(r.rngsubtype, -1) FROM pg_range r WHERE r.rngtypid = t.oid))
  FROM types t
UNION ALL
SELECT 'operators', o.oid::regoperator::text, o.oprcode::text
  FROM pg_operator o JOIN own n ON n.oid = o.oprnamespace
 WHERE NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_operator'::regclass AND e.objid = o.oid)
UNION ALL
SELECT 'statistics', format('%I.%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid)
  FROM pg_statistic_ext s JOIN own n ON n.oid = s.stxnamespace
UNION ALL
SELECT 'collations', format('%I.%I', n.nspname, k.collname), concat_ws(' | ', k.collprovider, k.collcollate, k.collctype)
  FROM pg_collation k JOIN own n ON n.oid = k.collnamespace
UNION ALL
SELECT 'casts', concat(c.castsource::regtype, ' as ', c.casttarget::regtype),
       concat_ws(' | ', c.castfunc::regproc, c.castcontext, c.castmethod)
  FROM pg_cast c
 WHERE c.oid >= 16384
   AND NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_cast'::regclass AND e.objid = c.oid)
UNION ALL
SELECT 'event triggers', evtname, concat_ws(' | ', evtevent, evtfoid::regproc, evtenabled, evttags)
  FROM pg_event_trigger t
 WHERE NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_event_trigger'::regclass AND e.objid = t.oid)
UNION ALL
SELECT 'publications', p.pubname,
       concat_ws(' | ', p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate,
                 (SELECT string_agg(r.prrelid::regclass::text, ',' ORDER BY r.prrelid::regclass::text)
                    FROM pg_publication_rel r WHERE r.prpubid = p.oid))
  FROM pg_publication p
UNION ALL
SELECT 'large objects', 'all', count(*)::text FROM pg_largeobject_metadata
UNION ALL
SELECT 'grants', what || ' ' || shown, now FROM granted WHERE now <> by_default
UNION ALL
SELECT 'grants', concat_ws(' ', 'by default of', pg_get_userbyid(d.defaclrole), NULLIF(d.defaclnamespace::regnamespace::text, '-'),
                           d.defaclobjtype),
       (SELECT string_agg(concat_ws(' ', COALESCE(r.rolname, 'PUBLIC'), x.privilege_type, x.is_grantable), ','
                          ORDER BY COALESCE(r.rolname, 'PUBLIC'), x.privilege_type)
          FROM aclexplode(d.defaclacl) x LEFT JOIN pg_roles r ON r.oid = x.grantee)
  FROM pg_default_acl d
UNION ALL
SELECT 'owner of ' || what, shown, pg_get_userbyid(owner) FROM rights WHERE what <> 'column';
