//! What the paths answer from: nothing until the data plane is built, and everything from then on.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use axum::body::Bytes;
use headwater_flow::Handle;
use headwater_flow::serve::Serving;
use tokio::time::MissedTickBehavior;

use super::openapi;
use super::problem::{Kind, Problem};
use crate::dashboard::history::{History, SAMPLE_EVERY};
use crate::examine::watch::Findings;
use crate::telemetry::Telemetry;

/// Shared by all connections.
pub struct Site {
    open: OnceLock<Open>,
    waits_for: Mutex<String>,
    /// Whether readers need a token.
    tokens: bool,
    pub(super) telemetry: Option<Telemetry>,
}

/// The data plane, as readers see it.
pub struct Open {
    pub serving: Serving,
    pub handle: Handle,
    /// The document at `/openapi.json`: it does not change while the instance runs.
    pub openapi: Bytes,
    /// What went on during the last minute.
    pub history: Arc<History>,
    /// What was found to erode the engines.
    pub findings: Findings,
}

impl Site {
    pub fn new(tokens: bool, telemetry: Option<Telemetry>) -> Site {
        Site { open: OnceLock::new(), waits_for: Mutex::default(), tokens, telemetry }
    }

    /// From now on there is something to read.
    pub fn open(&self, serving: Serving, handle: Handle, findings: Findings) {
        let plans = serving.patterns().map(|pattern| &pattern.plan);
        let openapi = Bytes::from(openapi::document(plans, self.tokens).to_string());
        // A second call would be of the same data plane.
        let history = Arc::new(History::default());
        tokio::spawn(sample(Arc::downgrade(&history), serving.clone()));
        let _ = self.open.set(Open { serving, handle, openapi, history, findings });
    }

    /// Why there is nothing to read yet.
    pub fn waits_for(&self, why: impl Into<String>) {
        *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = why.into();
    }

    pub(super) fn opened(&self) -> Result<&Open, Problem> {
        self.open.get().ok_or_else(|| {
            Problem::new(Kind::Unavailable, self.why_not())
                .remedy("try again; `/readyz` says when it is worth it")
                .again_after(1)
        })
    }

    pub(super) fn why_not(&self) -> String {
        let why = self.waits_for.lock().unwrap_or_else(PoisonError::into_inner);
        if why.is_empty() { "this instance is starting".to_owned() } else { why.clone() }
    }
}

/// Samples the counters until nobody keeps them any more.
async fn sample(history: Weak<History>, serving: Serving) {
    let mut tick = tokio::time::interval(SAMPLE_EVERY);
    // Late samples that come in a burst would be of no time at all.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(history) = history.upgrade() else { return };
        history.sample(&serving);
    }
}
