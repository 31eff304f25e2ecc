//! The tables that are followed, and whether the publication still has them.
//!
//! A table that leaves the publication (dropped and made again, taken out by hand, or with the whole publication) leaves
//! the log without a word. So the publication is looked at again and again, and what left it is a declared gap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headwater_model::{Error, Result, TableId, TableName};
use tokio::time::sleep;

use super::catalog;
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

/// A table's membership in the publication: one that was taken out and put back has another.
type Members = BTreeMap<TableId, TableId>;

/// Looks until something is missing, and returns the gap. A source that does not answer is no gap.
pub(super) async fn watch(pool: Arc<Pool>, config: Arc<Config>, wanted: Arc<Wanted>) -> Error {
    let mut before = None;
    loop {
        if let Some(wanted) = wanted.get()
            && let Ok(mut connection) = pool.get().await
        {
            match look(&mut connection, &config, &wanted).await {
                Ok(Ok(now)) => {
                    connection.keep();
                    let before = before.get_or_insert_with(|| now.clone());
                    if let Some((table, _)) =
                        before.iter().find(|(table, member)| now.get(table) != Some(member))
                    {
                        return left(&config, &format!("with oid {table}"));
                    }
                }
                Ok(Err(gap)) => return gap,
                Err(_) => {}
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The members among the wanted tables; the inner error is the gap that one of them left.
async fn look(
    connection: &mut Connection,
    config: &Config,
    wanted: &Tables,
) -> Result<std::result::Result<Members, Error>> {
    let ids: Vec<String> = wanted.ids.iter().map(u32::to_string).collect();
    let rows = connection
        .query(&format!(
            "SELECT p.oid IS NOT NULL, coalesce(p.puballtables, false), w, w::regclass::text, r.oid
             FROM unnest('{{{}}}'::oid[]) w
             LEFT JOIN pg_publication p ON p.pubname = {}
             LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = w",
            ids.join(","),
            sql::literal(&config.publication)
        ))
        .await?;
    let mut members = Members::new();
    for row in &rows {
        let yes = |i: usize| row[i].as_deref() == Some("t");
        if !yes(0) {
            return Ok(Err(publication_gone(config)));
        }
        match &row[4] {
            Some(_) => drop(members.insert(catalog::number(&row[2])?, catalog::number(&row[4])?)),
            None if yes(1) => {}
            None => return Ok(Err(left(config, row[3].as_deref().unwrap_or_default()))),
        }
    }
    Ok(Ok(members))
}

fn left(config: &Config, table: &str) -> Error {
    Error::out_of_step(format!(
        "table {table} has left the publication \"{}\": it was dropped, made again or taken out",
        config.publication
    ))
    .with_remedy("leave the publication to Headwater, which keeps the tables of the file in it")
}

pub(super) fn publication_gone(config: &Config) -> Error {
    Error::out_of_step(format!(
        "the publication \"{}\" is gone, and what it published with it",
        config.publication
    ))
}
