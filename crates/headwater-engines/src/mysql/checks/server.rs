//! Settings, the binary log, sessions, accounts.

use headwater_model::exam::Check;

use super::{Ask, Of, limit, page};

/// Versions and the day of their last fixes.
macro_rules! ends {
    ($product:literal, $versions:literal) => {
        concat!(
            "SELECT CONCAT('",
            $product,
            " ', v.major) AS subject, IF(CURRENT_DATE > v.ends, 'high', 'medium') AS severity,
       CONCAT('its last fixes ', IF(CURRENT_DATE > v.ends, 'came', 'come'), ' on ', v.ends) AS what,
       VERSION() AS version,
       'upgrade, on a copy first: see the page' AS remedy
FROM (",
            $versions,
            ") v
WHERE VERSION() LIKE CONCAT(v.major, '.%') AND CURRENT_DATE > v.ends - INTERVAL {days} DAY
ORDER BY subject"
        )
    };
}

const ENDS: Check = Check {
    id: "HW4042",
    page: page!("HW4042"),
    asks: ends!(
        "MariaDB",
        "SELECT '10.5' AS major, DATE '2025-06-24' AS ends UNION ALL SELECT '10.6', DATE '2026-07-06'
      UNION ALL SELECT '10.11', DATE '2028-02-16' UNION ALL SELECT '11.4', DATE '2029-05-29'
      UNION ALL SELECT '11.8', DATE '2028-06-04'"
    ),
    limits: &[limit("days", 180.0)],
};

/// What asks for accounts that anybody is: where they are kept differs.
macro_rules! accounts {
    ($from:literal) => {
        concat!(
            "SELECT CONCAT(QUOTE(a.user), '@', QUOTE(a.host)) AS subject,
       IF(a.host IN ('localhost', '127.0.0.1', '::1'), 'high', 'critical') AS severity,
       IF(a.user = '', 'is nobody in particular: any name is let in, without a password', 'needs no password') AS what,
       CONCAT('ALTER USER ', QUOTE(a.user), '@', QUOTE(a.host), ' ACCOUNT LOCK;') AS remedy,
       CONCAT('ALTER USER ', QUOTE(a.user), '@', QUOTE(a.host), ' ACCOUNT UNLOCK;') AS \"undo\"
FROM (", $from, ") a
ORDER BY subject"
        )
    };
}

const ACCOUNTS: Check = Check {
    id: "HW4040",
    page: page!("HW4040"),
    asks: accounts!(
        "SELECT user, host FROM mysql.global_priv
      WHERE JSON_VALUE(priv, '$.plugin') IN ('mysql_native_password', 'mysql_old_password')
        AND COALESCE(JSON_VALUE(priv, '$.authentication_string'), '') = ''
        AND COALESCE(JSON_VALUE(priv, '$.is_role'), '0') NOT IN ('1', 'true')
        AND COALESCE(JSON_VALUE(priv, '$.account_locked'), '0') NOT IN ('1', 'true')"
    ),
    limits: &[],
};

pub(super) const CHECKS: &[Ask] = &[
    Ask {
        check: Check {
            id: "HW4010",
            page: page!("HW4010"),
            asks: "SELECT v.name AS subject, 'high' AS severity, CONCAT('is ', v.value, ': ', v.loses) AS what, v.value AS value,
       CONCAT('SET GLOBAL ', v.name, ' = 1;') AS remedy, CONCAT('SET GLOBAL ', v.name, ' = ', v.value, ';') AS \"undo\"
FROM (SELECT 'innodb_flush_log_at_trx_commit' AS name, @@global.innodb_flush_log_at_trx_commit AS value,
             'about a second of commits is lost when the machine stops' AS loses
      UNION ALL
      SELECT 'sync_binlog', @@global.sync_binlog,
             'after a crash the binary log lacks commits that the tables have, and whoever follows it never gets them') v
WHERE v.value <> 1
ORDER BY subject",
            limits: &[],
        },
        of: Of::Both,
    },
    Ask {
        check: Check {
            id: "HW4011",
            page: page!("HW4011"),
            asks: "SELECT v.name AS subject, 'high' AS severity, CONCAT('is ', v.value, ': ', v.lacks) AS what, v.value AS value,
       CONCAT('SET GLOBAL ', v.name, ' = ''', v.wanted, ''';') AS remedy,
       CONCAT('SET GLOBAL ', v.name, ' = ''', v.value, ''';') AS \"undo\"
FROM (SELECT 'binlog_format' AS name, @@global.binlog_format AS value, 'ROW' AS wanted,
             'the log has statements instead of what they changed' AS lacks
      UNION ALL
      SELECT 'binlog_row_image', @@global.binlog_row_image, 'FULL', 'changed rows are in the log in part'
      UNION ALL
      SELECT 'binlog_row_metadata', @@global.binlog_row_metadata, 'FULL',
             'the log does not name columns: a reader takes them by their place') v
WHERE v.value <> v.wanted AND @@global.log_bin = 1
ORDER BY subject",
            limits: &[],
        },
        of: Of::Both,
    },
    Ask {
        check: Check {
            id: "HW4012",
            page: page!("HW4012"),
            asks: "SELECT 'binlog_expire_logs_seconds' AS subject, 'medium' AS severity,
       IF(v.seconds = 0, 'binary logs are never removed: they fill the disk, and the server stops',
          CONCAT('binary logs go after ', v.seconds, ' s: a reader that is away for longer reads everything again')) AS what,
       'SET GLOBAL binlog_expire_logs_seconds = 604800;' AS remedy,
       CONCAT('SET GLOBAL binlog_expire_logs_seconds = ', v.seconds, ';') AS \"undo\"
FROM (SELECT @@global.binlog_expire_logs_seconds AS seconds) v
WHERE @@global.log_bin = 1 AND v.seconds < {seconds}
ORDER BY subject",
            limits: &[limit("seconds", 86_400.0)],
        },
        of: Of::Both,
    },
    Ask {
        check: Check {
            id: "HW4013",
            page: page!("HW4013"),
            asks: "SELECT 'innodb_buffer_pool_size' AS subject, 'medium' AS severity,
       CONCAT(ROUND(100 * r.missed / r.asked, 1), ' % of the pages that were read came from the disk: tables and indexes take ',
              ROUND(d.bytes / 1048576), ' MiB, the pool has ', ROUND(@@global.innodb_buffer_pool_size / 1048576), ' MiB') AS what,
       r.missed AS innodb_buffer_pool_reads, r.asked AS innodb_buffer_pool_read_requests, d.bytes AS data_bytes,
       CONCAT('SET GLOBAL innodb_buffer_pool_size = ', 8388608 * CEIL(d.bytes * 1.25 / 8388608), ';  -- if the machine has the memory') AS remedy,
       CONCAT('SET GLOBAL innodb_buffer_pool_size = ', @@global.innodb_buffer_pool_size, ';') AS \"undo\"
FROM (SELECT SUM(IF(variable_name = 'Innodb_buffer_pool_reads', variable_value, 0)) AS missed,
             SUM(IF(variable_name = 'Innodb_buffer_pool_read_requests', variable_value, 0)) AS asked
      FROM {status}
      WHERE variable_name IN ('Innodb_buffer_pool_reads', 'Innodb_buffer_pool_read_requests')) r,
     (SELECT SUM(data_length + index_length) AS bytes FROM information_schema.tables WHERE engine = 'InnoDB') d
WHERE r.asked >= {requests} AND r.missed >= {share} * r.asked AND d.bytes > @@global.innodb_buffer_pool_size
ORDER BY subject",
            limits: &[limit("share", 0.01), limit("requests", 1_000_000.0)],
        },
        of: Of::Both,
    },
    Ask {
        check: Check {
            id: "HW4020",
            page: page!("HW4020"),
            asks: "SELECT CONCAT('session ', t.trx_mysql_thread_id) AS subject,
       IF(TIMESTAMPDIFF(SECOND, t.trx_started, NOW()) > 10 * {seconds}, 'high', 'medium') AS severity,
       CONCAT('has had a transaction open for ', TIMESTAMPDIFF(SECOND, t.trx_started, NOW()),
              ' s: old versions of every row that is changed are kept for it') AS what,
       p.user AS user, p.command AS command, t.trx_rows_modified AS rows_modified, t.trx_started AS started,
       CONCAT('KILL ', t.trx_mysql_thread_id, ';') AS remedy
FROM information_schema.innodb_trx t
JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
WHERE TIMESTAMPDIFF(SECOND, t.trx_started, NOW()) >= {seconds}
ORDER BY t.trx_started",
            limits: &[limit("seconds", 300.0)],
        },
        of: Of::Both,
    },
    Ask {
        check: Check {
            id: "HW4021",
            page: page!("HW4021"),
            asks: "SELECT CONCAT('session ', w.blocking_pid) AS subject, 'high' AS severity,
       CONCAT('holds a lock on ', MIN(w.locked_table), ' that ',
              IF(COUNT(DISTINCT w.waiting_pid) = 1, 'another session waits', CONCAT(COUNT(DISTINCT w.waiting_pid), ' sessions wait')),
              ' for, for ', MAX(w.wait_age_secs), ' s') AS what,
       GROUP_CONCAT(DISTINCT w.waiting_pid) AS waiting, MAX(w.blocking_query) AS blocking_query,
       CONCAT('KILL ', w.blocking_pid, ';') AS remedy
FROM sys.innodb_lock_waits w
WHERE w.wait_age_secs >= {seconds}
GROUP BY w.blocking_pid
ORDER BY MAX(w.wait_age_secs) DESC",
            limits: &[limit("seconds", 10.0)],
        },
        of: Of::Both,
    },
    Ask {
        check: Check {
            id: "HW4030",
            page: page!("HW4030"),
            asks: "SELECT 'max_connections' AS subject, 'high' AS severity,
       CONCAT(s.used, ' of ', @@global.max_connections, ' connections are used') AS what, s.used AS threads_connected,
       CONCAT('SET GLOBAL max_connections = ', 2 * @@global.max_connections, ';') AS remedy,
       CONCAT('SET GLOBAL max_connections = ', @@global.max_connections, ';') AS \"undo\"
FROM (SELECT CAST(variable_value AS UNSIGNED) AS used FROM {status} WHERE variable_name = 'Threads_connected') s
WHERE s.used >= {share} * @@global.max_connections
ORDER BY subject",
            limits: &[limit("share", 0.8)],
        },
        of: Of::Both,
    },
    Ask { check: ACCOUNTS, of: Of::MariaDb },
    Ask {
        check: Check {
            asks: accounts!(
                "SELECT user, host FROM mysql.user
      WHERE plugin IN ('mysql_native_password', 'caching_sha2_password', 'sha256_password') AND authentication_string = ''
        AND account_locked = 'N'"
            ),
            ..ACCOUNTS
        },
        of: Of::MySql,
    },
    Ask { check: ENDS, of: Of::MariaDb },
    Ask {
        check: Check {
            asks: ends!(
                "MySQL",
                "SELECT '8.0' AS major, DATE '2026-04-30' AS ends UNION ALL SELECT '8.4', DATE '2032-04-30'"
            ),
            ..ENDS
        },
        of: Of::MySql,
    },
    Ask {
        check: Check {
            id: "HW4043",
            page: page!("HW4043"),
            asks: "SELECT 'performance_schema' AS subject, 'low' AS severity,
       'off: nobody can say which statement costs what' AS what,
       '[mysqld] performance_schema = ON  -- takes a restart' AS remedy
FROM (SELECT @@global.performance_schema AS value) v
WHERE v.value = 0
ORDER BY subject",
            limits: &[],
        },
        of: Of::Both,
    },
];
