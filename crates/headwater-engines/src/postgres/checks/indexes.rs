//! Indexes that are missing, useless, broken or in the way.

use headwater_model::exam::Check;

use super::{Ask, Need, limit, page};

pub(super) const CHECKS: &[Ask] = &[
    Ask {
        check: Check {
            id: "HW1001",
            page: page!("HW1001"),
            asks: "SELECT format('%s (%s)', c.conrelid::regclass, k.columns) AS subject,
       CASE WHEN p.n_tup_del + p.n_tup_upd > {parent_writes} AND t.reltuples > 1000000 THEN 'high' ELSE 'medium' END AS severity,
       format('each %s of %s reads all of %s, %s rows: no index leads with %s',
              CASE WHEN p.n_tup_del > 0 THEN 'delete' ELSE 'key change' END,
              c.confrelid::regclass, c.conrelid::regclass, t.reltuples::bigint, k.columns) AS what,
       n.nspname AS table_schema, t.relname AS table_name,
       c.conname AS constraint, t.reltuples::bigint AS child_rows,
       p.n_tup_del AS parent_deletes, p.n_tup_upd AS parent_updates,
       format('CREATE INDEX CONCURRENTLY ON %s (%s);', c.conrelid::regclass, k.columns) AS remedy
FROM pg_constraint c
JOIN pg_class t ON t.oid = c.conrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN pg_stat_user_tables p ON p.relid = c.confrelid
CROSS JOIN LATERAL (
  SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY o.n) AS columns
  FROM unnest(c.conkey) WITH ORDINALITY o(attnum, n)
  JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = o.attnum) k
WHERE c.contype = 'f' AND c.conparentid = 0 AND t.reltuples >= {child_rows}
  AND p.n_tup_del + p.n_tup_upd >= {parent_writes}
  AND NOT EXISTS (
    SELECT FROM pg_index i
    WHERE i.indrelid = c.conrelid AND i.indisvalid AND i.indpred IS NULL
      AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey
      AND c.conkey @> (i.indkey::int2[])[0:cardinality(c.conkey) - 1])
ORDER BY t.reltuples DESC",
            limits: &[limit("child_rows", 10_000.0), limit("parent_writes", 1.0)],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1002",
            page: page!("HW1002"),
            asks: "SELECT i.indexrelid::regclass::text AS subject, 'medium' AS severity,
       format('no query has used this index of %s for %s days', pg_size_pretty(pg_relation_size(i.indexrelid)),
              floor(extract(epoch FROM now() - since.at) / 86400)) AS what,
       s.schemaname AS table_schema, s.relname AS table_name,
       pg_relation_size(i.indexrelid) AS bytes, s.idx_scan AS scans, since.at AS counted_since,
       t.n_tup_ins + t.n_tup_upd AS table_writes,
       (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming') AS standbys,
       format('DROP INDEX CONCURRENTLY %s;', i.indexrelid::regclass) AS remedy,
       pg_get_indexdef(i.indexrelid) || ';' AS undo
FROM pg_stat_user_indexes s
JOIN pg_stat_user_tables t ON t.relid = s.relid
JOIN pg_index i USING (indexrelid)
CROSS JOIN LATERAL (
  SELECT coalesce(stats_reset, pg_postmaster_start_time()) AS at
  FROM pg_stat_database WHERE datname = current_database()) since
WHERE s.idx_scan = 0 AND i.indisvalid AND NOT i.indisunique AND NOT i.indisexclusion AND NOT i.indisreplident
  AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
  AND pg_relation_size(i.indexrelid) >= {bytes}
  AND now() - since.at >= make_interval(days => {days}::int)
  -- The only index of a foreign key is used by checks that are not counted here when they find nothing.
  AND NOT EXISTS (
    SELECT FROM pg_constraint f
    WHERE f.contype = 'f' AND f.conrelid = i.indrelid
      AND (i.indkey::int2[])[0:cardinality(f.conkey) - 1] @> f.conkey)
ORDER BY pg_relation_size(i.indexrelid) DESC",
            limits: &[limit("bytes", 8_388_608.0), limit("days", 30.0)],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1003",
            page: page!("HW1003"),
            asks: "SELECT a.indexrelid::regclass::text AS subject,
       CASE WHEN a.indkey::text = b.indkey::text THEN 'medium' ELSE 'low' END AS severity,
       format('%s %s, which does all that this one does',
              CASE WHEN a.indkey::text = b.indkey::text THEN 'is the same as' ELSE 'is the beginning of' END,
              b.indexrelid::regclass) AS what,
       n.nspname AS table_schema, t.relname AS table_name,
       pg_relation_size(a.indexrelid) AS bytes, pg_get_indexdef(b.indexrelid) AS kept,
       format('DROP INDEX CONCURRENTLY %s;', a.indexrelid::regclass) AS remedy,
       pg_get_indexdef(a.indexrelid) || ';' AS undo
FROM pg_index a
JOIN pg_index b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid
JOIN pg_class ca ON ca.oid = a.indexrelid
JOIN pg_class cb ON cb.oid = b.indexrelid
JOIN pg_class t ON t.oid = a.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND ca.relam = cb.relam AND ca.relkind = 'i' AND a.indisvalid AND b.indisvalid
  AND a.indpred IS NOT DISTINCT FROM b.indpred AND a.indexprs IS NOT DISTINCT FROM b.indexprs
  AND NOT a.indisreplident AND NOT a.indisexclusion
  AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = a.indexrelid)
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = a.indexrelid)
  AND (NOT a.indisunique OR b.indisunique AND a.indnkeyatts = b.indnkeyatts AND a.indnullsnotdistinct = b.indnullsnotdistinct)
  AND (b.indkey::text || ' ') LIKE (a.indkey::text || ' %')
  AND (b.indclass::text || ' ') LIKE (a.indclass::text || ' %')
  AND (b.indcollation::text || ' ') LIKE (a.indcollation::text || ' %')
  AND (b.indoption::text || ' ') LIKE (a.indoption::text || ' %')
  -- Of two that are the same one is kept: the one of a constraint, the unique one, the older one.
  AND (a.indkey::text <> b.indkey::text
       OR (EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = b.indexrelid), b.indisunique, a.indexrelid)
          > (false, a.indisunique, b.indexrelid))
  -- A prefix is worth its place where the longer one is much larger.
  AND (a.indkey::text = b.indkey::text
       OR pg_relation_size(b.indexrelid) <= pg_relation_size(a.indexrelid) * {size_ratio})
ORDER BY pg_relation_size(a.indexrelid) DESC",
            limits: &[limit("size_ratio", 2.0)],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1004",
            page: page!("HW1004"),
            asks: "SELECT i.indexrelid::regclass::text AS subject, 'high' AS severity,
       'the index was not built to its end: every write keeps it up, no query uses it' AS what,
       n.nspname AS table_schema, t.relname AS table_name,
       i.indisready AS written, pg_relation_size(i.indexrelid) AS bytes,
       CASE WHEN c.relname ~ '_ccnew[0-9]*$' THEN format('DROP INDEX CONCURRENTLY %s;', i.indexrelid::regclass)
            ELSE format('REINDEX INDEX CONCURRENTLY %s;', i.indexrelid::regclass) END AS remedy
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE (NOT i.indisvalid OR NOT i.indisready) AND c.relkind = 'i'
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)",
            limits: &[],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1005",
            page: page!("HW1005"),
            asks: "SELECT s.relid::regclass::text AS subject,
       CASE WHEN s.n_tup_upd > 10 * {updates} THEN 'high' ELSE 'medium' END AS severity,
       format('%s %% of %s updates wrote every index anew: a column that is updated is indexed, or pages are full',
              round(100 - 100.0 * s.n_tup_hot_upd / s.n_tup_upd), s.n_tup_upd) AS what,
       s.schemaname AS table_schema, s.relname AS table_name,
       s.n_tup_upd AS updates, s.n_tup_hot_upd AS hot_updates,
       (SELECT count(*) FROM pg_index i WHERE i.indrelid = s.relid) AS indexes,
       coalesce((SELECT option_value FROM pg_options_to_table(c.reloptions) WHERE option_name = 'fillfactor'), '100') AS fillfactor,
       format('ALTER TABLE %s SET (fillfactor = 90);', s.relid::regclass) AS remedy,
       format('ALTER TABLE %s RESET (fillfactor);', s.relid::regclass) AS undo
FROM pg_stat_user_tables s
JOIN pg_class c ON c.oid = s.relid
WHERE s.n_tup_upd >= {updates} AND s.n_tup_hot_upd < {share} * s.n_tup_upd
  AND coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions) WHERE option_name = 'fillfactor'), 100) > 90
ORDER BY s.n_tup_upd DESC",
            limits: &[limit("updates", 100_000.0), limit("share", 0.5)],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1006",
            page: page!("HW1006"),
            asks: "SELECT found.oid::regclass::text AS subject, 'medium' AS severity,
       format('leaf pages are %s %% full: about %s of %s would do', round(density::numeric),
              pg_size_pretty((bytes * density / 90)::bigint), pg_size_pretty(bytes)) AS what,
       schema AS table_schema, relation AS table_name, bytes, round(density::numeric, 1) AS leaf_density_percent,
       format('REINDEX INDEX CONCURRENTLY %s;', found.oid::regclass) AS remedy
FROM (
  SELECT c.oid, n.nspname AS schema, t.relname AS relation, pg_relation_size(c.oid) AS bytes,
         ({extension}.pgstatindex(c.oid::regclass)).avg_leaf_density AS density
  FROM pg_class c
  JOIN pg_index i ON i.indexrelid = c.oid AND i.indisvalid
  JOIN pg_class t ON t.oid = i.indrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace
  JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
  WHERE c.relkind = 'i' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND pg_relation_size(c.oid) BETWEEN {bytes} AND {read_bytes}
  ORDER BY pg_relation_size(c.oid) DESC LIMIT 20) found
WHERE density < {density_percent} AND bytes * (1 - density / 90) >= {wasted_bytes}
ORDER BY bytes * (1 - density / 90) DESC",
            limits: &[
                limit("bytes", 8_388_608.0),
                // Each index is read whole: larger ones are left to a quiet hour.
                limit("read_bytes", 1_073_741_824.0),
                limit("density_percent", 50.0),
                limit("wasted_bytes", 4_194_304.0),
            ],
        },
        needs: &[Need::Extension("pgstattuple")],
    },
];
