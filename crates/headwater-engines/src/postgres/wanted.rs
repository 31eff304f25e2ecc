//! The tables that are followed, and whether the publication still has them.
//!
//! A table that leaves the publication (dropped and made again, taken out by hand, or with the whole publication) leaves
//! the log without a word. So the publication is looked at again and again, and what left it is a declared gap.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headwater_model::{Error, Result, TableId, TableName};
use tokio::time::sleep;

use super::config::Config;
use super::connection::Connection;
use super::pool::Pool;
use super::sql;
use super::tables::TableState;

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What `prepare` made the publication hold; nothing before the first `prepare`, when everything published is wanted.
#[derive(Default)]
pub(super) struct Wanted(Mutex<Option<Arc<Tables>>>);

#[derive(Debug)]
pub(super) struct Tables {
    ids: BTreeSet<TableId>,
    names: BTreeSet<TableName>,
}

impl Wanted {
    pub fn set(&self, states: &[TableState]) {
        let tables = Tables {
            ids: states.iter().map(|state| state.oid).collect(),
            names: states.iter().map(|state| state.name.clone()).collect(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(tables));
    }

    pub fn get(&self) -> Option<Arc<Tables>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Tables {
    /// A publication that someone else made may hold more than we follow. A renamed table keeps its id, one that was made
    /// again keeps its name.
    pub fn cover(&self, id: TableId, name: &TableName) -> bool {
        self.ids.contains(&id) || self.names.contains(name)
    }
}

/// Looks until something is missing, and returns the gap. A source that does not answer is no gap.
pub(super) async fn watch(pool: Arc<Pool>, config: Arc<Config>, wanted: Arc<Wanted>) -> Error {
    loop {
        sleep(LOOK_EVERY).await;
        let Some(wanted) = wanted.get() else { continue };
        let Ok(mut connection) = pool.get().await else { continue };
        match missing(&mut connection, &config, &wanted).await {
            Ok(None) => connection.keep(),
            Ok(Some(gap)) => return gap,
            Err(_) => {}
        }
    }
}

async fn missing(connection: &mut Connection, config: &Config, wanted: &Tables) -> Result<Option<Error>> {
    let ids: Vec<String> = wanted.ids.iter().map(u32::to_string).collect();
    let rows = connection
        .query(&format!(
            "SELECT p.oid IS NOT NULL, w::regclass::text
             FROM unnest('{{{}}}'::oid[]) w
             LEFT JOIN pg_publication p ON p.pubname = {}
             WHERE p.oid IS NULL OR NOT p.puballtables
               AND NOT EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = w)
             LIMIT 1",
            ids.join(","),
            sql::literal(&config.publication)
        ))
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(if row[0].as_deref() == Some("t") {
        let table = row[1].as_deref().unwrap_or_default();
        Error::out_of_step(format!(
            "table {table} has left the publication \"{}\": it was dropped, made again or taken out",
            config.publication
        ))
    } else {
        publication_gone(config)
    }))
}

pub(super) fn publication_gone(config: &Config) -> Error {
    Error::out_of_step(format!(
        "the publication \"{}\" is gone, and what it published with it",
        config.publication
    ))
}
