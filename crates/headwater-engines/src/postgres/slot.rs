//! The replication slot as the server sees it: its state, its making, its end.

use std::time::Duration;

use headwater_model::{Error, ErrorKind, Result};
use tokio::time::{Instant, sleep};

use super::config::Config;
use super::connection::Connection;
use super::{lsn, sql};

/// How long to wait for a slot that another session holds: long enough for the session of a crashed predecessor to
/// be noticed by the server.
const BUSY_FOR: Duration = Duration::from_secs(3);

/// Making a slot waits for all open transactions to end.
const MAKE_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(super) struct SlotState {
    pub active_pid: Option<u32>,
    pub confirmed: u64,
    /// The server has removed log that the slot needs.
    pub lost: bool,
    pub retained_bytes: u64,
}

/// `None` if there is no such slot. A slot of another kind is a misconfiguration.
pub(super) async fn state(connection: &mut Connection, config: &Config) -> Result<Option<SlotState>> {
    let rows = connection
        .query(&format!(
            "SELECT plugin, coalesce(database, ''), active_pid, confirmed_flush_lsn, coalesce(wal_status, ''),
                    pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                         ELSE pg_current_wal_lsn() END, restart_lsn)::int8,
                    database = current_database()
             FROM pg_replication_slots WHERE slot_name = {}",
            sql::literal(&config.slot)
        ))
        .await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let [plugin, database, active_pid, confirmed, status, retained, ours] = &row[..] else {
        return Err(Error::bug("a slot has seven columns"));
    };
    if plugin.as_deref() != Some("pgoutput") || ours.as_deref() != Some("t") {
        return Err(Error::misconfigured(format!(
            "the slot \"{}\" belongs to {}",
            config.slot,
            match (plugin, database) {
                (None, _) => "physical replication".to_owned(),
                (Some(plugin), Some(database)) => format!("plugin {plugin} in database \"{database}\""),
                (Some(plugin), None) => format!("plugin {plugin}"),
            }
        ))
        .with_remedy("set another `slot` in [source]"));
    }
    Ok(Some(SlotState {
        active_pid: active_pid.as_ref().and_then(|pid| pid.parse().ok()),
        confirmed: confirmed.as_deref().map_or(Ok(0), lsn::parse)?,
        lost: status.as_deref() == Some("lost") || confirmed.is_none(),
        retained_bytes: retained.as_ref().and_then(|bytes| bytes.parse().ok()).unwrap_or(0),
    }))
}

/// Waits, bounded, until no session holds the slot.
pub(super) async fn wait_until_free(
    connection: &mut Connection,
    config: &Config,
) -> Result<Option<SlotState>> {
    let deadline = Instant::now() + BUSY_FOR;
    loop {
        let state = state(connection, config).await?;
        match state.as_ref().and_then(|state| state.active_pid) {
            None => return Ok(state),
            Some(pid) if Instant::now() >= deadline => return Err(busy(config, pid)),
            Some(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

fn busy(config: &Config, pid: u32) -> Error {
    Error::transient(format!("the slot \"{}\" is in use by the server process {pid}", config.slot))
        .with_remedy("another instance is following; this one waits as its standby")
}

pub(super) fn create_sql(config: &Config, version: u32) -> String {
    // From 17 on, a slot can be kept in step on a standby, so that a failover does not lose it.
    let failover = if version >= 170_000 { ", failover => true" } else { "" };
    format!("SELECT pg_create_logical_replication_slot({}, 'pgoutput'{failover})", sql::literal(&config.slot))
}

pub(super) async fn create(connection: &mut Connection, config: &Config) -> Result<()> {
    let command = create_sql(config, connection.version());
    connection.query(&format!("SET statement_timeout = {}", MAKE_WITHIN.as_millis())).await?;
    let made = connection.query(&command).await;
    match made {
        Ok(_) => {
            connection.query("SET statement_timeout = 0").await?;
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::Denied => {
            let role = sql::identifier(&config.user);
            Err(error
                .while_doing("create the replication slot")
                .with_remedy(format!("ALTER ROLE {role} REPLICATION, or run as a superuser: {command}")))
        }
        Err(error) if error.kind() == ErrorKind::Misconfigured => {
            Err(error.while_doing("create the replication slot").with_remedy(
                "raise max_replication_slots and max_wal_senders, or drop a slot that nobody uses: \
                 SELECT slot_name, active FROM pg_replication_slots",
            ))
        }
        Err(error) if error.kind() == ErrorKind::Transient => {
            Err(error.while_doing("create the replication slot").with_remedy(
                "making a slot waits for all open transactions; the oldest: SELECT pid, xact_start, query FROM \
                 pg_stat_activity WHERE xact_start IS NOT NULL ORDER BY xact_start",
            ))
        }
        Err(error) => Err(error.while_doing("create the replication slot")),
    }
}

pub(super) async fn drop(connection: &mut Connection, config: &Config) -> Result<()> {
    let name = sql::literal(&config.slot);
    connection
        .query(&format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {name}"
        ))
        .await
        .map_err(|error| error.while_doing("drop the replication slot"))?;
    Ok(())
}
