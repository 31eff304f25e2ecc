//! What the paths answer from: of each source, nothing until its data plane is built, and everything from then on.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use axum::body::Bytes;
use headwater_flow::Handle;
use headwater_flow::serve::Serving;
use headwater_flow::status::{PartState, SourceStatus, Status};
use headwater_model::file::File;
use tokio::time::MissedTickBehavior;

use super::openapi;
use super::problem::{Kind, Problem};
use crate::control_socket::{ROWS_AGE_MAX, ROWS_WITHIN};
use crate::dashboard::history::{History, SAMPLE_EVERY};
use crate::examine::watch::Findings;
use crate::telemetry::Telemetry;

/// Shared by all connections.
pub struct Site {
    /// In the order of the file; never none.
    flows: Vec<Flow>,
    /// The document at `/openapi.json`: it changes only when another source is there to read from.
    openapi: RwLock<Bytes>,
    /// Whether readers need a token.
    tokens: bool,
    pub(super) telemetry: Option<Telemetry>,
}

/// A source and what is derived from it, as readers see it.
pub struct Flow {
    /// The source's name; `None` if the file's one source has none.
    pub name: Option<Box<str>>,
    /// The access patterns of the file that read it.
    patterns: Vec<Box<str>>,
    open: RwLock<Option<Arc<Open>>>,
    waits_for: Mutex<String>,
}

/// The data plane, as readers see it.
pub struct Open {
    pub serving: Serving,
    pub handle: Handle,
    /// What went on during the last minute.
    pub history: Arc<History>,
    /// What was found to erode the engines.
    pub findings: Findings,
}

impl Site {
    /// `flows`: the file as each source sees it.
    pub fn new(flows: &[File], tokens: bool, telemetry: Option<Telemetry>) -> Site {
        let flows = flows.iter().map(|file| Flow {
            name: file.source().name.clone(),
            patterns: file.access.iter().map(|access| access.name.clone()).collect(),
            open: RwLock::default(),
            waits_for: Mutex::default(),
        });
        Site { flows: flows.collect(), openapi: RwLock::default(), tokens, telemetry }
    }

    /// From now on there is something to read of this source; what was there before is no more.
    pub fn open(&self, source: Option<&str>, serving: Serving, handle: Handle, findings: Findings) {
        let Some(flow) = self.flow(source) else { return };
        let history = Arc::new(History::default());
        tokio::spawn(sample(Arc::downgrade(&history), serving.clone()));
        *flow.open.write().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::new(Open { serving, handle, history, findings }));
        let opened: Vec<_> = self.flows.iter().filter_map(Flow::open).collect();
        let plans = opened.iter().flat_map(|open| open.serving.patterns().map(|pattern| &pattern.plan));
        let document = Bytes::from(openapi::document(plans, self.tokens).to_string());
        *self.openapi.write().unwrap_or_else(PoisonError::into_inner) = document;
    }

    /// There is nothing to read of this source, and why.
    pub fn waits_for(&self, source: Option<&str>, why: impl Into<String>) {
        if let Some(flow) = self.flow(source) {
            *flow.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = why.into();
            *flow.open.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// The names of the sources, where they have some.
    pub(super) fn sources(&self) -> Vec<Box<str>> {
        self.flows.iter().filter_map(|flow| flow.name.clone()).collect()
    }

    /// The source of that name, or the one without; `None` if there is no such source.
    pub(super) fn flow(&self, source: Option<&str>) -> Option<&Flow> {
        self.flows.iter().find(|flow| flow.name.as_deref() == source)
    }

    /// The source that an access pattern reads. Of a pattern that is in no file, one that can say so.
    pub(super) fn flow_of(&self, pattern: &str) -> &Flow {
        let reads = |flow: &&Flow| flow.patterns.iter().any(|name| **name == *pattern);
        let answers = || self.flows.iter().find(|flow| flow.open().is_some());
        self.flows.iter().find(reads).or_else(answers).unwrap_or(&self.flows[0])
    }

    /// Every access pattern of the file.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.flows.iter().flat_map(|flow| &flow.patterns).map(|name| &**name)
    }

    pub(super) fn openapi(&self) -> Result<Bytes, Problem> {
        let openapi = self.openapi.read().unwrap_or_else(PoisonError::into_inner).clone();
        if openapi.is_empty() { Err(self.flows[0].closed()) } else { Ok(openapi) }
    }
}

impl Flow {
    pub(super) fn open(&self) -> Option<Arc<Open>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn opened(&self) -> Result<Arc<Open>, Problem> {
        self.open().ok_or_else(|| self.closed())
    }

    fn closed(&self) -> Problem {
        Problem::new(Kind::Unavailable, self.why_not())
            .remedy("try again; `/readyz` says when it is worth it")
            .again_after(1)
    }

    pub(super) fn why_not(&self) -> String {
        let why = self.waits_for.lock().unwrap_or_else(PoisonError::into_inner);
        let why = if why.is_empty() { "this instance is starting" } else { &**why };
        match &self.name {
            Some(name) => format!("source `{name}`: {why}"),
            None => why.to_owned(),
        }
    }

    /// How its source is.
    pub(super) fn state(&self) -> PartState {
        match self.open() {
            Some(open) => open.handle.status().source.state,
            None if self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).is_empty() => {
                PartState::Starting
            }
            None => PartState::Failed,
        }
    }

    /// How everything is, also before there is anything.
    pub(super) async fn status(&self) -> Status {
        match self.open() {
            Some(open) => open.handle.status_with_rows(ROWS_AGE_MAX, ROWS_WITHIN).await,
            None => Status {
                source: SourceStatus {
                    state: self.state(),
                    error: Some(self.why_not()),
                    ..SourceStatus::default()
                },
                ..Status::default()
            },
        }
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
