//! A read transaction, and a position up to which everything shows in it. No locks are taken and nothing is written.
//!
//! A commit is in the binary log before readers see it; while a replica is waited for (semi-synchronous replication), long
//! before. So the end of the log says nothing of what a snapshot shows. MariaDB says, of each snapshot, where in the log it
//! lies (`binlog_snapshot_position`). The position that was read before is believed if the snapshot does not lie before what
//! was the end of the log then; or else the snapshot's own place is looked up, which reads the log file up to there. MySQL
//! counts a transaction as executed only once it can be seen, so what was executed before the snapshot is what it shows.
//!
//! A snapshot may show more than its position says. Whoever shows changes on top of it shows those again, and whole rows
//! come again as they are.

use std::time::Duration;

use headwater_model::{Error, Result};

use super::connection::{Connection, text};
use super::gtid::{Gtid, GtidSet};

/// How long commits that are on their way are waited for, before the snapshot's place is looked up.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// A place in the binary log: the number of the file, and the offset in it.
type Place = (u64, u64);

fn place(file: &str, offset: &str) -> Option<Place> {
    Some((file.rsplit_once('.')?.1.parse().ok()?, offset.parse().ok()?))
}

/// Begins a read transaction. Returns the sequence of a position up to which everything shows in it.
pub(super) async fn begin(connection: &mut Connection) -> Result<u64> {
    const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
    if !connection.about.mariadb {
        let sequence = connection.history().await?.sequence();
        connection.run(BEGIN).await?;
        return Ok(sequence);
    }
    let domain = domain(connection).await?;
    let before = sequence(connection, domain).await?;
    let end = end_of_log(connection).await?;
    for attempt in 0.. {
        connection.run(BEGIN).await?;
        let rows = connection.rows("SHOW STATUS LIKE 'binlog_snapshot_%'").await?;
        let of = |name: &str| {
            let row = rows.iter().find(|row| text(row, 0).eq_ignore_ascii_case(name));
            row.map(|row| text(row, 1)).unwrap_or_default()
        };
        let (file, offset) = (of("binlog_snapshot_file"), of("binlog_snapshot_position"));
        let shown = place(&file, &offset);
        if shown.is_some() && shown >= end {
            return Ok(before);
        }
        if attempt >= ATTEMPTS {
            let rows = connection
                .rows(&format!("SELECT BINLOG_GTID_POS('{}', {offset})", file.replace('\'', "''")))
                .await?;
            let shown = rows.first().map(|row| text(row, 0)).unwrap_or_default();
            let shown =
                Gtid::list(&shown).and_then(|list| list.into_iter().find(|gtid| gtid.domain == domain));
            return shown.map(|gtid| gtid.sequence).ok_or_else(|| {
                Error::transient(format!("the server does not say what the log held at {file} {offset}"))
            });
        }
        connection.run("ROLLBACK").await?;
        tokio::time::sleep(PAUSE).await;
    }
    Err(Error::bug("a read did not begin"))
}

/// The position of the newest transaction that may be seen by now.
pub(super) async fn newest(connection: &mut Connection) -> Result<u64> {
    if connection.about.mariadb {
        let domain = domain(connection).await?;
        return sequence(connection, domain).await;
    }
    // What is committed is owned until it counts as executed: seen in between, it is in one of the two.
    let rows = connection.rows("SELECT @@global.gtid_owned, @@global.gtid_executed").await?;
    let row = rows.first().cloned().unwrap_or_default();
    let executed = GtidSet::parse(&text(&row, 1)).unwrap_or_default();
    // `uuid:number#thread`, and for several of one server `uuid:number#thread:number#thread`.
    let owned: String = {
        let text = text(&row, 0);
        let parts = text.split(':').map(|part| part.split_once('#').map_or(part, |(number, _)| number));
        parts.collect::<Vec<_>>().join(":")
    };
    let owned = GtidSet::parse(&owned).unwrap_or_default();
    Ok(executed.union(&owned).count())
}

async fn domain(connection: &mut Connection) -> Result<u32> {
    let rows = connection.rows("SELECT @@global.gtid_domain_id").await?;
    let domain = rows.first().and_then(|row| text(row, 0).parse().ok());
    domain.ok_or_else(|| Error::bug("the server has no GTID domain"))
}

async fn sequence(connection: &mut Connection, domain: u32) -> Result<u64> {
    let rows = connection.rows("SELECT @@global.gtid_binlog_pos").await?;
    let list = rows.first().and_then(|row| Gtid::list(&text(row, 0)));
    let list = list.ok_or_else(|| Error::bug("the server's position cannot be read"))?;
    Ok(list.iter().find(|gtid| gtid.domain == domain).map_or(0, |gtid| gtid.sequence))
}

async fn end_of_log(connection: &mut Connection) -> Result<Option<Place>> {
    let rows = connection.rows("SHOW MASTER STATUS").await?;
    let row = rows.first().ok_or_else(|| {
        Error::misconfigured("the server keeps no binary log")
            .with_remedy("set log_bin in the server's configuration and restart it")
    })?;
    Ok(place(&text(row, 0), &text(row, 1)))
}
