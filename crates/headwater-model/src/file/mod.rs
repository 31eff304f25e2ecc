//! The file, `headwater.toml`, as data: what the rest of the program reads. Parsing and its located errors are in
//! the submodules; whatever is here is complete and consistent in itself (names resolve, units are converted), but
//! not yet compared with the live source: that is `check`.
//!
//! Invariant: a [`File`] exists only if nothing in its text is wrong; otherwise there are [`FileErrors`] with every
//! mistake of the text, not the first alone.

mod access;
mod call;
mod config;
mod error;
mod heal;
mod holders;
mod kinds;
mod name;
mod place;
mod read;
mod reference;
mod sections;
mod serve;
mod telemetry;
mod unit;
mod views;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use crate::heal::Level;
use crate::{Access, Secret, View};
pub use config::{access as toml_access, key as toml_key, string as toml_string, views as toml_views};
pub use error::{FileError, FileErrors, line_and_column};
pub use name::{parse_table_name, show_table_name};
pub use place::{Place, Places};
pub use reference::{References, hide_password};
pub use unit::{parse_duration, parse_rate, parse_size, show_duration, show_rate, show_size};

use read::{Reader, Section};

/// Something the file names, and what it is if that can be read.
type Named<T> = (Box<str>, Option<T>);

/// What a section has where the file is silent.
pub mod default {
    use std::time::Duration;

    pub const DATA: &str = "headwater-data";
    pub const HOLD_FOR: Duration = Duration::from_secs(10);
    pub const RETAINED_LOG_BYTES_MAX: u64 = 10 << 30;
    pub const JOURNAL_BYTES_MAX: u64 = 10 << 30;
    /// Bounds on disk are at least this.
    pub const SIZE_MIN: u64 = 64 << 20;
    pub const PARALLEL: usize = 2;
    pub const CHUNK_ROWS: usize = 10_000;
    pub const RTO: Duration = Duration::from_secs(60);
    pub const SHUTDOWN_WITHIN: Duration = Duration::from_secs(10);
    /// How many documents an answer has at most.
    pub const ACCESS_LIMIT: usize = 100;
    /// The port of the local machine that answers HTTP.
    pub const LISTEN_PORT: u16 = 7070;
    pub const SOURCE_RATE_PER_SECOND: u64 = 200;
    pub const SOURCE_PARALLEL: usize = 4;
    pub const SOURCE_TIMEOUT: Duration = Duration::from_millis(500);
    /// Of transactions and reads, how many are traced, in millionths.
    pub const SAMPLE: u32 = 10_000;
}

/// The whole file.
#[derive(Clone, Debug)]
pub struct File {
    /// Where Headwater keeps journal and local state. Relative paths are relative to the file.
    pub data: PathBuf,
    pub source: SourceSection,
    pub stores: Vec<StoreSection>,
    pub views: Vec<View>,
    pub access: Vec<Access>,
    pub serve: ServeSection,
    pub journal: JournalSection,
    pub backfill: BackfillSection,
    pub verify: VerifySection,
    pub run: RunSection,
    /// Without it nothing is traced.
    pub telemetry: Option<TelemetrySection>,
    pub heal: HealSection,
    pub objectives: ObjectivesSection,
    /// The text that this was read from, for pointing into it. It holds no secret.
    pub text: Arc<str>,
    /// Where things stand in `text`.
    pub places: Places,
}

impl File {
    /// Reads the text of a file. Environment and other files are reached through `references`.
    pub fn load(text: &str, references: &dyn References) -> Result<File, FileErrors> {
        // A byte-order mark is no mistake; it stays in the text so that spans fit.
        let (document, syntax) = DeTable::parse_recoverable(text);
        let mut reader = Reader::new(text, references);
        let mut root = Section::new(String::new(), 0..0, document.get_ref());

        let data = match root.take(&mut reader, "data") {
            Some(value) => match reader.expanded(value, "data") {
                Some(path) if path.text.is_empty() => {
                    reader.wrong(value.span(), "`data` is empty", "name a folder, or leave it out");
                    None
                }
                path => path.map(|path| path.text),
            },
            None => Some(default::DATA.to_owned()),
        };
        let section = root.take_section(&mut reader, "source");
        // A `source` of the wrong kind has been reported: not also as missing.
        let source = if section.is_none() && root.has("source") {
            None
        } else {
            sections::source(&mut reader, section)
        };
        let section = root.take_section(&mut reader, "stores");
        let stores = sections::stores(&mut reader, section);
        sections::apart(&mut reader, source.as_ref(), &stores);
        let names: Vec<&str> = stores.iter().map(|(name, _)| &**name).collect();
        let section = root.take_section(&mut reader, "views");
        let views = views::views(&mut reader, section, &names);
        if !views.is_empty() && stores.is_empty() && !root.has("stores") {
            reader.missing(
                0..0,
                "the file has no [stores]",
                "add one: [stores] with local = { url = \"sqlite:derived.db\" }",
            );
        }
        let section = root.take_section(&mut reader, "access");
        let access = access::access(&mut reader, section, &views, &names);
        let section = root.take_section(&mut reader, "serve");
        let serve = serve::serve(&mut reader, section);
        let section = root.take_section(&mut reader, "journal");
        let journal = sections::journal(&mut reader, section);
        let section = root.take_section(&mut reader, "backfill");
        let backfill = sections::backfill(&mut reader, section);
        let section = root.take_section(&mut reader, "verify");
        let verify = sections::verify(&mut reader, section);
        let section = root.take_section(&mut reader, "run");
        let run = sections::run(&mut reader, section);
        let section = root.take_section(&mut reader, "telemetry");
        let telemetry = telemetry::telemetry(&mut reader, section);
        let section = root.take_section(&mut reader, "heal");
        let heal = heal::heal(&mut reader, section);
        let section = root.take_section(&mut reader, "objectives");
        let objectives = heal::objectives(&mut reader, section);
        root.finish(&mut reader);

        match (source, data) {
            (Some(source), Some(data)) if syntax.is_empty() && reader.is_fine() => Ok(File {
                data: data.into(),
                source,
                stores: stores.into_iter().filter_map(|(_, store)| store).collect(),
                views: views.into_iter().filter_map(|(_, view)| view).collect(),
                access,
                serve,
                journal,
                backfill,
                verify,
                run,
                telemetry,
                heal,
                objectives,
                text: text.into(),
                places: reader.places,
            }),
            _ => Err(reader.into_errors(&syntax)),
        }
    }

    /// Where a dotted path (`views.book.embed.author.key`) stands in the file: its value, or the nearest part around it
    /// that the file names; the file's start if there is none.
    pub fn locate(&self, path: &str) -> FileError {
        let span = self.places.nearest(path).map_or(0..0, |place| {
            // The value of `[views.book]` is the whole section: its name is what to point at.
            let many_lines = self.text.get(place.value.clone()).is_some_and(|text| text.contains('\n'));
            if many_lines || place.value.is_empty() { place.key.clone() } else { place.value.clone() }
        });
        self.place(span)
    }

    /// Where `key = value` stands as a whole.
    pub fn locate_entry(&self, path: &str) -> FileError {
        match self.places.get(path) {
            Some(place) => self.place(place.key.start..place.value.end.max(place.key.end)),
            None => self.locate(path),
        }
    }

    /// Where the bytes `part` of the string at `path`, which reads as `text`, stand in the file.
    pub fn locate_within(&self, path: &str, text: &str, part: Range<usize>) -> FileError {
        match self.places.get(path) {
            Some(place) => {
                self.place(read::within(&self.text, place.value.clone(), text, part.start, part.len()))
            }
            None => self.locate(path),
        }
    }

    fn place(&self, span: Range<usize>) -> FileError {
        let (line, column) = line_and_column(&self.text, span.start);
        FileError { line, column, span, message: String::new(), remedy: None }
    }

    /// The view of that name.
    pub fn view(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|view| *view.name == *name)
    }
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    Text(Secret),
    Int(i64),
    Bool(bool),
}

/// `[serve]`
#[derive(Clone, Debug)]
pub struct ServeSection {
    /// Where HTTP and the page are answered; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// Where the Redis protocol is answered; `None`: nowhere.
    pub resp: Option<SocketAddr>,
    /// Without it, what is sent can be read on the way.
    pub tls: Option<TlsFiles>,
    /// Who may read and act. Empty: everyone who can connect; then both addresses are the local machine's.
    pub tokens: Vec<Token>,
    /// Reads that the source answers in place of stores: per second, at once, and how long one may take.
    pub source_rate_per_second: u64,
    pub source_parallel: usize,
    pub source_timeout: Duration,
}

/// A certificate with the chain to its authority, and its key, as PEM files. Relative paths are relative to the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Who shows `secret` is `name` and may do what `role` may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub name: Box<str>,
    pub role: Role,
    pub secret: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads everything.
    Viewer,
    /// Also acts: retries, discards, repairs.
    Operator,
}

impl Role {
    /// The word of the file.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
        }
    }
}

impl Default for ServeSection {
    fn default() -> Self {
        ServeSection {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, default::LISTEN_PORT))),
            resp: None,
            tls: None,
            tokens: Vec::new(),
            source_rate_per_second: default::SOURCE_RATE_PER_SECOND,
            source_parallel: default::SOURCE_PARALLEL,
            source_timeout: default::SOURCE_TIMEOUT,
        }
    }
}

/// `[journal]`
#[derive(Clone, Debug)]
pub struct JournalSection {
    /// Past this, the slowest store is let go and rebuilt later; the journal never fills the disk.
    pub bytes_max: u64,
}

impl Default for JournalSection {
    fn default() -> Self {
        JournalSection { bytes_max: default::JOURNAL_BYTES_MAX }
    }
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

impl Default for BackfillSection {
    fn default() -> Self {
        BackfillSection {
            parallel: default::PARALLEL,
            chunk_rows: default::CHUNK_ROWS,
            rows_per_second_max: None,
        }
    }
}

/// `[verify]`: what is compared without being asked for.
#[derive(Clone, Debug)]
pub struct VerifySection {
    /// Rows of the source per second; `None`: nothing is compared by itself.
    pub rows_per_second: Option<u64>,
    /// A view is not compared again before so much time has passed.
    pub every: Duration,
    /// Whether what drifted is put right too.
    pub repair: bool,
    /// Within which a document that was made wrong on purpose should be found; `None`: it is only measured.
    pub detect_within: Option<Duration>,
}

impl Default for VerifySection {
    fn default() -> VerifySection {
        let every = Duration::from_secs(60);
        VerifySection { rows_per_second: None, every, repair: false, detect_within: None }
    }
}

/// `[run]`
#[derive(Clone, Debug)]
pub struct RunSection {
    /// How long a clean shutdown may take.
    pub shutdown_within: Duration,
}

impl Default for RunSection {
    fn default() -> Self {
        RunSection { shutdown_within: default::SHUTDOWN_WITHIN }
    }
}

/// `[telemetry]`: traces, and who takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetrySection {
    /// A collector that takes OTLP over HTTP; `None`: the environment names it, or it is the usual one of this machine.
    pub otlp: Option<Box<str>>,
    /// Sent with every delivery.
    pub headers: Vec<(Box<str>, Secret)>,
    /// Of transactions and of reads that bring no decision of their own, in millionths.
    pub sample: u32,
    /// What is said of this instance, by the names of the semantic conventions.
    pub resource: Vec<(Box<str>, Box<str>)>,
}

/// `[heal]`: who has to agree before something is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealSection {
    /// Nothing is cleared, filled again or repaired without approval.
    pub safe: bool,
    /// Of one store.
    pub refill: Level,
    /// Of everything, after a gap in the log.
    pub rebuild: Level,
    /// Of keys that differ.
    pub repair: Level,
}

impl Default for HealSection {
    fn default() -> Self {
        HealSection { safe: false, refill: Level::Alone, rebuild: Level::Alone, repair: Level::Alone }
    }
}

/// `[objectives]`: what drills are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectivesSection {
    /// From a fault to everything being whole again.
    pub rto: Duration,
    /// Committed transactions that may be missing then.
    pub rpo_transactions: u64,
}

impl Default for ObjectivesSection {
    fn default() -> Self {
        ObjectivesSection { rto: default::RTO, rpo_transactions: 0 }
    }
}
