//! Tracing one row: what the source has of it, and what became of it in every store and view that shows it.
//!
//! Owns: the questions and their answers ([`Whereabouts`]). Reads only, everything through the seams that readers use; what a document
//! should be is the source's own word ([`Source::answer`]).
//!
//! A difference may be one that is on its way: stores are asked again for a moment before it is told, with how far they are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{
    AnswerMoment, Change, ChunkRange, Error, Found, Key, Offset, Param, Read, Result, Row, Source, Store,
    StoredBody, Table, TableName, Value, View, ViewKind, nearest, read_key,
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::backfill::ViewPlan;
use crate::board::Board;
use crate::derive::{Showing, Tables, showing};
use crate::journal::{Item, Journal};
use crate::state::{Consumer, State};

/// Documents that are compared; a row may be embedded in any number.
const DOCUMENTS_MAX: usize = 20;

/// The newest changes that are listed.
const CHANGES_MAX: usize = 20;

/// Of the journal so much is looked through for them.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;

/// How long the source or a store may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// How often, and how far apart, a store that differs is asked again.
const TRIES: u32 = 5;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// A row and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Whereabouts {
    pub table: String,
    pub key: String,
    pub source: InSource,
    pub places: Vec<Place>,
    /// Documents that show the row; more than `places` tells of if they are too many.
    pub documents: usize,
    /// The newest last.
    pub changes: Vec<TracedChange>,
    /// The first entry of the journal that was looked through for changes, and the last.
    pub looked_from: u64,
    pub looked_upto: u64,
}

impl Whereabouts {
    /// Whether every store shows what the source has.
    pub fn is_in_step(&self) -> bool {
        self.source.error.is_none() && self.places.iter().all(|place| place.verdict == Verdict::Equal)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InSource {
    /// `null`: there is no such row.
    pub row: Option<Json>,
    /// The row is at least as new as this.
    pub position: Option<String>,
    pub error: Option<String>,
}

/// A document in a store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub store: String,
    pub view: String,
    pub key: String,
    /// `document`, `embedded` or `ranking`.
    pub shown: Shown,
    pub verdict: Verdict,
    /// Whether the store holds part of the view only: then the document may be missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub part: bool,
    pub document: Option<Json>,
    pub differences: Vec<Difference>,
    /// Why a row is in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub offset: Option<u64>,
    pub position: Option<String>,
    pub lag_transactions: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    Document,
    Embedded,
    Ranking,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Equal,
    Differs,
    /// The source makes a document of it, and the store has none.
    Missing,
    /// The store has one, and the source makes none.
    Extra,
    /// The source or the store did not say.
    Unknown,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Equal => "equal",
            Verdict::Differs => "differs",
            Verdict::Missing => "missing",
            Verdict::Extra => "extra",
            Verdict::Unknown => "unknown",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub field: String,
    pub source: Json,
    pub store: Json,
}

/// A change of the row, from the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracedChange {
    pub offset: u64,
    pub position: String,
    pub committed_at_micros: i64,
    /// `insert`, `update`, `delete`, `truncate`, or `read` for a row that was read from the table.
    pub kind: String,
    /// The columns that differ from the change before, where that is known.
    pub columns: Option<Vec<String>>,
}

pub(crate) struct Finder {
    pub source: Arc<dyn Source>,
    pub stores: BTreeMap<Box<str>, Arc<dyn Store>>,
    pub plans: Vec<ViewPlan>,
    pub tables: Arc<Tables>,
    /// How the keys of each table read.
    pub keys: BTreeMap<TableName, Vec<Param>>,
    pub mirror: PathBuf,
    pub journal: Journal,
    pub state: Arc<State>,
    pub board: Arc<Board>,
}

/// A document to look at.
struct Document {
    view: Arc<View>,
    key: Key,
    shown: Shown,
}

impl Finder {
    /// `table` with or without its schema, `key` as stores write it. `Misconfigured` if there is no such table or the text is
    /// no key of it.
    pub async fn find(&self, table: &str, key: &str) -> Result<Whereabouts> {
        let shape = self.table(table)?;
        let params = self.keys.get(&shape.name).map(Vec::as_slice).unwrap_or_default();
        let key = read_key(params, key).ok_or_else(|| no_key(&shape.name, params, key))?;
        let source = self.in_source(shape, &key).await;
        let (documents, count) = self.documents(&shape.name, &key)?;
        let mut places = Vec::new();
        for document in &documents {
            for store in document.view.stores.iter().filter(|name| self.stores.contains_key(*name)) {
                places.push(self.place(document, store, false).await);
            }
            for part in &document.view.parts {
                places.push(self.place(document, &part.store, true).await);
            }
        }
        let (journal, name, wanted) = (self.journal.clone(), shape.name.clone(), key.clone());
        let found = tokio::task::spawn_blocking(move || changes(&journal, &name, &wanted)).await;
        let found =
            found.map_err(|error| Error::bug("looking through the journal panicked").with_cause(error))??;
        let changes = found.changes.into_iter().map(|change| TracedChange {
            offset: change.offset.0,
            position: self.source.notation(&change.position),
            committed_at_micros: change.committed_at,
            kind: change.kind.to_owned(),
            columns: change.columns,
        });
        Ok(Whereabouts {
            table: shape.name.to_string(),
            key: key.to_text(),
            source,
            places,
            documents: count,
            changes: changes.collect(),
            looked_from: found.from.0,
            looked_upto: found.upto.0,
        })
    }

    fn table(&self, text: &str) -> Result<&Arc<Table>> {
        let named = |table: &&Arc<Table>| table.name.to_string() == text;
        let bare = |table: &&Arc<Table>| *table.name.name == *text;
        let mut candidates = self.tables.values().filter(bare);
        match (self.tables.values().find(named), candidates.next(), candidates.next()) {
            (Some(table), ..) | (None, Some(table), None) => Ok(table),
            (None, Some(one), Some(two)) => {
                Err(Error::misconfigured(format!("`{text}` may be {} or {}", one.name, two.name))
                    .with_remedy("write the schema too"))
            }
            (None, None, _) => {
                let known: Vec<String> = self.tables.keys().map(|name| name.name.to_string()).collect();
                let remedy = match nearest(text, known.iter().map(String::as_str)) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("the tables that views are made from are {}", known.join(", ")),
                };
                Err(Error::misconfigured(format!("no view is made from a table `{text}`"))
                    .with_remedy(remedy))
            }
        }
    }

    async fn in_source(&self, shape: &Table, key: &Key) -> InSource {
        let range = ChunkRange {
            table: shape.name.clone(),
            after: None,
            limit: 1,
            bytes_max: usize::MAX,
            keys: vec![key.clone()],
        };
        let asked = async {
            // Before: the row is at least as new.
            let (position, _) = self.source.progress().await?;
            let chunk = self.source.read_chunk(&range).await?;
            let row = chunk.rows.first().map(|row| row_json(&chunk.table, row));
            Ok::<_, Error>((position, row))
        };
        match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(Ok((position, row))) => {
                InSource { row, position: Some(self.source.notation(&position)), error: None }
            }
            Ok(Err(error)) => InSource { error: Some(error.to_string()), ..InSource::default() },
            Err(_) => InSource { error: Some("no answer in time".to_owned()), ..InSource::default() },
        }
    }

    /// The documents that show the row, some of them, and how many there are.
    fn documents(&self, table: &TableName, key: &Key) -> Result<(Vec<Document>, usize)> {
        let mut documents = Vec::new();
        let mut count = 0;
        let is_own = |view: &View| view.from == *table && !matches!(view.kind, ViewKind::Ranking(_));
        for plan in self.plans.iter().filter(|plan| is_own(&plan.view)) {
            documents.push(Document {
                view: Arc::clone(&plan.view),
                key: key.clone(),
                shown: Shown::Document,
            });
            count += 1;
        }
        let stateful: Vec<Arc<View>> =
            self.plans.iter().filter(|plan| plan.stateful).map(|plan| Arc::clone(&plan.view)).collect();
        if !stateful.is_empty() {
            let Showing { documents: found, count: all } =
                showing(&self.mirror, &stateful, &self.tables, table, key, DOCUMENTS_MAX)?;
            count += all;
            for (view, found) in found {
                if is_own(&view) && found.to_bytes() == key.to_bytes() {
                    count -= 1;
                    continue;
                }
                let shown = match view.kind {
                    ViewKind::Ranking(_) => Shown::Ranking,
                    _ => Shown::Embedded,
                };
                documents.push(Document { view, key: found, shown });
            }
        }
        Ok((documents, count))
    }

    async fn place(&self, document: &Document, store: &str, part: bool) -> Place {
        let view = &document.view;
        let key = document.key.to_text();
        let consumer = Consumer { store: store.into(), view: view.name.clone() };
        let mut place = Place {
            store: store.to_owned(),
            view: view.name.to_string(),
            quarantined: self.state.why_quarantined(&consumer, &key).ok().flatten(),
            key,
            shown: document.shown,
            verdict: Verdict::Unknown,
            part,
            document: None,
            differences: Vec::new(),
            error: None,
            offset: None,
            position: None,
            lag_transactions: None,
        };
        for again in 0..TRIES {
            if again > 0 {
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
            if let Err(error) = self.compare(document, store, &mut place).await {
                place.error = Some(error.to_string());
                place.verdict = Verdict::Unknown;
                break;
            }
            if place.verdict == Verdict::Equal {
                break;
            }
        }
        if part && place.verdict == Verdict::Missing {
            place.verdict = Verdict::Equal;
        }
        place
    }

    async fn compare(&self, document: &Document, store: &str, place: &mut Place) -> Result<()> {
        let Some(engine) = self.stores.get(store) else { return Err(Error::bug("an unknown store")) };
        let read = Read::Get { view: Arc::clone(&document.view), keys: vec![document.key.clone()] };
        let late = |_| Error::transient("no answer in time");
        let held = tokio::time::timeout(ANSWER_WITHIN, engine.answer(&read)).await.map_err(late)??;
        if let AnswerMoment::Applied(held) | AnswerMoment::AtLeast(held) = &held.at {
            // Of its own record, or further where nothing that followed concerned it.
            let offset = held.offset.max(self.board.offset(store));
            place.offset = Some(offset.0);
            place.position = held.position.as_ref().map(|position| self.source.notation(position));
            place.lag_transactions = Some(self.journal.durable().0.saturating_sub(offset.0));
        }
        let expected =
            tokio::time::timeout(ANSWER_WITHIN, self.source.answer(&read)).await.map_err(late)??;
        let (held, expected) = (body(held.found), body(expected.found));
        place.document = held.as_ref().map(document_json);
        place.differences = match (&held, &expected) {
            (Some(held), Some(StoredBody::Json(expected))) => differences(held, expected)?,
            _ => Vec::new(),
        };
        place.verdict = match (held.is_some(), expected.is_some()) {
            (true, true) if place.differences.is_empty() => Verdict::Equal,
            (true, true) => Verdict::Differs,
            (false, true) => Verdict::Missing,
            (true, false) => Verdict::Extra,
            (false, false) => Verdict::Equal,
        };
        Ok(())
    }
}

fn no_key(table: &TableName, params: &[Param], text: &str) -> Error {
    let columns: Vec<String> =
        params.iter().map(|param| format!("{} {}", param.name, param.type_name)).collect();
    Error::misconfigured(format!(
        "`{text}` is no key of table {table}, which has the key ({})",
        columns.join(", ")
    ))
    .with_remedy(
        "write it as stores do: values as the source prints them, those of several columns joined by `:`",
    )
}

fn body(found: Found) -> Option<StoredBody> {
    match found {
        Found::Documents(documents) => documents.into_iter().next().flatten(),
        _ => None,
    }
}

fn row_json(table: &Table, row: &Row) -> Json {
    let value = |value: &Value| {
        let mut text = Vec::new();
        value.write_json(&mut text);
        serde_json::from_slice(&text).unwrap_or(Json::Null)
    };
    let fields =
        table.columns.iter().zip(&row.0).map(|(column, cell)| (column.name.to_string(), value(cell)));
    Json::Object(fields.collect())
}

fn document_json(body: &StoredBody) -> Json {
    match body {
        StoredBody::Json(text) => {
            serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.to_string()))
        }
        StoredBody::Fields(fields) => {
            let text = |bytes: &[u8]| Json::String(String::from_utf8_lossy(bytes).into_owned());
            Json::Object(fields.iter().map(|(name, bytes)| (name.clone(), text(bytes))).collect())
        }
    }
}

/// Field by field; a field of a hash is a text, and one that is NULL is not there.
fn differences(held: &StoredBody, expected: &str) -> Result<Vec<Difference>> {
    let unreadable = |error| Error::bug("the source's document cannot be read").with_cause(error);
    let expected: serde_json::Map<String, Json> = serde_json::from_str(expected).map_err(unreadable)?;
    let is_hash = matches!(held, StoredBody::Fields(_));
    let Json::Object(held) = document_json(held) else {
        return Ok(vec![Difference {
            field: String::new(),
            source: Json::Object(expected),
            store: Json::Null,
        }]);
    };
    let same = |source: &Json, store: Option<&Json>| match (source, store) {
        (Json::Null, None) => true,
        (source, Some(Json::String(text))) if is_hash => match source {
            Json::String(source) => source == text,
            Json::Object(_) | Json::Array(_) => {
                serde_json::from_str::<Json>(text).is_ok_and(|found| found == *source)
            }
            Json::Null => text == "null",
            Json::Bool(_) | Json::Number(_) => {
                let printed = source.to_string();
                printed == *text
            }
        },
        (source, store) => Some(source) == store,
    };
    let mut differences = Vec::new();
    for (field, source) in &expected {
        if !same(source, held.get(field)) {
            let store = held.get(field).cloned().unwrap_or(Json::Null);
            differences.push(Difference { field: field.clone(), source: source.clone(), store });
        }
    }
    for (field, store) in held.iter().filter(|(field, _)| !expected.contains_key(*field)) {
        differences.push(Difference { field: field.clone(), source: Json::Null, store: store.clone() });
    }
    Ok(differences)
}

struct FoundChange {
    offset: Offset,
    position: headwater_model::Position,
    committed_at: i64,
    kind: &'static str,
    columns: Option<Vec<String>>,
}

struct Looked {
    changes: Vec<FoundChange>,
    from: Offset,
    upto: Offset,
}

/// Looks through the newest part of the journal for changes of one row.
fn changes(journal: &Journal, table: &TableName, key: &Key) -> Result<Looked> {
    let upto = journal.durable();
    let (mut low, mut high) = (Offset(journal.first().0.saturating_sub(1)), upto);
    while low < high {
        let middle = Offset(low.0 + (high.0 - low.0) / 2);
        if journal.bytes_after(middle) > JOURNAL_BYTES_MAX { low = middle.next() } else { high = middle }
    }
    let mut looked = Looked { changes: Vec::new(), from: low.next(), upto };
    if low >= upto {
        return Ok(looked);
    }
    let mut reader = journal.read(low)?;
    let mut before: Option<Row> = None;
    let mut open: Vec<(&'static str, Option<Vec<String>>)> = Vec::new();
    loop {
        let items = reader.try_next(1 << 20)?;
        if items.is_empty() {
            return Ok(looked);
        }
        for item in items {
            match item {
                Item::Begin { .. } => open.clear(),
                Item::Changes(changes) => {
                    for change in changes {
                        if let Some(kind) = concerns(&change, table, key) {
                            open.push((kind, columns(&change, &mut before)));
                        }
                    }
                }
                Item::Commit { offset, position, committed_at } => {
                    looked.changes.extend(open.drain(..).map(|(kind, columns)| FoundChange {
                        offset,
                        position: position.clone(),
                        committed_at,
                        kind,
                        columns,
                    }));
                    let more = looked.changes.len().saturating_sub(CHANGES_MAX);
                    looked.changes.drain(..more);
                    if offset >= upto {
                        return Ok(looked);
                    }
                }
            }
        }
    }
}

fn concerns(change: &Change, name: &TableName, wanted: &Key) -> Option<&'static str> {
    let is = |key: &Key| key == wanted;
    match change {
        Change::Insert { table, row } => (table.name == *name && is(&row.key(table))).then_some("insert"),
        Change::Update { table, old_key, row } => {
            let concerned = is(&row.key(table)) || old_key.as_ref().is_some_and(is);
            (table.name == *name && concerned).then_some("update")
        }
        Change::Delete { table, key } => (table.name == *name && is(key)).then_some("delete"),
        Change::Snapshot { table, row } => (table.name == *name && is(&row.key(table))).then_some("read"),
        Change::Truncate { tables } => tables.iter().any(|table| table.name == *name).then_some("truncate"),
    }
}

/// The columns that differ from the row `before`, which is then the row after.
fn columns(change: &Change, before: &mut Option<Row>) -> Option<Vec<String>> {
    let (table, row) = match change {
        Change::Insert { table, row }
        | Change::Snapshot { table, row }
        | Change::Update { table, row, .. } => (table, row),
        Change::Delete { .. } | Change::Truncate { .. } => {
            *before = None;
            return None;
        }
    };
    let known = before.take().filter(|known| known.0.len() == row.0.len());
    let mut after = row.clone();
    let Some(known) = known else {
        *before = Some(after);
        return None;
    };
    let mut differ = Vec::new();
    for ((column, now), then) in table.columns.iter().zip(&mut after.0).zip(known.0) {
        if now.is_unchanged() {
            *now = then;
        } else if *now != then {
            differ.push(column.name.to_string());
        }
    }
    *before = Some(after);
    Some(differ)
}
