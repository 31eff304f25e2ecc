//! Who may do what, and how they come in.

use headwater_model::exam::Check;

use super::{Ask, Need, limit, page};

pub(super) const CHECKS: &[Ask] = &[
    Ask {
        check: Check {
            id: "HW1050",
            page: page!("HW1050"),
            asks: "SELECT format('role %I', a.usename) AS subject, 'high' AS severity,
       format('%s of its sessions come over the network without TLS: passwords and rows can be read on the way', count(*)) AS what,
       string_agg(DISTINCT host(a.client_addr), ', ') AS from_addresses, current_setting('ssl') AS ssl,
       CASE current_setting('ssl') WHEN 'on' THEN 'hostssl  # instead of host, in pg_hba.conf for this role; then SELECT pg_reload_conf();'
            ELSE E'ALTER SYSTEM SET ssl = on;  -- with server.crt and server.key in the data folder\\nSELECT pg_reload_conf();' END AS remedy
FROM pg_stat_ssl x JOIN pg_stat_activity a USING (pid)
WHERE NOT x.ssl AND a.client_addr IS NOT NULL AND NOT a.client_addr <<= '127.0.0.0/8' AND a.client_addr <> '::1'
GROUP BY a.usename
ORDER BY count(*) DESC",
            limits: &[],
        },
        needs: &[Need::AllStatistics],
    },
    Ask {
        check: Check {
            id: "HW1051",
            page: page!("HW1051"),
            asks: "SELECT format('pg_hba.conf line %s', line_number) AS subject,
       CASE WHEN auth_method = 'trust' THEN 'critical' ELSE 'medium' END AS severity,
       CASE auth_method WHEN 'trust' THEN format('anyone at %s is let in without a password', where_from)
            ELSE format('%s is asked for by %s: it can be read or guessed offline', where_from, auth_method) END AS what,
       type, database, user_name, address, netmask, auth_method,
       format('%s  %s  %s  %s  scram-sha-256  # line %s of pg_hba.conf; then SELECT pg_reload_conf();',
              type, array_to_string(database, ','), array_to_string(user_name, ','), where_from, line_number) AS remedy
FROM (SELECT *, concat_ws(' ', address, netmask) AS where_from FROM pg_hba_file_rules) rules
WHERE auth_method IN ('trust', 'password', 'md5') AND type <> 'local'
  AND coalesce(address, '') NOT IN ('127.0.0.1', '::1', 'localhost', 'samehost') AND coalesce(address, '') NOT LIKE '127.%'
ORDER BY line_number",
            limits: &[],
        },
        needs: &[Need::Grants(
            "GRANT SELECT ON pg_hba_file_rules TO {role};\nGRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO {role};",
        )],
    },
    Ask {
        check: Check {
            id: "HW1052",
            page: page!("HW1052"),
            asks: "SELECT format('role %I', r.rolname) AS subject, 'high' AS severity,
       format('logs in with more than an application needs: %s',
              concat_ws(', ', CASE WHEN r.rolsuper THEN 'superuser' END, CASE WHEN r.rolcreaterole THEN 'createrole' END,
                        CASE WHEN r.rolbypassrls AND NOT r.rolsuper THEN 'bypassrls' END,
                        CASE WHEN dangerous.roles IS NOT NULL THEN 'member of ' || dangerous.roles END)) AS what,
       used.sessions, used.applications,
       concat_ws(E'\\n', format('ALTER ROLE %I NOSUPERUSER NOCREATEROLE NOBYPASSRLS;', r.rolname),
                 CASE WHEN dangerous.roles IS NOT NULL THEN format('REVOKE %s FROM %I;', dangerous.roles, r.rolname) END) AS remedy,
       format('ALTER ROLE %I %s;', r.rolname,
              concat_ws(' ', CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
                        CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END)) AS undo
FROM pg_roles r
CROSS JOIN LATERAL (
  SELECT count(*) AS sessions, string_agg(DISTINCT nullif(a.application_name, ''), ', ') AS applications
  FROM pg_stat_activity a
  WHERE a.usename = r.rolname AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
    AND a.application_name !~ '^(psql|pg_|pgAdmin)') used
CROSS JOIN LATERAL (
  SELECT string_agg(quote_ident(g.rolname), ', ' ORDER BY g.rolname) AS roles
  FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
  WHERE m.member = r.oid AND g.rolname IN ('pg_write_server_files', 'pg_execute_server_program', 'pg_read_server_files')) dangerous
WHERE r.rolcanlogin AND used.sessions > 0
  AND (r.rolsuper OR r.rolcreaterole OR r.rolbypassrls OR dangerous.roles IS NOT NULL)
ORDER BY r.rolname",
            limits: &[],
        },
        needs: &[Need::AllStatistics],
    },
    Ask {
        check: Check {
            id: "HW1053",
            page: page!("HW1053"),
            asks: "SELECT p.oid::regprocedure::text AS subject, 'high' AS severity,
       format('runs with the rights of %I and looks names up where its caller says: whoever may create objects there can become %I',
              r.rolname, r.rolname) AS what,
       r.rolname AS owner, r.rolsuper AS owner_is_superuser, l.lanname AS language,
       format('ALTER FUNCTION %s SET search_path = %s, pg_temp;', p.oid::regprocedure, quote_ident(n.nspname)) AS remedy,
       format('ALTER FUNCTION %s RESET search_path;', p.oid::regprocedure) AS undo
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_roles r ON r.oid = p.proowner
JOIN pg_language l ON l.oid = p.prolang
WHERE p.prosecdef AND p.prokind = 'f' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
ORDER BY r.rolsuper DESC, 1",
            limits: &[],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1054",
            page: page!("HW1054"),
            asks: "SELECT format('schema %I', n.nspname) AS subject, 'medium' AS severity,
       'everybody who can connect may create objects in it, such as functions that others then call unawares' AS what,
       pg_get_userbyid(n.nspowner) AS owner, array_to_string(n.nspacl, ' ') AS privileges,
       format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC;', n.nspname) AS remedy,
       format('GRANT CREATE ON SCHEMA %I TO PUBLIC;', n.nspname) AS undo
FROM pg_namespace n, aclexplode(n.nspacl) a
WHERE a.grantee = 0 AND a.privilege_type = 'CREATE' AND n.nspname !~ '^pg_'",
            limits: &[],
        },
        needs: &[],
    },
    Ask {
        check: Check {
            id: "HW1055",
            page: page!("HW1055"),
            asks: "SELECT format('role %I', r.rolname) AS subject,
       CASE WHEN r.rolvaliduntil < now() THEN 'high' ELSE 'medium' END AS severity,
       CASE WHEN r.rolvaliduntil < now() THEN format('its password ended on %s', to_char(r.rolvaliduntil, 'YYYY-MM-DD'))
            ELSE format('its password ends on %s: then nobody gets in with it', to_char(r.rolvaliduntil, 'YYYY-MM-DD HH24:MI')) END AS what,
       r.rolvaliduntil AS valid_until,
       (SELECT count(*) FROM pg_stat_activity a WHERE a.usename = r.rolname) AS sessions,
       format('ALTER ROLE %I VALID UNTIL %L;', r.rolname, (now() + interval '90 days')::date) AS remedy
FROM pg_roles r
WHERE r.rolcanlogin AND r.rolvaliduntil < now() + make_interval(days => {days}::int) AND isfinite(r.rolvaliduntil)
  AND EXISTS (SELECT FROM pg_stat_activity a WHERE a.usename = r.rolname)
ORDER BY r.rolvaliduntil",
            limits: &[limit("days", 14.0)],
        },
        needs: &[Need::AllStatistics],
    },
];
