//! A document of our own in each store, which we make wrong at random moments: how long until verification finds it is how long
//! damage to any document goes unnoticed.
//!
//! Owns: when a canary is made wrong, and what is known of each. Does not own: how it is written (the store's applier does, between two
//! steps, as with every repair), how it is compared (as every document is), when its turn comes ([`super::background`]: once a
//! round, like a view).
//!
//! Invariants: it lies under a name of its own, which no view has, and no reader, no count and no quarantine speaks of it. What a canary
//! costs is one small document; a store that will not take it goes without, and says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headwater_model::{Error, Key, Layout, Offset, Record, Result, TableName, Value, View, ViewKind};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::Verifier;
use super::background::Background;
use super::page::{Entry, Page, Roll, Should};
use super::standing::Strays;
use crate::status::{CanaryStatus, IncidentKind};

/// Where canaries lie: the name of a view in the file begins with a letter.
const NAME: &str = "_headwater_canary";

/// How often it is looked whether that moment has come.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long an applier may take to write one, and a store to be read.
const WITHIN: Duration = Duration::from_secs(60);

/// Looks in which a canary must be wrong, as with every document that drifted.
const LOOKS: u32 = 3;

pub(crate) fn is_canary(view: &View) -> bool {
    &*view.name == NAME
}

/// What is known of the canary of each store, for one term.
#[derive(Default)]
pub(crate) struct Canaries(Mutex<BTreeMap<Box<str>, Canary>>);

#[derive(Clone, Debug)]
struct Canary {
    /// What it should say.
    truth: i64,
    state: State,
    status: CanaryStatus,
    /// That it goes unfound for too long was said.
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Nothing is known of it: it is written before it is made wrong.
    Unknown,
    /// It is right, and made wrong at this moment.
    Right { until_micros: i64 },
    /// It is wrong since this moment.
    Wrong { since_micros: i64 },
}

impl Canaries {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Canary>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Canary {
    fn new() -> Canary {
        Canary { truth: 0, state: State::Unknown, status: CanaryStatus::default(), told: false }
    }

    fn put_right(&mut self, now: i64, every: Duration) {
        let most = i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(1);
        self.state = State::Right { until_micros: now.saturating_add(fastrand::i64(0..most)) };
        (self.status.altered_at_micros, self.status.why_not, self.told) = (None, None, false);
    }

    fn made_wrong(&mut self, now: i64) {
        self.state = State::Wrong { since_micros: now };
        self.status.altered_at_micros = Some(now);
    }

    /// It was found to be wrong: how long after, if we made it so.
    fn found(&mut self, now: i64) -> Option<u64> {
        let State::Wrong { since_micros } = self.state else { return None };
        let took = u64::try_from((now - since_micros) / 1000).unwrap_or(0);
        let status = &mut self.status;
        status.detections += 1;
        status.newest_ms = Some(took);
        status.longest_ms = status.longest_ms.max(Some(took));
        Some(took)
    }
}

impl Verifier {
    /// Which stores could hold one: those that hold a view.
    fn canary_stores(&self) -> Vec<Box<str>> {
        let holds = |store: &str| {
            let held = |view: &View| view.is_in(store);
            self.plans.iter().any(|plan| held(&plan.view))
        };
        self.stores.iter().map(|store| store.name.clone()).filter(|store| holds(store)).collect()
    }

    /// Plants canaries and makes them wrong, for as long as it is polled.
    pub(super) async fn keep_canaries(&self, background: Background) {
        loop {
            for store in self.canary_stores() {
                let canary = self.canaries.lock().entry(store.clone()).or_insert_with(Canary::new).clone();
                let now = self.board.now_micros();
                match canary.state {
                    State::Unknown => self.put_right(&store, &canary, background.every).await,
                    State::Right { until_micros } if now >= until_micros => {
                        let wrong =
                            self.write_canary(&store, canary.truth + 1 + fastrand::i64(0..1_000)).await;
                        // A reply that was lost: it may be wrong or right, and is written again before it is made wrong.
                        let now = self.board.now_micros();
                        self.note(&store, |canary| match wrong {
                            Ok(()) => canary.made_wrong(now),
                            Err(_) => canary.state = State::Unknown,
                        });
                    }
                    State::Wrong { since_micros } => {
                        self.complain(&store, &canary, now - since_micros, background.detect_within)
                    }
                    State::Right { .. } => {}
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn complain(&self, store: &str, canary: &Canary, wrong_micros: i64, within: Option<Duration>) {
        let Some(within) = within else { return };
        if canary.told || u128::try_from(wrong_micros).unwrap_or(0) <= within.as_micros() {
            return;
        }
        warn!(store, ?within, "verification has not found the canary that was made wrong");
        let cause = format!(
            "a document that was made wrong on purpose was not found within {} s: verification is too slow, or does not run",
            within.as_secs_f64()
        );
        self.board.happened(&format!("store {store}"), IncidentKind::Undetected, &cause);
        self.note(store, |canary| canary.told = true);
    }

    /// Compares the canary of each store, and puts right those that are wrong.
    pub(super) async fn check_canaries(&self, every: Duration) {
        for store in self.canary_stores() {
            let Some(canary) = self.canaries.lock().get(&store).cloned() else { continue };
            if canary.state == State::Unknown {
                continue;
            }
            match timeout(WITHIN, self.is_right(&store, canary.truth)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    let now = self.board.now_micros();
                    let mut took = None;
                    self.note(&store, |canary| took = canary.found(now));
                    info!(store = %store, after_ms = took, "the canary was found to be wrong, and is put right");
                    self.put_right(&store, &canary, every).await;
                }
                Ok(Err(error)) => debug!(store = %store, %error, "the canary cannot be read now"),
                Err(_) => debug!(store = %store, "the canary cannot be read in time"),
            }
        }
    }

    /// Whether it is what it should be; wrong only if it is so in each of several looks.
    async fn is_right(&self, store: &str, truth: i64) -> Result<bool> {
        let target = self.target(store).ok_or_else(|| Error::bug("a canary's store is none of ours"))?;
        for _ in 0..LOOKS {
            let page = page(truth);
            let compared = target.compare(&view(), page, Ok(Roll::Still), &Strays::new()).await?;
            if compared.missed.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn put_right(&self, store: &str, canary: &Canary, every: Duration) {
        let written = self.write_canary(store, canary.truth).await;
        let now = self.board.now_micros();
        self.note(store, |canary| match written {
            Ok(()) => canary.put_right(now, every),
            Err(why) => {
                canary.state = State::Unknown;
                (canary.status.altered_at_micros, canary.status.why_not) = (None, Some(why));
            }
        });
    }

    /// An error in words.
    async fn write_canary(&self, store: &str, value: i64) -> std::result::Result<(), String> {
        match timeout(WITHIN, self.menders.mend(store, &view(), page(value), Vec::new())).await {
            Ok(Ok(mended)) => match mended.refused.into_iter().next() {
                None => Ok(()),
                Some(refused) => Err(refused.reason),
            },
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the store takes too long to write it".to_owned()),
        }
    }

    fn note(&self, store: &str, change: impl FnOnce(&mut Canary)) {
        let mut canaries = self.canaries.lock();
        let Some(canary) = canaries.get_mut(store) else { return };
        change(canary);
        self.board.canary(store, canary.status.clone());
    }
}

fn view() -> Arc<View> {
    Arc::new(View {
        name: NAME.into(),
        from: TableName::new(None, ""),
        kind: ViewKind::Document,
        columns: None,
        filter: None,
        embeds: Vec::new(),
        stores: Vec::new(),
        parts: Vec::new(),
        layout: Some(Layout::Json),
        indexes: Vec::new(),
    })
}

/// The one document, as it should be at every offset.
fn page(value: i64) -> Page {
    let document = Record { names: vec!["value".into()].into(), values: vec![Value::Int(value)] };
    Page::new(Offset::ZERO, vec![Entry::new(Key(vec![Value::Int(1)]), Should::Be(document))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_wrong_by_us_counts_as_a_detection() {
        let mut canary = Canary::new();
        canary.put_right(1_000_000, Duration::from_secs(60));
        assert!(
            matches!(canary.state, State::Right { until_micros } if (1_000_000..61_000_000).contains(&until_micros))
        );
        assert_eq!((canary.found(2_000_000), canary.status.detections), (None, 0));
        for (wrong, found) in [(5_000_000, 9_000_000), (20_000_000, 21_000_000)] {
            canary.made_wrong(wrong);
            assert_eq!(canary.status.altered_at_micros, Some(wrong));
            assert_eq!(canary.found(found), Some(((found - wrong) / 1000) as u64));
            canary.put_right(found, Duration::from_secs(60));
            assert_eq!(canary.status.altered_at_micros, None);
        }
        let status = &canary.status;
        assert_eq!((status.detections, status.newest_ms, status.longest_ms), (2, Some(1_000), Some(4_000)));
    }
}
