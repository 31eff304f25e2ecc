//! The page at `/`: the flow as a picture with what goes on in it, access patterns against their objectives, backfills,
//! the quarantine, incidents.
//!
//! Owns: what a person sees. Plain functions from a [`Scene`] to HTML; `http` asks for them. The page works without its
//! script, which only fetches the same HTML each second and puts it in place.
//!
//! Invariant: nothing is loaded from elsewhere, and every text of others is escaped.

mod findings;
mod flow;
pub mod history;
mod page;
mod parts;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use headwater_control::doctor::Ledger;
use headwater_control::drill::Report;
use headwater_flow::status::{Incident, PartState, QuarantinedRow, Status};
use history::Lately;
pub use page::{live, page};

pub const STYLE: &str = include_str!("style.css");
pub const SCRIPT: &str = include_str!("script.js");

/// Nothing but our own style, script and answers.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Rows of the quarantine that the page lists.
pub const QUARANTINE_SHOWN: usize = 100;

/// Drills that the page lists.
pub const DRILLS_SHOWN: usize = 10;

/// Findings that the page lists.
pub const FINDINGS_SHOWN: usize = 50;

/// A path of the page, of one of several sources.
pub fn at(path: &str, source: Option<&str>) -> String {
    match source {
        // A source's name means nothing in an address: it has letters, digits, - and _.
        Some(source) => format!("{path}?source={source}"),
        None => path.to_owned(),
    }
}

/// Everything that the page shows, at one moment.
#[derive(Default)]
pub struct Scene {
    /// Why there is nothing to show yet, before the data plane is there.
    pub starting: Option<String>,
    /// Whose page this is, where sources have names.
    pub source: Option<String>,
    /// All of those, and how each is.
    pub sources: Vec<(String, PartState)>,
    pub leading: bool,
    pub status: Status,
    pub patterns: Vec<PatternScene>,
    pub quarantine: Vec<QuarantinedRow>,
    /// Newest first.
    pub incidents: Vec<Incident>,
    /// Newest first.
    pub drills: Vec<Report>,
    pub findings: Arc<Ledger>,
    /// Whether who looks may act.
    pub operator: bool,
}

impl Scene {
    /// A path of the page of this source.
    fn at(&self, path: &str) -> String {
        at(path, self.source.as_deref())
    }
}

/// An access pattern.
#[derive(Default)]
pub struct PatternScene {
    pub name: String,
    /// The word of the file: `get`, `range`, …
    pub kind: &'static str,
    pub stale: Option<Duration>,
    pub p99: Option<Duration>,
    pub rate_per_second: Option<u64>,
    pub lately: Lately,
}
