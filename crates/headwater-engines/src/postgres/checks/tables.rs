//! Tables: their keys, their dead rows, their statistics, and numbers that run out.

use headwater_model::exam::Check;

use super::{Ask, Need, limit, page};

pub(super) const CHECKS: &[Ask] = &[
    Ask {
        check: Check {
            id: "HW1010",
            page: page!("HW1010"),
            asks: "SELECT c.oid::regclass::text AS subject,
       CASE WHEN published.it AND c.relreplident IN ('d', 'n') THEN 'high' ELSE 'medium' END AS severity,
       CASE WHEN published.it AND c.relreplident IN ('d', 'n')
            THEN 'has no primary key and is in a publication: updates and deletes of it fail'
            ELSE 'has no primary key: its rows cannot be named, followed or compared one by one' END AS what,
       n.nspname AS table_schema, c.relname AS table_name, c.reltuples::bigint AS rows, c.relreplident AS replica_identity,
       coalesce(
         (SELECT format('ALTER TABLE %s ADD PRIMARY KEY (%s);', c.oid::regclass,
                        (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY o.n)
                         FROM unnest(i.indkey::int2[]) WITH ORDINALITY o(attnum, n)
                         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = o.attnum))
          FROM pg_index i
          WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
            AND i.indexprs IS NULL AND i.indnatts = i.indnkeyatts
            AND NOT EXISTS (SELECT FROM pg_attribute a
                            WHERE a.attrelid = c.oid AND a.attnum = ANY(i.indkey::int2[]) AND NOT a.attnotnull)
          ORDER BY i.indnkeyatts, i.indexrelid LIMIT 1),
         format('ALTER TABLE %s ADD COLUMN headwater_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;', c.oid::regclass)) AS remedy
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT EXISTS (SELECT FROM pg_publication_tables p WHERE p.schemaname = n.nspname AND p.tablename = c.relname) AS it) published
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.reltuples DESC",
            limits: &[],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1011",
            page: page!("HW1011"),
            asks: "SELECT found.oid::regclass::text AS subject,
       CASE WHEN wasted >= 5 * {wasted_bytes} THEN 'high' ELSE 'medium' END AS severity,
       format('about %s of %s is free or dead', pg_size_pretty(wasted), pg_size_pretty(bytes)) AS what,
       schema AS table_schema, relname AS table_name, bytes, wasted AS wasted_bytes, dead_percent, free_percent,
       format(E'VACUUM (FULL, ANALYZE) %1$s;\\nALTER TABLE %1$s SET (autovacuum_vacuum_scale_factor = 0.02);', found.oid::regclass) AS remedy
FROM (
  SELECT t.oid, t.schema, t.relname, t.bytes, round(a.dead_tuple_percent::numeric, 1) AS dead_percent,
         round(a.approx_free_percent::numeric, 1) AS free_percent,
         (t.bytes * (a.dead_tuple_percent + a.approx_free_percent) / 100)::bigint AS wasted
  FROM (
    SELECT c.oid, n.nspname AS schema, c.relname, pg_relation_size(c.oid) AS bytes
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND pg_relation_size(c.oid) >= {bytes}
    ORDER BY pg_relation_size(c.oid) DESC LIMIT 20) t
  CROSS JOIN LATERAL {extension}.pgstattuple_approx(t.oid) a) found
WHERE wasted >= {wasted_bytes} AND wasted >= {share} * bytes
ORDER BY wasted DESC",
            limits: &[limit("bytes", 8_388_608.0), limit("wasted_bytes", 1_073_741_824.0), limit("share", 0.3)],
        },
        needs: &[Need::Extension("pgstattuple")],
    },
    Ask {
        check: Check {
            id: "HW1012",
            page: page!("HW1012"),
            asks: "SELECT s.relid::regclass::text AS subject,
       CASE WHEN off.it OR s.n_dead_tup > 10 * trigger.rows THEN 'high' ELSE 'medium' END AS severity,
       format('%s dead rows beside %s live ones, %s', s.n_dead_tup, s.n_live_tup,
              CASE WHEN off.it THEN 'and autovacuum is off for it'
                   WHEN s.last_autovacuum IS NULL THEN 'and autovacuum has never come by'
                   ELSE format('and autovacuum came by last on %s', to_char(s.last_autovacuum, 'YYYY-MM-DD HH24:MI')) END) AS what,
       s.schemaname AS table_schema, s.relname AS table_name,
       s.n_live_tup AS live_rows, s.n_dead_tup AS dead_rows, trigger.rows AS autovacuum_at, s.last_autovacuum, s.autovacuum_count,
       CASE WHEN off.server THEN E'ALTER SYSTEM SET autovacuum = on;\\nSELECT pg_reload_conf();'
            WHEN off.it THEN format('ALTER TABLE %s RESET (autovacuum_enabled);', s.relid::regclass)
            ELSE format('ALTER TABLE %s SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);', s.relid::regclass) END
       || E'\\n' || format('VACUUM (ANALYZE) %s;', s.relid::regclass) AS remedy
FROM pg_stat_user_tables s
JOIN pg_class c ON c.oid = s.relid
CROSS JOIN LATERAL (
  SELECT NOT current_setting('autovacuum')::bool AS server,
         NOT current_setting('autovacuum')::bool OR coalesce((SELECT NOT option_value::bool FROM pg_options_to_table(c.reloptions)
                                                          WHERE option_name = 'autovacuum_enabled'), false) AS it) off
CROSS JOIN LATERAL (
  SELECT current_setting('autovacuum_vacuum_threshold')::float8
       + current_setting('autovacuum_vacuum_scale_factor')::float8 * s.n_live_tup AS rows) trigger
WHERE s.n_dead_tup > {times} * trigger.rows AND s.n_dead_tup >= {dead_rows}
ORDER BY s.n_dead_tup DESC",
            limits: &[limit("times", 2.0), limit("dead_rows", 1000.0)],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1013",
            page: page!("HW1013"),
            asks: "SELECT s.relid::regclass::text AS subject, 'medium' AS severity,
       CASE WHEN last.at IS NULL THEN format('was never analyzed; %s rows: the planner guesses', s.n_live_tup)
            ELSE format('%s of %s rows changed since it was analyzed on %s', s.n_mod_since_analyze, s.n_live_tup,
                        to_char(last.at, 'YYYY-MM-DD HH24:MI')) END AS what,
       s.schemaname AS table_schema, s.relname AS table_name,
       s.n_live_tup AS live_rows, s.n_mod_since_analyze AS changed_rows, last.at AS analyzed,
       format('ANALYZE %s;', s.relid::regclass) AS remedy
FROM pg_stat_user_tables s
CROSS JOIN LATERAL (SELECT greatest(s.last_analyze, s.last_autoanalyze) AS at) last
WHERE s.n_live_tup >= {rows}
  AND (last.at IS NULL
       OR s.n_mod_since_analyze > {times} * (current_setting('autovacuum_analyze_threshold')::float8
                                             + current_setting('autovacuum_analyze_scale_factor')::float8 * s.n_live_tup))
ORDER BY s.n_live_tup DESC",
            limits: &[limit("rows", 1000.0), limit("times", 2.0)],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1014",
            page: page!("HW1014"),
            asks: "SELECT found.owned_by AS subject,
       CASE WHEN found.used >= 0.95 THEN 'critical' ELSE 'high' END AS severity,
       format('%s of %s numbers are used (%s %%): then every insert fails', found.last_value, found.largest,
              round(100 * found.used::numeric, 1)) AS what,
       found.schema AS table_schema, found.relation AS table_name,
       found.sequence, found.last_value, found.largest,
       CASE WHEN found.largest < 9223372036854775807
            THEN concat_ws(E'\\n', CASE WHEN found.limit_of = 'sequence' THEN format('ALTER SEQUENCE %s AS bigint;', found.sequence) END,
                           format('ALTER TABLE %I.%I ALTER COLUMN %I TYPE bigint;', found.schema, found.relation, found.attname)) END AS remedy
FROM (
  SELECT q.oid::regclass::text AS sequence, n.nspname AS schema, t.relname AS relation, a.attname,
         format('%s.%I', t.oid::regclass, a.attname) AS owned_by, v.last_value, l.largest,
         CASE WHEN l.largest = s.seqmax THEN 'sequence' ELSE 'column' END AS limit_of,
         v.last_value::float8 / l.largest AS used
  FROM pg_sequence s
  JOIN pg_class q ON q.oid = s.seqrelid
  JOIN pg_namespace qn ON qn.oid = q.relnamespace
  JOIN pg_sequences v ON v.schemaname = qn.nspname AND v.sequencename = q.relname
  JOIN pg_depend d ON d.objid = q.oid AND d.classid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
  JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  JOIN pg_class t ON t.oid = a.attrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace
  CROSS JOIN LATERAL (
    SELECT least(s.seqmax, CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
                                           ELSE 9223372036854775807 END) AS largest) l
  WHERE s.seqincrement > 0 AND NOT s.seqcycle AND v.last_value IS NOT NULL) found
WHERE found.used >= {share}
ORDER BY found.used DESC",
            limits: &[limit("share", 0.85)],
        },
        needs: &[],
    },
];
