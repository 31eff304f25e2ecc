//! Settings of the server that cost durability, speed or sight.

use headwater_model::exam::Check;

use super::{Ask, Need, limit, page};

pub(super) const CHECKS: &[Ask] = &[
    Ask {
        check: Check {
            id: "HW1040",
            page: page!("HW1040"),
            asks: "SELECT name AS subject, CASE WHEN name = 'synchronous_commit' THEN 'medium' ELSE 'critical' END AS severity,
       CASE name WHEN 'fsync' THEN 'off: a crash of the machine can destroy the whole cluster'
                 WHEN 'full_page_writes' THEN 'off: a crash during a write leaves torn pages that recovery does not mend'
                 WHEN 'zero_damaged_pages' THEN 'on: damaged pages are emptied silently'
                 WHEN 'ignore_checksum_failure' THEN 'on: damaged pages are read as if they were whole'
                 ELSE 'off: commits that were acknowledged are lost in a crash' END AS what,
       setting, source, sourcefile,
       format(E'ALTER SYSTEM SET %I = %s;\\nSELECT pg_reload_conf();', name, boot_val) AS remedy
FROM pg_settings
WHERE (name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND reset_val = 'off')
   OR (name IN ('zero_damaged_pages', 'ignore_checksum_failure') AND reset_val = 'on')
ORDER BY name",
            limits: &[],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1041",
            page: page!("HW1041"),
            asks: "SELECT 'database ' || quote_ident(datname) AS subject, 'critical' AS severity,
       format('%s pages did not match their checksums, the last on %s: the disk or its memory loses data',
              checksum_failures, to_char(checksum_last_failure, 'YYYY-MM-DD HH24:MI')) AS what,
       checksum_failures, checksum_last_failure,
       'SELECT pg_promote();  -- on a standby, after checking it with pg_amcheck; then rebuild this server' AS remedy
FROM pg_stat_database WHERE checksum_failures > 0
UNION ALL
SELECT 'data_checksums', 'medium', 'off: damage by disk or memory is found only when it is too late', NULL, NULL,
       'pg_checksums --enable -D DATA_FOLDER  # with the server stopped, or on a standby before a switchover'
WHERE current_setting('data_checksums') = 'off'",
            limits: &[],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1042",
            page: page!("HW1042"),
            asks: "SELECT name AS subject, 'low' AS severity,
       format('a new value waits for a restart; %s is in force', coalesce(nullif(setting, ''), 'nothing')) AS what,
       setting, unit, sourcefile, 'pg_ctl restart -D DATA_FOLDER -m fast  # in the next window' AS remedy
FROM pg_settings WHERE pending_restart ORDER BY name",
            limits: &[],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1043",
            page: page!("HW1043"),
            asks: "SELECT 'pg_stat_statements' AS subject, 'medium' AS severity,
       CASE WHEN current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'
            THEN 'is loaded, but this database has no view of it' ELSE 'is not loaded: nobody can say which statement costs what' END AS what,
       current_setting('shared_preload_libraries') AS shared_preload_libraries,
       CASE WHEN current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%' THEN 'CREATE EXTENSION pg_stat_statements;'
            ELSE format(E'ALTER SYSTEM SET shared_preload_libraries = %L;  -- takes a restart\\nCREATE EXTENSION pg_stat_statements;  -- after it',
                        concat_ws(',', nullif(current_setting('shared_preload_libraries'), ''), 'pg_stat_statements')) END AS remedy
WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements')
UNION ALL
SELECT 'track_io_timing', 'low', 'off: no statistics say how long reads take', current_setting('shared_preload_libraries'),
       E'ALTER SYSTEM SET track_io_timing = on;\\nSELECT pg_reload_conf();'
WHERE current_setting('track_io_timing') = 'off'",
            limits: &[],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1044",
            page: page!("HW1044"),
            asks: "SELECT 'max_connections' AS subject,
       CASE WHEN used.n >= 0.95 * used.most THEN 'critical' ELSE 'high' END AS severity,
       format('%s of %s connections are taken, %s of them idle: at the end nobody gets in', used.n, used.most, used.idle) AS what,
       used.n AS connections, used.idle, used.most AS max_connections,
       (SELECT string_agg(format('%s %s', n, who), ', ')
        FROM (SELECT count(*) AS n, coalesce(nullif(application_name, ''), usename) AS who FROM pg_stat_activity
              WHERE backend_type = 'client backend' GROUP BY 2 ORDER BY 1 DESC LIMIT 5) top) AS most_by,
       (SELECT format('ALTER ROLE %I CONNECTION LIMIT %s;', usename, greatest(1, used.most / 2))
        FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename IS NOT NULL
        GROUP BY usename ORDER BY count(*) DESC LIMIT 1) AS remedy
FROM (
  SELECT count(*) AS n, count(*) FILTER (WHERE state = 'idle') AS idle,
         current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most
  FROM pg_stat_activity WHERE backend_type = 'client backend') used
WHERE used.n >= {share} * used.most",
            limits: &[limit("share", 0.9)],
        },
        needs: &[Need::AllStatistics],
    },
    Ask {
        check: Check {
            id: "HW1045",
            page: page!("HW1045"),
            asks: "SELECT 'PostgreSQL ' || v.major AS subject, CASE WHEN now() > v.ends THEN 'high' ELSE 'medium' END AS severity,
       format('its last fixes %s on %s', CASE WHEN now() > v.ends THEN 'came' ELSE 'come' END, to_char(v.ends, 'YYYY-MM-DD')) AS what,
       current_setting('server_version') AS version, v.ends::date AS supported_until,
       'pg_upgrade  # to the newest major version, on a copy first: see the page' AS remedy
FROM (VALUES (15, timestamptz '2027-11-11'), (16, timestamptz '2028-11-09'), (17, timestamptz '2029-11-08'),
             (18, timestamptz '2030-11-14')) v(major, ends)
WHERE v.major = current_setting('server_version_num')::int / 10000
  AND now() > v.ends - make_interval(days => {days}::int)",
            limits: &[limit("days", 180.0)],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1046",
            page: page!("HW1046"),
            asks: "SELECT 'database ' || quote_ident(datname) AS subject, 'high' AS severity,
       format('was sorted by version %s of its collation, the machine now has %s: text indexes may miss rows',
              datcollversion, pg_database_collation_actual_version(oid)) AS what,
       datcollate AS collation, datcollversion AS made_with, pg_database_collation_actual_version(oid) AS now,
       format(E'REINDEX DATABASE CONCURRENTLY %1$I;\\nALTER DATABASE %1$I REFRESH COLLATION VERSION;', datname) AS remedy
FROM pg_database
WHERE datname = current_database() AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid)
  AND datcollversion IS NOT NULL",
            limits: &[],
        },
        needs: &[],
    },
];
