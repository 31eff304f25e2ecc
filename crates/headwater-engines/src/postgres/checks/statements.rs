//! Statements that cost most, spill, or are asked once too often: what `pg_stat_statements` counted.

use headwater_model::exam::Check;

use super::{Ask, Need, limit, page};

const NEEDS: &[Need] = &[Need::Extension("pg_stat_statements"), Need::AllStatistics];

pub(super) const CHECKS: &[Ask] = &[
    Ask {
        check: Check {
            id: "HW1060",
            page: page!("HW1060"),
            asks: "SELECT format('statement %s', s.queryid) AS subject, CASE WHEN s.share >= 0.3 THEN 'high' ELSE 'medium' END AS severity,
       format('takes %s %% of the time of all statements: %s calls, %s ms each', round(100 * s.share::numeric),
              s.calls, round(s.mean_exec_time::numeric, 1)) AS what,
       s.calls, round(s.mean_exec_time::numeric, 2) AS mean_ms, round(s.total_exec_time::numeric) AS total_ms, s.rows,
       s.shared_blks_hit, s.shared_blks_read, s.temp_blks_written, left(s.query, 400) AS statement,
       format('EXPLAIN (ANALYZE, BUFFERS) %s;  -- with real values for $1, $2, …', left(regexp_replace(s.query, '\\s+', ' ', 'g'), 400)) AS remedy
FROM (
  SELECT *, total_exec_time / nullif(sum(total_exec_time) OVER (), 0) AS share
  FROM {extension}.pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())) s
WHERE s.share >= {share} AND s.calls >= {calls} AND s.mean_exec_time >= {mean_ms}
  AND s.query ~* '^\\s*(select|with|update|delete|insert|merge)'
ORDER BY s.share DESC",
            limits: &[limit("share", 0.1), limit("calls", 100.0), limit("mean_ms", 20.0)],
        },
        needs: NEEDS,
    },
    Ask {
        check: Check {
            id: "HW1061",
            page: page!("HW1061"),
            asks: "SELECT format('statement %s', c.queryid) AS subject, 'medium' AS severity,
       format('asked %s times, once for each row that statement %s returned: one statement could ask for all', c.calls, p.queryid) AS what,
       c.calls, p.calls AS parent_calls, p.rows AS parent_rows, round((c.calls::numeric / p.calls), 1) AS per_parent,
       round(c.total_exec_time::numeric) AS total_ms, left(c.query, 300) AS statement, left(p.query, 300) AS parent_statement,
       '... WHERE key = ANY($1)  -- one statement for all keys of the parent, or a join' AS remedy
FROM {extension}.pg_stat_statements c
JOIN {extension}.pg_stat_statements p ON p.userid = c.userid AND p.dbid = c.dbid AND p.queryid <> c.queryid
WHERE c.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.query ~* '^\\s*select' AND p.query ~* '^\\s*select'
  AND p.calls >= {parent_calls} AND c.calls >= 5 * p.calls AND c.rows <= c.calls
  AND p.rows BETWEEN 0.9 * c.calls AND 1.1 * c.calls AND c.total_exec_time >= {total_ms}
ORDER BY c.calls DESC",
            limits: &[limit("parent_calls", 20.0), limit("total_ms", 50.0)],
        },
        needs: NEEDS,
    },
    Ask {
        check: Check {
            id: "HW1062",
            page: page!("HW1062"),
            asks: "SELECT format('statement %s', queryid) AS subject, 'low' AS severity,
       format('writes %s to disk in each of %s calls, because work_mem (%s) is too small for it',
              pg_size_pretty(temp_blks_written / calls * 8192), calls, current_setting('work_mem')) AS what,
       calls, temp_blks_written, round(mean_exec_time::numeric, 1) AS mean_ms, left(query, 400) AS statement,
       format('ALTER ROLE %I SET work_mem = ''%sMB'';', pg_get_userbyid(userid), 2 * ceil(temp_blks_written / calls * 8192 / 1048576.0)) AS remedy,
       format('ALTER ROLE %I RESET work_mem;', pg_get_userbyid(userid)) AS undo
FROM {extension}.pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND calls >= {calls} AND temp_blks_written / calls * 8192 >= {bytes}
ORDER BY temp_blks_written DESC",
            limits: &[limit("calls", 2.0), limit("bytes", 67_108_864.0)],
        },
        needs: NEEDS,
    },
];
