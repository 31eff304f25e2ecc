//! Documents as they should be against documents as a store has them, key by key, at one offset.
//!
//! A store is asked while it is written to. What it answers says where it is; the documents that should be there are brought
//! to the same place along the journal. So nothing is in flight: what differs then differs. Of a view with indexes it is asked once
//! more, a little later: whether the documents stand there where they should ([`super::standing`]).

use std::sync::Arc;
use std::time::Duration;

use headwater_model::{
    AnswerMoment, Error, Found, Key, Offset, Read, Record, Result, Standing, Store, StoredBody, View,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::canary::is_canary;
use super::page::{Page, Roll, Should};
use super::report::{DriftKind, Drifted, FieldDifference};
use super::standing::{self, Stands, Stood, Strays};
use crate::board::Progress;
use crate::retry::Backoff;

/// Documents that a store is asked for at once.
const KEYS_AT_ONCE: usize = 500;

/// How long a store may take to come to where its documents are known, and to answer.
const WITHIN: Duration = Duration::from_secs(60);

/// A value is shown so long, in characters.
const SHOWN_CHARS_MAX: usize = 120;

/// A store as verification sees it.
#[derive(Clone)]
pub(super) struct Target {
    pub name: Box<str>,
    pub store: Arc<dyn Store>,
    pub progress: watch::Receiver<Progress>,
}

/// What came of one page.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub rows: u64,
    pub upto: Offset,
    pub missed: Vec<Missed>,
    /// Keys of which it is not known what they should be.
    pub unknown: Vec<Key>,
}

#[derive(Debug)]
pub(super) struct Missed {
    pub key: Key,
    pub drifted: Drifted,
}

impl Target {
    /// Compares a page. `roll` begins at the page's offset; `strays` is what was found in indexes that perhaps should not be there.
    pub async fn compare(
        &self,
        view: &Arc<View>,
        mut page: Page,
        roll: Result<Roll>,
        strays: &Strays,
    ) -> Result<Compared> {
        let mut compared = Compared::default();
        let Ok(mut roll) = roll else {
            page.forget();
            compared.unknown = page.entries.into_iter().map(|entry| entry.key).collect();
            return Ok(compared);
        };
        let count = page.entries.len();
        let mut from = 0;
        let mut asked = (count > 0).then(|| self.ask(view, &page, from, strays));
        while let Some(answer) = asked.take() {
            let Asked { at, bodies, stood } = match answer.await {
                Ok(answer) => answer?,
                Err(error) => return Err(Error::bug("asking a store panicked").with_cause(error)),
            };
            let batch = from..count.min(from + KEYS_AT_ONCE);
            from = batch.end;
            if from < count {
                asked = Some(self.ask(view, &page, from, strays));
            }
            // A store never goes back while it is in step; if it does, its keys are looked at again.
            if at < page.offset || roll.to(at, &mut page).is_err() {
                page.forget();
            }
            compared.upto = compared.upto.max(page.offset);
            let mut same = Vec::new();
            for (number, body) in batch.zip(&bodies) {
                let entry = &page.entries[number];
                let (kind, fields) = match (&entry.should, body) {
                    (Should::Unknown, _) => {
                        compared.unknown.push(entry.key.clone());
                        continue;
                    }
                    (Should::NotBe, None) => {
                        same.push(number);
                        continue;
                    }
                    (Should::NotBe, Some(_)) => (DriftKind::Extra, Vec::new()),
                    (Should::Be(_), None) => (DriftKind::Missing, Vec::new()),
                    (Should::Be(record), Some(body)) if is_same(record, body) => {
                        compared.rows += 1;
                        same.push(number);
                        continue;
                    }
                    (Should::Be(record), Some(body)) => (DriftKind::Different, differences(record, body)),
                };
                compared.rows += u64::from(kind != DriftKind::Extra);
                let drifted = Drifted { key: entry.text.to_string(), kind, fields, quarantined: false };
                compared.missed.push(Missed { key: entry.key.clone(), drifted });
            }
            let Some(stood) = stood else { continue };
            if stood.at < page.offset || roll.to(stood.at, &mut page).is_err() {
                page.forget();
            }
            compared.upto = compared.upto.max(page.offset);
            // What a document is to be written anew for is not told twice.
            for number in same {
                let entry = &page.entries[number];
                match stood.tell(view, entry, number - stood.from, strays) {
                    Stands::Right => {}
                    Stands::Unknown => compared.unknown.push(entry.key.clone()),
                    Stands::Astray(fields) => {
                        let (key, kind) = (entry.text.to_string(), DriftKind::Misplaced);
                        let drifted = Drifted { key, kind, fields, quarantined: false };
                        compared.missed.push(Missed { key: entry.key.clone(), drifted });
                    }
                }
            }
        }
        Ok(compared)
    }

    /// Asks the store for some of the page's documents, in a task of its own, so that it works while others are compared.
    fn ask(
        &self,
        view: &Arc<View>,
        page: &Page,
        from: usize,
        strays: &Strays,
    ) -> AbortOnDropHandle<Result<Asked>> {
        let entries = || page.entries.iter().skip(from).take(KEYS_AT_ONCE);
        let keys: Vec<Key> = entries().map(|entry| entry.key.clone()).collect();
        // A part is asked for nothing but documents.
        let is_indexed = !view.indexes.is_empty() && view.part(&self.name).is_none();
        let standings: Option<Vec<Standing>> =
            is_indexed.then(|| entries().map(|entry| standing::of(view, entry, strays)).collect());
        let (mut target, view, least) = (self.clone(), Arc::clone(view), page.offset);
        AbortOnDropHandle::new(tokio::spawn(async move {
            let read = &Read::Get { view: Arc::clone(&view), keys };
            let (at, bodies) = target
                .asked(&view, least, |store| async move {
                    let answer = store.answer(read).await?;
                    match answer.found {
                        Found::Documents(documents) => Ok((answer.at, documents)),
                        _ => Err(Error::bug("a store answered something else than documents")),
                    }
                })
                .await?;
            let stood = match standings {
                None => None,
                Some(asked) => {
                    let (view, standings) = (&*view, &asked[..]);
                    let ask = |store: Arc<dyn Store>| async move { store.astray(view, standings).await };
                    let (at, told) = target.asked(view, at, ask).await?;
                    Some(Stood { at, from, asked, told })
                }
            };
            Ok(Asked { at, bodies, stood })
        }))
    }

    /// Asks the store when it has come to an offset, `least`; the answer is as of that, or one behind it.
    async fn asked<T, F: Future<Output = Result<(AnswerMoment, T)>>>(
        &mut self,
        view: &View,
        least: Offset,
        ask: impl Fn(Arc<dyn Store>) -> F,
    ) -> Result<(Offset, T)> {
        let until = Instant::now() + WITHIN;
        let mut backoff = Backoff::new();
        loop {
            let arrived = self.progress.wait_for(|progress| {
                let ready = progress.ready.contains(&view.name) || is_canary(view);
                progress.connected && progress.offset >= least && ready
            });
            let before = match timeout(until.saturating_duration_since(Instant::now()), arrived).await {
                Ok(Ok(progress)) => progress.clone(),
                Ok(Err(_)) => return Err(Error::transient("this instance does not lead any more")),
                Err(_) => {
                    let name = &self.name;
                    return Err(Error::transient(format!(
                        "store `{name}` is not in step: it did not come to offset {least} in time"
                    )));
                }
            };
            match ask(Arc::clone(&self.store)).await {
                Ok((at, found)) => {
                    let (AnswerMoment::Applied(held) | AnswerMoment::AtLeast(held)) = at else {
                        return Err(Error::bug("a store answered with a moment of the source"));
                    };
                    // It lost what it held before: whoever writes to it is about to notice.
                    if held.offset < before.stored {
                        sleep(Duration::from_millis(200)).await;
                        if Instant::now() < until {
                            continue;
                        }
                        return Err(Error::out_of_step(format!("store `{}` went back", self.name)));
                    }
                    // What it applied without having to write anything is not in its own record yet.
                    return Ok((held.offset.max(before.offset), found));
                }
                Err(error) if Instant::now() < until && (error.is_retryable() || is_emptied(&error)) => {
                    backoff.pause().await;
                }
                Err(error) => return Err(error.while_doing(format_args!("read from store `{}`", self.name))),
            }
        }
    }
}

struct Asked {
    at: Offset,
    bodies: Vec<Option<StoredBody>>,
    /// Of a view with indexes.
    stood: Option<Stood>,
}

/// It is filled again, or its owner changes: soon it is known which.
fn is_emptied(error: &Error) -> bool {
    error.kind() == headwater_model::ErrorKind::OutOfStep
}

fn is_same(record: &Record, body: &StoredBody) -> bool {
    match body {
        StoredBody::Json(json) => {
            let mut own = Vec::with_capacity(json.len());
            record.write_json(&mut own);
            *own == *json.as_bytes()
        }
        StoredBody::Fields(stored) => {
            let mut held = 0;
            for (name, value) in record.fields().filter(|(_, value)| !value.is_null()) {
                let Ok(at) = stored.binary_search_by(|(known, _)| (**known).cmp(name)) else { return false };
                if *stored[at].1 != *value.to_text().as_bytes() {
                    return false;
                }
                held += 1;
            }
            held == stored.len()
        }
    }
}

/// The fields in which a stored document is not what it should be.
fn differences(record: &Record, body: &StoredBody) -> Vec<FieldDifference> {
    let mut differing = Vec::new();
    match body {
        StoredBody::Fields(stored) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            for (name, value) in record.fields() {
                let found = stored.iter().find(|(known, _)| **known == *name);
                let expected = (!value.is_null()).then(|| value.to_text().to_string());
                note(&mut differing, name, expected, found.map(|(_, bytes)| text(bytes)));
            }
            for (name, bytes) in stored.iter().filter(|(name, _)| record.get(name).is_none()) {
                note(&mut differing, name, None, Some(text(bytes)));
            }
        }
        StoredBody::Json(json) => {
            let parsed: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(json).ok();
            let Some(found) = parsed else {
                note(&mut differing, "(document)", Some("a JSON object".to_owned()), Some(json.to_string()));
                return differing;
            };
            for (name, value) in record.fields() {
                let mut own = Vec::new();
                value.write_json(&mut own);
                let own = String::from_utf8_lossy(&own).into_owned();
                let same = serde_json::from_str::<serde_json::Value>(&own).ok().as_ref() == found.get(name);
                let found = found.get(name).map(serde_json::Value::to_string);
                note(&mut differing, name, Some(own.clone()), if same { Some(own) } else { found });
            }
            for (name, value) in found.iter().filter(|(name, _)| record.get(name).is_none()) {
                note(&mut differing, name, None, Some(value.to_string()));
            }
            if differing.is_empty() {
                // Numbers that read as the same double, other spacing, another order.
                let what = "as the source writes it, byte by byte".to_owned();
                note(
                    &mut differing,
                    "(document)",
                    Some(what),
                    Some("the same values, written otherwise".to_owned()),
                );
            }
        }
    }
    differing
}

fn note(differing: &mut Vec<FieldDifference>, field: &str, expected: Option<String>, found: Option<String>) {
    if expected != found {
        let cut_all = |text: Option<String>| text.map(|text| cut(&text));
        let (expected, found) = (cut_all(expected), cut_all(found));
        differing.push(FieldDifference { field: cut(field), expected, found });
    }
}

pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use headwater_model::Value;

    use super::*;

    fn record() -> Record {
        Record {
            names: vec!["title".into(), "id".into(), "gone".into()].into(),
            values: vec![Value::text("x"), Value::Int(1), Value::Null],
        }
    }

    fn fields(pairs: &[(&str, &str)]) -> StoredBody {
        StoredBody::Fields(pairs.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect())
    }

    fn names(record: &Record, body: &StoredBody) -> Vec<String> {
        differences(record, body).into_iter().map(|difference| difference.field).collect()
    }

    #[test]
    fn a_difference_names_its_fields() {
        let record = record();
        assert!(is_same(&record, &fields(&[("id", "1"), ("title", "x")])));
        for (body, expected) in [
            (fields(&[("id", "2"), ("title", "x")]), vec!["id"]),
            (fields(&[("id", "1")]), vec!["title"]),
            (fields(&[("gone", ""), ("id", "1"), ("title", "x")]), vec!["gone"]),
            (fields(&[("id", "1"), ("more", "?"), ("title", "x")]), vec!["more"]),
            (StoredBody::Json(r#"{"title":"y","id":1,"gone":null}"#.into()), vec!["title"]),
            (StoredBody::Json(r#"{"title":"x","id":1}"#.into()), vec!["gone"]),
            (StoredBody::Json(r#"{"id":1,"title":"x","gone":null}"#.into()), vec!["(document)"]),
            (StoredBody::Json("gibberish".into()), vec!["(document)"]),
        ] {
            assert!(!is_same(&record, &body), "{body:?}");
            assert_eq!(names(&record, &body), expected, "{body:?}");
        }
        assert!(is_same(&record, &StoredBody::Json(record.to_json().into())));
    }
}
