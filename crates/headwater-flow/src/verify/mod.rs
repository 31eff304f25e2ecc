//! Verify: shows, while both move, that every store equals the source, or names what does not.
//!
//! Owns: what is compared with what, and when a difference is drift. Does not own: how a range of the source is read as of a
//! place in the log ([`crate::chunks`], [`crate::landing`]), how a store is put right ([`crate::repair`]).
//!
//! ```text
//! flat views     source ── chunk, true at offset o ──► documents ──┐ rolled along the journal to where the store
//! other views    source ── chunks ──► mirror (table by table)      ├ says it is, compared key by key
//!                mirror's rows, counted ──► groups of rankings     │
//!                mirror ── as of its cursor ─────────► documents ──┘
//! extra          keys that the store lists and the pass has not seen ──► looked up at the source
//! indexes        where each document should stand ──► asked for; what else lies in an index ──► looked up at the source
//! ```
//!
//! Invariants: drift is never declared of what is only in flight: both sides are compared at one offset, and what differs is
//! looked at again, from the source up, before it counts. Memory is that of a few chunks, and one bounded filter.

mod background;
pub(crate) mod canary;
mod compare;
pub(crate) mod coverage;
mod groups;
mod indexes;
mod mend;
mod mirror;
mod pace;
pub(crate) mod page;
pub mod report;
mod run;
mod seen;
mod settle;
mod standing;
mod truth;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use headwater_model::{Error, Key, Param, ParamRole, Result, TableFacts, TableName, View, ViewId, ViewKind};
use tokio::sync::watch;

pub use background::Background;
pub use pace::Pace;

use crate::amend::Amender;
use crate::backfill::ViewPlan;
use crate::board::Board;
use crate::chunks::Chunks;
use crate::derive::{Look, Tables};
use crate::heal::Heal;
use crate::repair::Menders;
use crate::service::NamedStore;
use crate::state::State;
use crate::upkeep::DerivedJournal;

/// What verification works with, for one term.
pub(crate) struct Verifier {
    pub chunks: Arc<Chunks>,
    pub plans: Vec<ViewPlan>,
    /// Of each view, how its keys are read from text.
    pub keys: BTreeMap<ViewId, Vec<Param>>,
    pub stores: Vec<NamedStore>,
    pub board: Arc<Board>,
    pub state: Arc<State>,
    pub tables: Arc<Tables>,
    pub derived: Option<DerivedJournal>,
    pub mirror: PathBuf,
    pub estimates: BTreeMap<TableName, u64>,
    pub chunk_rows: usize,
    pub menders: Menders,
    pub amender: Amender,
    /// Whoever repairs asks it first.
    pub heal: Arc<Heal>,
    /// One verification at a time: each of them costs the source and the stores something.
    pub turn: tokio::sync::Mutex<()>,
    pub canaries: canary::Canaries,
    /// How many wait for a verification, or have one made, that they asked for.
    pub asked: watch::Sender<u32>,
}

impl Verifier {
    fn is_derived(&self, view: &str) -> bool {
        self.plans.iter().any(|plan| *plan.view.name == *view && plan.stateful)
    }

    fn estimate(&self, table: &TableName) -> u64 {
        self.estimates.get(table).copied().unwrap_or(0)
    }

    async fn look(&self) -> Result<Arc<Mutex<Look>>> {
        let views: Vec<Arc<View>> =
            self.plans.iter().filter(|plan| plan.stateful).map(|plan| Arc::clone(&plan.view)).collect();
        let (path, tables) = (self.mirror.clone(), Arc::clone(&self.tables));
        let look = truth::blocking(move || Look::open(&path, &views, &tables)).await?;
        Ok(Arc::new(Mutex::new(look)))
    }

    /// The key that a row of the view can have and that is written so.
    fn row_key(&self, view: &str, text: &str) -> Option<Key> {
        headwater_model::read_key(self.keys.get(view)?, text)
    }

    /// The key that is written so, whether a row can have it or not; `None` if none of ours is.
    fn key(&self, view: &str, text: &str) -> Option<Key> {
        self.row_key(view, text).or_else(|| Key::of_texts(text))
    }
}

/// While it lives, nobody verifies unasked.
pub(crate) struct Asked<'v>(&'v watch::Sender<u32>);

impl Verifier {
    pub fn ask(&self) -> Asked<'_> {
        self.asked.send_modify(|asked| *asked += 1);
        Asked(&self.asked)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|asked| *asked -= 1);
    }
}

/// How keys of a view are read from text.
pub(crate) fn key_params(view: &View, facts: &TableFacts) -> Vec<Param> {
    let names: Vec<&str> = match &view.kind {
        ViewKind::Ranking(ranking) => ranking.within.iter().chain(&ranking.by).map(|name| &**name).collect(),
        _ => facts.key.iter().map(|name| &**name).collect(),
    };
    let column = |name: &str| facts.columns.iter().find(|column| *column.name == *name);
    let param = |name: &str| {
        let column = column(name)?;
        Some(Param {
            name: name.into(),
            role: ParamRole::Key,
            kind: column.kind.clone(),
            type_name: column.type_name.clone(),
            required: true,
        })
    };
    names.into_iter().filter_map(param).collect()
}

fn no_such(what: &str, name: &str, known: impl Iterator<Item = String>) -> Error {
    let known: Vec<String> = known.collect();
    let error = Error::misconfigured(format!("there is no {what} `{name}` in the file"));
    error.with_remedy(format!("name one of: {}", known.join(", ")))
}
