//! What following needs of the server: looked at, and the one thing that is made, the table for marks.

use headwater_model::{Error, ErrorKind, Result, Risk, Severity, TableName};

use super::catalog::{self, MARKS, quoted};
use super::config::Config;
use super::connection::{Connection, text};

/// Tables that can be followed, and a table for marks.
pub(super) async fn prepare(
    connection: &mut Connection,
    config: &Config,
    wanted: &[TableName],
) -> Result<()> {
    if wanted.is_empty() {
        return Err(Error::misconfigured("no table is to be followed"));
    }
    if let Some(risk) =
        risks(connection, config).await?.into_iter().find(|risk| risk.severity == Severity::Error)
    {
        return Err(Error::misconfigured(risk.what).with_remedy(risk.remedy));
    }
    let described = catalog::describe(connection, Some(wanted)).await?;
    for name in wanted {
        let Some(table) = described.get(name) else {
            return Err(Error::misconfigured(format!("there is no table {name}")));
        };
        if let Some((what, remedy)) = table.obstacle() {
            return Err(Error::misconfigured(format!("table {name}: {what}")).with_remedy(remedy));
        }
    }
    let has = format!(
        "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{MARKS}'"
    );
    if connection.rows(&has).await?.first().is_some_and(|row| text(row, 0) == "0") {
        let create = create_marks();
        connection.run(&create).await.map_err(|error| match error.kind() {
            ErrorKind::Denied => error
                .while_doing("make the table for marks")
                .with_remedy(format!("{create}; {}", grant_marks(config))),
            _ => error.while_doing("make the table for marks"),
        })?;
    }
    Ok(())
}

fn create_marks() -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {MARKS} (id INT PRIMARY KEY, chunk BIGINT UNSIGNED NOT NULL, \
         written BIGINT UNSIGNED NOT NULL) ENGINE = InnoDB"
    )
}

fn grant_marks(config: &Config) -> String {
    format!("GRANT SELECT, INSERT, UPDATE ON {}.{MARKS} TO {}", quoted(&config.database), account(config))
}

fn account(config: &Config) -> String {
    format!("'{}'@'%'", config.user)
}

/// Writes a mark. It is a change of a row, so it comes to lie behind everything that is committed.
pub(super) async fn mark(connection: &mut Connection, config: &Config, chunk: u64) -> Result<()> {
    let sql = format!(
        "INSERT INTO {MARKS} VALUES (1, {chunk}, 1) ON DUPLICATE KEY UPDATE chunk = {chunk}, written = written + 1"
    );
    connection.run(&sql).await.map_err(|error| match error.kind() {
        ErrorKind::Denied => error.while_doing("put a mark into the log").with_remedy(grant_marks(config)),
        _ => error.while_doing("put a mark into the log"),
    })
}

pub(super) async fn forget(connection: &mut Connection) -> Result<()> {
    match connection.run(&format!("DROP TABLE IF EXISTS {MARKS}")).await {
        // Whoever made it for us can drop it; it holds one row.
        Err(error) if error.kind() == ErrorKind::Denied => Ok(()),
        done => done,
    }
}

/// Settings and privileges of the server, as far as they concern following.
pub(super) async fn risks(connection: &mut Connection, config: &Config) -> Result<Vec<Risk>> {
    let rows = connection
        .rows(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'binlog_row_image', \
             'binlog_row_metadata', 'server_id', 'gtid_mode', 'gtid_strict_mode', 'binlog_row_value_options', \
             'expire_logs_days', 'binlog_expire_logs_seconds')",
        )
        .await?;
    let of = |name: &str| rows.iter().find(|row| text(row, 0) == name).map(|row| text(row, 1));
    let mut risks = Vec::new();
    let mut risk = |severity, what: String, remedy: &str| {
        risks.push(Risk { severity, what, remedy: remedy.into() });
    };
    let mariadb = connection.about.mariadb;
    let set = if mariadb { "SET GLOBAL" } else { "SET PERSIST" };
    if of("log_bin").as_deref() != Some("ON") {
        risk(
            Severity::Error,
            "the server keeps no binary log".into(),
            "set log_bin, binlog_format = ROW and binlog_row_metadata = FULL in the server's configuration and restart it",
        );
    }
    for (name, wanted, why) in [
        ("binlog_format", "ROW", "so the log does not hold the rows that changed"),
        ("binlog_row_image", "FULL", "so the log holds only parts of the rows that changed"),
        ("binlog_row_metadata", "FULL", "so the log does not name the columns of its rows"),
    ] {
        match of(name) {
            Some(value) if value.eq_ignore_ascii_case(wanted) => {}
            Some(value) => risk(
                Severity::Error,
                format!("{name} is {value}, {why}"),
                &format!(
                    "{set} {name} = {wanted}; sessions that are open keep theirs until they connect again"
                ),
            ),
            None => risk(
                Severity::Error,
                format!("the server has no {name}: it is older than MariaDB 10.5 or MySQL 8.0"),
                "use MariaDB 10.5 or MySQL 8.0, or later",
            ),
        }
    }
    if of("server_id").as_deref() == Some("0") {
        risk(
            Severity::Error,
            "server_id is 0, so nobody can follow".into(),
            "set server_id to a number of its own",
        );
    }
    if of("binlog_row_value_options").is_some_and(|value| !value.is_empty()) {
        risk(
            Severity::Error,
            "binlog_row_value_options is set, so the log holds parts of JSON values".into(),
            "SET PERSIST binlog_row_value_options = ''",
        );
    }
    if !mariadb && of("gtid_mode").as_deref() != Some("ON") {
        risk(
            Severity::Error,
            format!(
                "gtid_mode is {}, so places in the log mean nothing on a replica",
                of("gtid_mode").unwrap_or_default()
            ),
            "SET PERSIST gtid_mode = ON, in the steps that MySQL's manual has for it",
        );
    }
    if mariadb && of("gtid_strict_mode").as_deref() != Some("ON") {
        risk(
            Severity::Warning,
            "gtid_strict_mode is OFF: a replica that somebody writes to may give the same numbers to other transactions".into(),
            "SET GLOBAL gtid_strict_mode = ON, and in the server's configuration",
        );
    }
    let grants: Vec<String> =
        connection.rows("SHOW GRANTS").await?.iter().map(|row| text(row, 0).to_uppercase()).collect();
    let has = |names: &[&str]| grants.iter().any(|grant| names.iter().any(|name| grant.contains(name)));
    if !has(&["ALL PRIVILEGES ON *.*", "REPLICATION SLAVE"]) {
        risk(
            Severity::Error,
            format!("the user {} may not read the binary log", config.user),
            &format!("GRANT REPLICATION SLAVE ON *.* TO {}", account(config)),
        );
    }
    if !has(&["ALL PRIVILEGES ON *.*", "BINLOG MONITOR", "REPLICATION CLIENT"]) {
        let privilege = if mariadb { "BINLOG MONITOR" } else { "REPLICATION CLIENT" };
        risk(
            Severity::Error,
            format!("the user {} may not ask where the binary log ends", config.user),
            &format!("GRANT {privilege} ON *.* TO {}", account(config)),
        );
    }
    Ok(risks)
}
