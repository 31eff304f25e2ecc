//! What the checks share: views, documents, steps, and comparing a stored document with what it should be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_model::{
    Apply, Epoch, Error, ErrorKind, Held, Key, Layout, Offset, Position, Record, Store, StoreFacts,
    StoredBody, TableName, Value, View, ViewChange,
};

use super::Subject;
use crate::read::document as document_of;

/// Engines in memory or on a disk do all rounds in a fraction of it.
const ROUNDS_WITHIN: Duration = Duration::from_secs(6);

/// One store under test, and where its steps have got to.
pub struct Bench<'a> {
    pub subject: &'a dyn Subject,
    pub layout: Layout,
    pub facts: StoreFacts,
    pub store: Arc<dyn Store>,
    pub epoch: u64,
    pub offset: u64,
    check: &'static str,
}

impl<'a> Bench<'a> {
    pub async fn new(subject: &'a dyn Subject, layout: Layout) -> Bench<'a> {
        let store = subject.fresh().await;
        let facts = store.inspect().await.unwrap_or_else(|e| panic!("inspect: {e:?}"));
        Bench { subject, layout, facts, store, epoch: 1, offset: 0, check: "" }
    }

    /// A fresh store for a check of this name.
    pub async fn start(&mut self, check: &'static str) {
        eprintln!("contract: {check} ({:?})", self.layout);
        self.check = check;
        self.store = self.subject.fresh().await;
        (self.epoch, self.offset) = (1, 0);
    }

    /// Claims epoch 1 of an empty store and prepares these views.
    pub async fn claim(&self, views: &[&Arc<View>]) {
        let found = self.ok("claim an empty store", self.store.claim(Epoch(self.epoch)).await);
        assert_eq!(found, None, "{self}: an empty store holds nothing");
        for view in views {
            self.ok("prepare", self.store.prepare(view).await);
        }
    }

    pub fn view(&self, name: &str) -> Arc<View> {
        view(name, self.layout)
    }

    /// The rounds of a random check: `most`, or what a slow engine does in [`ROUNDS_WITHIN`], but an eighth at least. A
    /// seed's rounds are the same, however many there are.
    pub fn rounds(&self, most: usize) -> impl Iterator<Item = usize> + use<> {
        let until = Instant::now() + ROUNDS_WITHIN;
        (0..most).take_while(move |round| *round < most.div_ceil(8) || Instant::now() < until)
    }

    /// Whether the store keeps stored fields for a partial put in this layout.
    pub fn takes_partial(&self) -> bool {
        match self.layout {
            Layout::Hash => self.facts.partial_hash,
            Layout::Json => self.facts.partial_json,
        }
    }

    /// One whole step that must go well.
    pub async fn step(&mut self, changes: Vec<ViewChange>) {
        let mut apply = self.begin().await;
        let refusals = self.ok("write", apply.write(changes).await);
        assert_eq!(refusals, [], "{self}: nothing is refused");
        self.offset += 1;
        self.ok("commit", apply.commit(&held(self.epoch, self.offset)).await);
    }

    pub async fn begin(&self) -> Box<dyn Apply> {
        self.ok("begin", self.store.begin(Epoch(self.epoch), Offset(self.offset)).await)
    }

    /// The error with which a step is refused, at once or at the latest when it is committed.
    pub async fn refused(
        &self,
        store: &dyn Store,
        epoch: u64,
        after: u64,
        changes: Vec<ViewChange>,
    ) -> Error {
        let mut apply = match store.begin(Epoch(epoch), Offset(after)).await {
            Ok(apply) => apply,
            Err(e) => return e,
        };
        if let Err(e) = apply.write(changes).await {
            return e;
        }
        match apply.commit(&held(epoch, after + 1)).await {
            Err(e) => e,
            Ok(()) => panic!("{self}: a step of epoch {epoch} after offset {after} went through"),
        }
    }

    pub fn ok<T>(&self, doing: &str, result: headwater_model::Result<T>) -> T {
        result.unwrap_or_else(|e| panic!("{self}: {doing}: {e:?} (remedy: {:?})", e.remedy()))
    }

    pub async fn expect(&self, view: &Arc<View>, key: &Key, expected: Option<&Record>) {
        let found = self.ok("get", document_of(&*self.store, view, key).await);
        self.same(&key.to_text(), found.as_ref(), expected);
    }

    /// What an empty store lacks is not known to be absent, so it does not answer.
    pub async fn expect_empty(&self, view: &Arc<View>, key: &Key) {
        match document_of(&*self.store, view, key).await {
            Ok(found) => panic!("{self}: an empty store answered {found:?}"),
            Err(error) => self.expect_kind(&error, ErrorKind::OutOfStep),
        }
    }

    pub fn same(&self, key: &str, found: Option<&StoredBody>, expected: Option<&Record>) {
        match (found, expected) {
            (None, None) => {}
            (Some(found), Some(expected)) => {
                if let Err(difference) = compare(found, expected) {
                    panic!("{self}: key {key:?}: {difference}\n   found {found:?}\nexpected {expected:?}");
                }
            }
            (None, Some(expected)) => panic!("{self}: key {key:?} is not there, expected {expected:?}"),
            (Some(found), None) => panic!("{self}: key {key:?} is there: {found:?}"),
        }
    }

    pub async fn expect_held(&self, expected: &Held) {
        let found = self.ok("held", self.store.held().await);
        assert_eq!(found.as_ref(), Some(expected), "{self}: what the store holds");
    }

    pub fn expect_kind(&self, error: &Error, kind: ErrorKind) {
        assert_eq!(error.kind(), kind, "{self}: {error:?}");
    }
}

impl std::fmt::Display for Bench<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {:?})", self.check, self.facts.server, self.layout)
    }
}

pub fn view(name: &str, layout: Layout) -> Arc<View> {
    Arc::new(View {
        name: name.into(),
        from: TableName::new(None, "t"),
        columns: None,
        filter: None,
        embeds: Vec::new(),
        stores: vec!["store".into()],
        parts: Vec::new(),
        layout: Some(layout),
        kind: headwater_model::ViewKind::Document,
        indexes: Vec::new(),
    })
}

pub fn key(id: i64) -> Key {
    Key(vec![Value::Int(id)])
}

pub fn record(fields: &[(&str, Value)]) -> Record {
    Record {
        names: fields.iter().map(|(name, _)| Box::from(*name)).collect(),
        values: fields.iter().map(|(_, value)| value.clone()).collect(),
    }
}

/// A document with an id and a number.
pub fn document(id: i64, n: i64) -> Record {
    record(&[("id", Value::Int(id)), ("n", Value::Int(n))])
}

pub fn put(view: &Arc<View>, key: Key, document: Record) -> ViewChange {
    ViewChange::Put { view: Arc::clone(view), key, moved_from: None, document }
}

pub fn delete(view: &Arc<View>, key: Key) -> ViewChange {
    ViewChange::Delete { view: Arc::clone(view), key }
}

pub fn clear(view: &Arc<View>) -> ViewChange {
    ViewChange::Clear { view: Arc::clone(view) }
}

/// What is held after the step to this offset.
pub fn held(epoch: u64, offset: u64) -> Held {
    Held {
        epoch: Epoch(epoch),
        offset: Offset(offset),
        position: (offset > 0).then(|| Position::new("system 7/é", u64::MAX - 1000 + offset)),
        committed_at: if offset == 0 { 0 } else { 1_700_000_000_000_000 + offset as i64 },
    }
}

/// Fields: exactly those with a value, as text. JSON: the same values, numbers digit by digit; NULL may be left out.
fn compare(found: &StoredBody, expected: &Record) -> Result<(), String> {
    match found {
        StoredBody::Fields(fields) => {
            let mut wanted: Vec<(String, Vec<u8>)> = expected
                .fields()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.to_owned(), value.to_text().into_bytes()))
                .collect();
            wanted.sort();
            if *fields == wanted { Ok(()) } else { Err("its fields differ".into()) }
        }
        StoredBody::Json(text) => {
            let found: serde_json::Value =
                serde_json::from_str(text).map_err(|e| format!("its JSON cannot be read: {e}"))?;
            let serde_json::Value::Object(mut found) = found else {
                return Err("it is not a JSON object".into());
            };
            for (name, value) in expected.fields() {
                let mut json = Vec::new();
                value.write_json(&mut json);
                let wanted: serde_json::Value = serde_json::from_slice(&json)
                    .map_err(|e| format!("the model's JSON of {name:?} cannot be read: {e}"))?;
                let found = found.remove(name).unwrap_or(serde_json::Value::Null);
                if found != wanted {
                    return Err(format!("field {name:?} is {found}, expected {wanted}"));
                }
            }
            match found.iter().find(|(_, value)| !value.is_null()) {
                None => Ok(()),
                Some((name, value)) => Err(format!("it has the field {name:?} ({value}) that nobody wrote")),
            }
        }
    }
}
