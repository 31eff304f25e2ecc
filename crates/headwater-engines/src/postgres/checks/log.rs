//! The log: what is kept of it and for whom, whether it is archived, and how checkpoints go.

use headwater_model::exam::Check;

use super::{Ask, Need, limit, page};

/// What asks how checkpoints came about: the view and its columns have other names from version 17 on.
macro_rules! checkpoints {
    ($view:literal, $forced:literal, $timed:literal, $reset:literal) => {
        concat!(
            "SELECT 'max_wal_size' AS subject, 'medium' AS severity,
       format('%s of %s checkpoints were forced because max_wal_size (%s) was full: writes come in bursts and pages are logged whole more often',
              b.", $forced, ", b.", $forced, " + b.", $timed, ", current_setting('max_wal_size')) AS what,
       b.", $forced, " AS forced, b.", $timed, " AS timed, b.stats_reset AS counted_since,
       current_setting('checkpoint_timeout') AS checkpoint_timeout,
       format(E'ALTER SYSTEM SET max_wal_size = ''%sMB'';\\nSELECT pg_reload_conf();\\nSELECT pg_stat_reset_shared(''", $reset, "'');  -- count anew', 4 * s.mb) AS remedy,
       format(E'ALTER SYSTEM SET max_wal_size = ''%sMB'';\\nSELECT pg_reload_conf();', s.mb) AS undo
FROM ", $view, " b, (SELECT setting::bigint AS mb FROM pg_settings WHERE name = 'max_wal_size') s
WHERE b.", $forced, " > b.", $timed, " AND b.", $forced, " >= {checkpoints}"
        )
    };
}

const CHECKPOINTS: Check = Check {
    id: "HW1032",
    page: page!("HW1032"),
    asks: checkpoints!("pg_stat_bgwriter", "checkpoints_req", "checkpoints_timed", "bgwriter"),
    limits: &[limit("checkpoints", 10.0)],
};

pub(super) const CHECKS: &[Ask] = &[
    Ask {
        check: Check {
            id: "HW1030",
            page: page!("HW1030"),
            asks: "SELECT format('replication slot %s', s.slot_name) AS subject,
       CASE WHEN s.wal_status = 'lost' OR NOT s.active THEN 'high' ELSE 'medium' END AS severity,
       CASE WHEN s.wal_status = 'lost' THEN 'the log it needs is gone: its reader must start anew'
            WHEN NOT s.active THEN format('nobody reads it, and it keeps %s of log', pg_size_pretty(kept.bytes))
            ELSE format('keeps %s of log (%s)', pg_size_pretty(kept.bytes), s.wal_status) END AS what,
       s.slot_type, s.plugin, s.database, s.active, s.wal_status, kept.bytes AS kept_bytes,
       current_setting('max_slot_wal_keep_size') AS max_slot_wal_keep_size,
       CASE WHEN NOT s.active THEN format('SELECT pg_drop_replication_slot(%L);', s.slot_name)
            ELSE E'ALTER SYSTEM SET max_slot_wal_keep_size = ''20GB'';\\nSELECT pg_reload_conf();' END AS remedy
FROM pg_replication_slots s
CROSS JOIN LATERAL (
  SELECT pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END,
                         s.restart_lsn)::bigint AS bytes) kept
WHERE NOT s.temporary
  AND (s.wal_status = 'lost' OR NOT s.active AND coalesce(kept.bytes, 0) >= {idle_bytes}
       OR kept.bytes >= {bytes} OR s.wal_status = 'unreserved')
ORDER BY kept.bytes DESC",
            limits: &[limit("idle_bytes", 67_108_864.0), limit("bytes", 10_737_418_240.0)],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1031",
            page: page!("HW1031"),
            asks: "SELECT 'max_slot_wal_keep_size' AS subject, 'medium' AS severity,
       format('nothing bounds the log that %s may keep: a reader that stays away fills the disk, and the server stops',
              CASE count(*) WHEN 1 THEN 'a replication slot' ELSE count(*) || ' replication slots' END) AS what,
       count(*) AS slots, string_agg(slot_name, ', ' ORDER BY slot_name) AS names,
       E'ALTER SYSTEM SET max_slot_wal_keep_size = ''20GB'';\\nSELECT pg_reload_conf();' AS remedy,
       E'ALTER SYSTEM RESET max_slot_wal_keep_size;\\nSELECT pg_reload_conf();' AS undo
FROM pg_replication_slots
WHERE NOT temporary AND current_setting('max_slot_wal_keep_size') = '-1'
HAVING count(*) > 0",
            limits: &[],
        },
        needs: &[],
    },
    Ask { check: CHECKPOINTS, needs: &[Need::Before(170_000)] },
    Ask {
        check: Check {
            asks: checkpoints!("pg_stat_checkpointer", "num_requested", "num_timed", "checkpointer"),
            ..CHECKPOINTS
        },
        needs: &[Need::Since(170_000)],
    },
    Ask {
        check: Check {
            id: "HW1033",
            page: page!("HW1033"),
            asks: "SELECT format('standby %s', coalesce(nullif(application_name, ''), client_addr::text, pid::text)) AS subject,
       CASE WHEN replay_lag > make_interval(secs => 10 * {seconds}) THEN 'high' ELSE 'medium' END AS severity,
       format('applies the log %s late (%s to go): reads there are that old, and a failover takes that much longer',
              coalesce(date_trunc('second', replay_lag)::text, '?'), pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))) AS what,
       state, sync_state, sent_lsn, replay_lsn, replay_lag,
       CASE WHEN pg_wal_lsn_diff(sent_lsn, flush_lsn) > pg_wal_lsn_diff(flush_lsn, replay_lsn) THEN 'network or disk of the standby'
            ELSE 'replay: one process, or a query there that replay waits for' END AS held_up_by,
       'SELECT pid, wait_event, left(query, 80) FROM pg_stat_activity WHERE state = ''active'';  -- on the standby: what replay waits for' AS remedy
FROM pg_stat_replication
WHERE NOT pg_is_in_recovery()
  AND (replay_lag >= make_interval(secs => {seconds}) OR pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) >= {bytes})
  AND application_name NOT LIKE 'headwater%'
ORDER BY replay_lag DESC NULLS LAST",
            limits: &[limit("seconds", 30.0), limit("bytes", 1_073_741_824.0)],
        },
        needs: &[Need::AllStatistics],
    },
    Ask {
        check: Check {
            id: "HW1034",
            page: page!("HW1034"),
            asks: "SELECT 'archive_command' AS subject, 'critical' AS severity,
       format('archiving fails since %s (%s times; %s): the log piles up on the server''s disk, and no restore reaches beyond that time',
              to_char(coalesce(last_archived_time, stats_reset), 'YYYY-MM-DD HH24:MI'), failed_count, last_failed_wal) AS what,
       archived_count, failed_count, last_archived_time, last_failed_time, last_failed_wal,
       'SHOW archive_command;  -- run it by hand for this file and mend what it says' AS remedy
FROM pg_stat_archiver
WHERE current_setting('archive_mode') <> 'off' AND last_failed_time > coalesce(last_archived_time, '-infinity')
UNION ALL
SELECT 'archive_mode', 'medium',
       'the log is not archived by this server: unless it is backed up by other means, a lost disk loses everything since the last dump',
       archived_count, failed_count, last_archived_time, last_failed_time, last_failed_wal,
       E'ALTER SYSTEM SET archive_mode = on;  -- and archive_command: see the page; takes a restart'
FROM pg_stat_archiver
WHERE current_setting('archive_mode') = 'off' AND NOT pg_is_in_recovery()
  AND NOT EXISTS (SELECT FROM pg_stat_replication WHERE application_name IN ('pg_receivewal', 'barman', 'barman_receive_wal'))
  AND NOT EXISTS (SELECT FROM pg_settings WHERE name LIKE 'rds.%')",
            limits: &[],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1035",
            page: page!("HW1035"),
            asks: "SELECT 'archive_timeout' AS subject, 'medium' AS severity,
       format('nothing has been archived since %s, because a segment of the log is archived when it is full: what was committed since then '
              'is on this server''s disk alone', to_char(since, 'YYYY-MM-DD HH24:MI')) AS what,
       last_archived_wal, last_archived_time, current_setting('archive_timeout') AS archive_timeout,
       E'ALTER SYSTEM SET archive_timeout = ''5min'';\nSELECT pg_reload_conf();' AS remedy,
       E'ALTER SYSTEM RESET archive_timeout;\nSELECT pg_reload_conf();' AS undo
FROM (SELECT *, coalesce(last_archived_time, stats_reset) AS since FROM pg_stat_archiver) archiver
WHERE current_setting('archive_mode') <> 'off' AND (SELECT setting = '0' FROM pg_settings WHERE name = 'archive_timeout')
  AND since < now() - {minutes} * interval '1 minute'
  AND coalesce(last_failed_time, '-infinity') <= coalesce(last_archived_time, '-infinity')
  AND CASE WHEN pg_is_in_recovery() THEN false
           ELSE (pg_walfile_name_offset(pg_current_wal_insert_lsn())).file_offset > 16384 END",
            limits: &[limit("minutes", 60.0)],
        },
        needs: &[],
    },
];
