//! Publication and slot: made for exactly the tables that are followed, in the order that loses nothing.
//!
//! Invariant: a slot never outlives a change of the publication that its log does not know. The publication is made
//! before the slot, because the log is decoded with the catalog as it was; and when tables join a publication that a
//! slot already reads, every transaction that was open then must end before a chunk of them is read, because
//! what such a transaction wrote earlier is not published and its commit may be invisible to the chunk.

use std::collections::BTreeSet;
use std::time::Duration;

use headwater_model::{Error, ErrorKind, Result, TableName};
use tokio::time::{Instant, sleep};

use super::config::Config;
use super::connection::Connection;
use super::tables::TableState;
use super::{slot, sql, tables};

/// What a publication that is not settled says of itself.
const UNSETTLED: &str = "headwater: waits for transactions that were open when tables were added";
const SETTLED: &str = "headwater";
const SETTLE_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct Prepared {
    pub tables: Vec<TableState>,
    /// Those that were not published, all of each, until now.
    pub joined: Vec<TableName>,
    /// That they joined is on record at the server, until [`settled`] is called: a caller that dies before it has made its
    /// own note is told again.
    pub unsettled: bool,
}

pub(super) async fn prepare(
    connection: &mut Connection,
    config: &Config,
    wanted: &[TableName],
) -> Result<Prepared> {
    check_server(connection).await?;
    if wanted.is_empty() {
        return Err(Error::misconfigured("no table is to be followed"));
    }
    let states = tables::states(connection, Some(wanted)).await?;
    tables::refuse(wanted, &states, &config.user)?;

    let existing = publication(connection, config).await?;
    let mut state = slot::state(connection, config).await?;
    // Neither can be continued: the log before a new publication cannot be decoded for it, and lost log is lost.
    // `follow` sees from the new slot's start that there is a gap.
    let unusable = state.as_ref().is_some_and(|state| state.lost) || existing.is_none();
    if unusable && state.is_some() {
        slot::wait_until_free(connection, config).await?;
        slot::drop(connection, config).await?;
        state = None;
    }
    let takes_away = existing.as_ref().is_some_and(|publication| {
        !publication.all_tables && !publication.tables.is_subset(&with_schemas(wanted))
    });
    let was_unsettled = existing.as_ref().is_some_and(|publication| publication.unsettled);
    let joined: Vec<TableName> = match &existing {
        // Which of them it was is not on record.
        Some(publication) if !publication.unsettled => {
            wanted.iter().filter(|table| !publication.tells_all_of(table)).cloned().collect()
        }
        _ => wanted.to_vec(),
    };
    if (takes_away || !joined.is_empty()) && state.is_some() {
        // Whoever follows now still needs what would be taken away, and must itself find that something is missing: a
        // standby waits its turn.
        slot::wait_until_free(connection, config).await?;
    }
    let added = publish(connection, config, wanted, existing.as_ref()).await?;
    let unsettled = added || was_unsettled;
    if state.is_none() {
        slot::create(connection, config).await?;
    } else if unsettled {
        settle(connection).await?;
    }
    Ok(Prepared { tables: states, joined, unsettled })
}

/// Best effort: a publication that someone else made keeps its own comment, and then says nothing of being settled.
pub(super) async fn settled(connection: &mut Connection, config: &Config) {
    let name = sql::identifier(&config.publication);
    let _ = connection.query(&format!("COMMENT ON PUBLICATION {name} IS {}", sql::literal(SETTLED))).await;
}

async fn check_server(connection: &mut Connection) -> Result<()> {
    if connection.version() < 150_000 {
        let version = connection.server_version();
        return Err(Error::unsupported(format!("PostgreSQL {version} is too old"))
            .with_remedy("use PostgreSQL 15 or later"));
    }
    let rows = connection.query("SELECT current_setting('wal_level'), pg_is_in_recovery()").await?;
    let cell = |i: usize| rows.first().and_then(|row| row.get(i).cloned().flatten()).unwrap_or_default();
    if cell(1) == "t" {
        return Err(standby());
    }
    if cell(0) != "logical" {
        return Err(Error::misconfigured(format!(
            "wal_level is {}, so the log holds no rows to follow",
            cell(0)
        ))
        .with_remedy("ALTER SYSTEM SET wal_level = logical; then restart the server"));
    }
    Ok(())
}

/// In the middle of a failover a name may lead to a standby for a moment.
pub(super) fn standby() -> Error {
    Error::transient("the server is a standby").with_remedy("connect to the primary")
}

struct Publication {
    all_tables: bool,
    options_fit: bool,
    unsettled: bool,
    /// Plain members: no row filter, no column list.
    tables: BTreeSet<TableName>,
    filtered: BTreeSet<TableName>,
    whole_schemas: bool,
}

impl Publication {
    /// Whether every change of the table is in the log.
    fn tells_all_of(&self, table: &TableName) -> bool {
        let full = TableName::new(Some(sql::schema(table)), &table.name);
        self.options_fit && (self.all_tables || self.tables.contains(&full))
    }
}

async fn publication(connection: &mut Connection, config: &Config) -> Result<Option<Publication>> {
    let name = sql::literal(&config.publication);
    let rows = connection
        .query(&format!(
            "SELECT p.puballtables,
                    p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND p.pubviaroot,
                    coalesce(obj_description(p.oid, 'pg_publication') = {}, false),
                    EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid),
                    n.nspname, c.relname, r.prqual IS NOT NULL OR r.prattrs IS NOT NULL
             FROM pg_publication p
             LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid
             LEFT JOIN pg_class c ON c.oid = r.prrelid
             LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE p.pubname = {name}",
            sql::literal(UNSETTLED)
        ))
        .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let yes = |cell: &Option<String>| cell.as_deref() == Some("t");
    let mut publication = Publication {
        all_tables: yes(&first[0]),
        options_fit: yes(&first[1]),
        unsettled: yes(&first[2]),
        whole_schemas: yes(&first[3]),
        tables: BTreeSet::new(),
        filtered: BTreeSet::new(),
    };
    for row in &rows {
        if let (Some(schema), Some(table)) = (&row[4], &row[5]) {
            let name = TableName::new(Some(schema), table);
            if yes(&row[6]) {
                publication.filtered.insert(name);
            } else {
                publication.tables.insert(name);
            }
        }
    }
    Ok(Some(publication))
}

fn with_schemas(tables: &[TableName]) -> BTreeSet<TableName> {
    tables.iter().map(|table| TableName::new(Some(sql::schema(table)), &table.name)).collect()
}

/// Makes the publication hold exactly these tables. Returns whether some were added.
async fn publish(
    connection: &mut Connection,
    config: &Config,
    wanted: &[TableName],
    existing: Option<&Publication>,
) -> Result<bool> {
    const OPTIONS: &str = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true";
    let name = sql::identifier(&config.publication);
    let wanted = with_schemas(wanted);
    let list = |tables: &BTreeSet<TableName>| tables.iter().map(sql::table).collect::<Vec<_>>().join(", ");

    let mut commands = Vec::new();
    let mut added = false;
    match existing {
        None => {
            added = true;
            commands.push(format!("CREATE PUBLICATION {name} FOR TABLE {} WITH ({OPTIONS})", list(&wanted)));
        }
        Some(publication) => {
            if !publication.options_fit {
                added = true;
                commands.push(format!("ALTER PUBLICATION {name} SET ({OPTIONS})"));
            }
            let exact = publication.tables == wanted && publication.filtered.is_empty();
            if !publication.all_tables && (!exact || publication.whole_schemas) {
                added |= !wanted.is_subset(&publication.tables);
                commands.push(format!("ALTER PUBLICATION {name} SET TABLE {}", list(&wanted)));
            }
        }
    }
    if commands.is_empty() {
        return Ok(false);
    }
    let by_hand = commands.join("; ");
    // In one transaction with the change, so that a crash in between cannot hide that it is unsettled.
    commands.push(format!("COMMENT ON PUBLICATION {name} IS {}", sql::literal(UNSETTLED)));
    let sql = format!("BEGIN; {}; COMMIT", commands.join("; "));
    match connection.query(&sql).await {
        Ok(_) => Ok(added),
        // Someone else's publication, and it only has tables too many: that does no harm.
        Err(error) if error.kind() == ErrorKind::Denied && !added => {
            connection.query("ROLLBACK").await?;
            Ok(false)
        }
        Err(error) if error.kind() == ErrorKind::Denied => Err(error
            .while_doing("prepare the publication")
            .with_remedy(format!("run as the owner of the tables, with CREATE on the database: {by_hand}"))),
        Err(error) => Err(error.while_doing("prepare the publication")),
    }
}

/// Waits, bounded, until every transaction that is open now has ended.
async fn settle(connection: &mut Connection) -> Result<()> {
    let now = connection.query("SELECT pg_snapshot_xmax(pg_current_snapshot())").await?;
    let until = now.first().and_then(|row| row[0].clone()).unwrap_or_default();
    let deadline = Instant::now() + SETTLE_WITHIN;
    loop {
        let settled = connection
            .query(&format!(
                "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= {}::xid8",
                sql::literal(&until)
            ))
            .await?;
        if settled.first().is_some_and(|row| row[0].as_deref() == Some("t")) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::transient(
                "tables were added to the publication, and transactions that were open then have not ended",
            )
            .with_remedy(
                "the oldest: SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL \
                 ORDER BY xact_start",
            ));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Drops slot and publication.
pub(super) async fn forget(connection: &mut Connection, config: &Config) -> Result<()> {
    slot::wait_until_free(connection, config).await?;
    slot::drop(connection, config).await?;
    let name = sql::identifier(&config.publication);
    match connection.query(&format!("DROP PUBLICATION IF EXISTS {name}")).await {
        Ok(_) => Ok(()),
        // Without its slot a publication keeps nothing back; whoever made it may keep it.
        Err(error) if error.kind() == ErrorKind::Denied => Ok(()),
        Err(error) => Err(error.while_doing("drop the publication")),
    }
}
