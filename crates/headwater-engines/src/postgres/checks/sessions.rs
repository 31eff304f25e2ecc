//! Transactions: numbers that run out, what holds vacuum back, and who waits for whom.

use headwater_model::exam::Check;

use super::{Ask, Need, limit, page};

pub(super) const CHECKS: &[Ask] = &[
    Ask {
        check: Check {
            id: "HW1020",
            page: page!("HW1020"),
            asks: "SELECT 'database ' || quote_ident(d.datname) AS subject,
       CASE WHEN used.share >= {critical_share} THEN 'critical' ELSE 'high' END AS severity,
       format('%s of about 2 billion %s are used since its oldest row was frozen: at the end the server takes no more writes',
              used.age, used.kind) AS what,
       used.kind AS numbers, used.age, used.share AS share_used,
       (SELECT format('%s (%s)', c.oid::regclass, age(c.relfrozenxid)) FROM pg_class c
        WHERE c.relkind IN ('r', 'm', 't') AND d.datname = current_database()
        ORDER BY age(c.relfrozenxid) DESC LIMIT 1) AS oldest_table,
       format('VACUUM (FREEZE, INDEX_CLEANUP OFF, VERBOSE);  -- connected to %s', quote_ident(d.datname)) AS remedy
FROM pg_database d
CROSS JOIN LATERAL (
  VALUES ('transaction numbers', age(d.datfrozenxid), age(d.datfrozenxid) / 2147483647.0),
         ('multixact numbers', mxid_age(d.datminmxid), mxid_age(d.datminmxid) / 2147483647.0)) used(kind, age, share)
WHERE d.datallowconn AND used.share >= {share}
ORDER BY used.share DESC",
            limits: &[limit("share", 0.35), limit("critical_share", 0.6)],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1021",
            page: page!("HW1021"),
            asks: "SELECT holder.subject, CASE WHEN holder.age > 10 * {transactions} THEN 'high' ELSE 'medium' END AS severity,
       format('keeps vacuum from removing anything that died in the last %s transactions', holder.age) AS what,
       holder.age AS transactions_held, holder.detail, holder.remedy
FROM (
  SELECT format('session %s of %s', pid, coalesce(usename, backend_type)) AS subject, age(backend_xmin) AS age,
         format('%s, state %s since %s', nullif(application_name, ''), state, state_change) AS detail,
         format('SELECT pg_terminate_backend(%s);', pid) AS remedy
  FROM pg_stat_activity
  WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() AND backend_type <> 'walsender'
  UNION ALL
  SELECT format('prepared transaction %s', quote_literal(gid)), age(transaction), format('by %s at %s', owner, prepared),
         format('ROLLBACK PREPARED %L;', gid)
  FROM pg_prepared_xacts
  UNION ALL
  SELECT format('replication slot %s', slot_name), greatest(age(xmin), age(catalog_xmin)),
         CASE WHEN active THEN 'in use' ELSE 'nobody reads it' END,
         CASE WHEN NOT active THEN format('SELECT pg_drop_replication_slot(%L);', slot_name) END
  FROM pg_replication_slots WHERE greatest(age(xmin), age(catalog_xmin)) IS NOT NULL
  UNION ALL
  SELECT format('standby %s', coalesce(nullif(application_name, ''), pid::text)), age(backend_xmin), 'hot_standby_feedback',
         'ALTER SYSTEM SET hot_standby_feedback = off;  -- on the standby'
  FROM pg_stat_replication WHERE backend_xmin IS NOT NULL) holder
WHERE holder.age >= {transactions}
ORDER BY holder.age DESC",
            limits: &[limit("transactions", 10_000_000.0)],
        },
        needs: &[Need::AllStatistics],
    },
    Ask {
        check: Check {
            id: "HW1022",
            page: page!("HW1022"),
            asks: "SELECT format('session %s of %s', pid, coalesce(usename, '?')) AS subject,
       CASE WHEN now() - state_change > make_interval(secs => 12 * {seconds}) THEN 'high' ELSE 'medium' END AS severity,
       format('%s for %s: its locks stay, and vacuum waits for it', state, date_trunc('second', now() - state_change)) AS what,
       application_name, client_addr, datname AS database, xact_start AS began, left(query, 200) AS last_statement,
       current_setting('idle_in_transaction_session_timeout') AS idle_in_transaction_session_timeout,
       format(E'SELECT pg_terminate_backend(%s);\\nALTER ROLE %I SET idle_in_transaction_session_timeout = ''60s'';', pid, usename) AS remedy,
       format('ALTER ROLE %I RESET idle_in_transaction_session_timeout;', usename) AS undo
FROM pg_stat_activity
WHERE state LIKE 'idle in transaction%' AND now() - state_change >= make_interval(secs => {seconds})
ORDER BY state_change",
            limits: &[limit("seconds", 300.0)],
        },
        needs: &[Need::AllStatistics],
    },
    Ask {
        check: Check {
            id: "HW1023",
            page: page!("HW1023"),
            asks: "SELECT format('session %s of %s', pid, coalesce(usename, '?')) AS subject,
       CASE WHEN now() - query_start > make_interval(secs => 2.5 * {seconds}) THEN 'high' ELSE 'medium' END AS severity,
       format('a statement has been running for %s', date_trunc('second', now() - query_start)) AS what,
       application_name, client_addr, datname AS database, query_start AS began, wait_event_type, wait_event,
       left(query, 200) AS statement,
       format(E'SELECT pg_cancel_backend(%s);\\nALTER ROLE %I SET statement_timeout = ''30s'';', pid, usename) AS remedy,
       format('ALTER ROLE %I RESET statement_timeout;', usename) AS undo
FROM pg_stat_activity
WHERE state = 'active' AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND now() - query_start >= make_interval(secs => {seconds})
ORDER BY query_start",
            limits: &[limit("seconds", 120.0)],
        },
        needs: &[Need::AllStatistics],
    },
    Ask {
        check: Check {
            id: "HW1024",
            page: page!("HW1024"),
            asks: "WITH RECURSIVE waits AS (
  SELECT pid AS waiter, unnest(pg_blocking_pids(pid)) AS blocker, now() - query_start AS waited
  FROM pg_stat_activity WHERE wait_event_type = 'Lock'
), chain AS (
  SELECT blocker AS root, waiter, waited, 1 AS depth FROM waits
  WHERE blocker NOT IN (SELECT waiter FROM waits)
  UNION
  SELECT chain.root, waits.waiter, waits.waited, chain.depth + 1
  FROM chain JOIN waits ON waits.blocker = chain.waiter WHERE chain.depth < 20)
SELECT format('session %s of %s', a.pid, coalesce(a.usename, a.backend_type)) AS subject,
       CASE WHEN count(*) >= 10 OR max(waited) > make_interval(secs => 10 * {seconds}) THEN 'critical' ELSE 'high' END AS severity,
       format('%s wait behind it, the longest for %s',
              CASE count(DISTINCT waiter) WHEN 1 THEN 'one session' ELSE count(DISTINCT waiter) || ' sessions' END,
              date_trunc('second', max(waited))) AS what,
       count(DISTINCT waiter) AS waiting, max(depth) AS chain_depth, a.state, a.application_name, a.client_addr,
       a.xact_start AS began, left(a.query, 200) AS statement,
       format('SELECT pg_terminate_backend(%s);', a.pid) AS remedy
FROM chain JOIN pg_stat_activity a ON a.pid = chain.root
GROUP BY a.pid, a.usename, a.backend_type, a.state, a.application_name, a.client_addr, a.xact_start, a.query
HAVING max(waited) >= make_interval(secs => {seconds})
ORDER BY count(*) DESC",
            limits: &[limit("seconds", 30.0)],
        },
        needs: &[Need::AllStatistics],
    },
    Ask {
        check: Check {
            id: "HW1025",
            page: page!("HW1025"),
            asks: "SELECT format('prepared transaction %s', quote_literal(gid)) AS subject, 'high' AS severity,
       format('was prepared %s ago and neither committed nor rolled back: its locks stay, over a restart too',
              date_trunc('second', now() - prepared)) AS what,
       owner, database, prepared, transaction AS number,
       (SELECT count(*) FROM pg_locks l WHERE l.virtualtransaction = '-1/' || transaction) AS locks,
       format('ROLLBACK PREPARED %L;', gid) AS remedy
FROM pg_prepared_xacts
WHERE now() - prepared >= make_interval(secs => {seconds}) AND database = current_database()
ORDER BY prepared",
            limits: &[limit("seconds", 30.0)],
        },
        needs: &[],
    },
];
