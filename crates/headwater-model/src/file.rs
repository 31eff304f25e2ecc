//! The file, `headwater.toml`, as data: what the rest of the program reads. Parsing and its located errors are in
//! the submodules; whatever is here is complete and consistent in itself (names resolve, units are converted), but
//! not yet compared with the live source: that is `check`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::{Secret, View};

/// The whole file.
#[derive(Clone, Debug)]
pub struct File {
    /// Where Headwater keeps journal and local state. Relative paths are relative to the file.
    pub data: PathBuf,
    pub source: SourceSection,
    pub stores: Vec<StoreSection>,
    pub views: Vec<View>,
    pub journal: JournalSection,
    pub backfill: BackfillSection,
    pub run: RunSection,
}

/// `[source]`
#[derive(Clone, Debug)]
pub struct SourceSection {
    pub url: Secret,
    /// What the engine itself understands; it refuses what it does not know.
    pub settings: Settings,
    /// How long a slow store may hold back the release of the source's log before the journal alone decides.
    pub hold_for: Duration,
    /// At this much log retained at the source, following is given up and the slot dropped: the source comes first.
    pub retained_log_bytes_max: u64,
}

/// One entry of `[stores]`
#[derive(Clone, Debug)]
pub struct StoreSection {
    pub name: Box<str>,
    pub url: Secret,
    pub settings: Settings,
}

/// Engine settings by name. Texts may have come from `${ENV}` or `file:` and so are secret.
pub type Settings = BTreeMap<Box<str>, Setting>;

#[derive(Clone, Debug)]
pub enum Setting {
    Text(Secret),
    Int(i64),
    Bool(bool),
}

/// `[journal]`
#[derive(Clone, Debug)]
pub struct JournalSection {
    /// Past this, the slowest store is let go and rebuilt later; the journal never fills the disk.
    pub bytes_max: u64,
}

/// `[backfill]`
#[derive(Clone, Debug)]
pub struct BackfillSection {
    /// Chunks in flight at once, 1 to 16.
    pub parallel: usize,
    /// Rows per chunk, 1 to 1,000,000.
    pub chunk_rows: usize,
    /// Rows per second over all tables; `None` is as fast as the stores take it.
    pub rows_per_second_max: Option<u64>,
}

/// `[run]`
#[derive(Clone, Debug)]
pub struct RunSection {
    /// How long a clean shutdown may take.
    pub shutdown_within: Duration,
}
