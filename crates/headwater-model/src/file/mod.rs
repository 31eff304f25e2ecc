//! The file, `headwater.toml`, as data: what the rest of the program reads. Parsing and its located errors are in
//! the submodules; whatever is here is complete and consistent in itself (names resolve, units are converted), but
//! not yet compared with the live source: that is `check`.
//!
//! Invariant: a [`File`] exists only if nothing in its text is wrong; otherwise there are [`FileErrors`] with every
//! mistake of the text, not the first alone.

mod access;
mod call;
mod config;
mod doctor;
mod error;
mod heal;
mod holders;
mod kinds;
mod name;
mod place;
mod plan;
mod read;
mod reference;
mod sections;
mod serve;
mod sources;
mod telemetry;
mod unit;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use crate::heal::Level;
use crate::{Access, Secret, TableName, View, ViewId};
pub use config::{access as toml_access, key as toml_key, string as toml_string, views as toml_views};
pub use error::{FileError, FileErrors, line_and_column};
pub use name::{parse_table_name, show_table_name};
pub use place::{Place, Places};
pub use reference::{References, hide_password};
pub use unit::{
    parse_duration, parse_frequency, parse_growth, parse_money, parse_rate, parse_share, parse_size,
    show_duration, show_frequency, show_rate, show_share, show_size,
};

use read::{Reader, Section};
use views::Marks;

/// Something the file names, and what it is if that can be read.
type Named<T> = (Box<str>, Option<T>);

/// Of which source each view is, by name.
pub type Owners = BTreeMap<ViewId, Box<str>>;

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
    pub const REGION: &str = "us-east-1";
    /// Of the rates of the file, how much of them there is over a whole month, in millionths.
    pub const AVERAGE: u32 = 1_000_000;
    /// Of the source's rows, how many are read often, in millionths.
    pub const HOT: u32 = 200_000;
    /// What running one more engine costs beside its bill, in US dollars per month.
    pub const UPKEEP_USD: u64 = 100;
    /// Of the answers, how many cross from one availability zone to another, in millionths: readers in three zones.
    pub const CROSS_ZONE: u32 = 670_000;
}

/// The whole file.
#[derive(Clone, Debug)]
pub struct File {
    /// Where Headwater keeps journal and local state. Relative paths are relative to the file.
    pub data: PathBuf,
    /// `[source]` alone, or those of `[sources]` in the order of the file; never none.
    pub sources: Vec<SourceSection>,
    /// Of which source each view is, where sources have names.
    pub owners: Owners,
    pub stores: Vec<StoreSection>,
    pub views: Vec<View>,
    /// The views that hold data about people: `pii = true`.
    pub pii: BTreeSet<ViewId>,
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
    pub doctor: DoctorSection,
    /// Without it there is nothing to plan for.
    pub plan: Option<PlanSection>,
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
        let sources = sources::sources(&mut reader, &mut root);
        let section = root.take_section(&mut reader, "stores");
        let stores = sections::stores(&mut reader, section);
        sections::apart(&mut reader, &sources, &stores);
        let names: Vec<&str> = stores.iter().map(|(name, _)| &**name).collect();
        let section = root.take_section(&mut reader, "views");
        let (views, Marks { owners, pii }) = views::views(&mut reader, section, &names, &sources);
        if !views.is_empty() && stores.is_empty() && !root.has("stores") {
            reader.missing(
                0..0,
                "the file has no [stores]",
                "add one: [stores] with local = { url = \"sqlite:derived.db\" }",
            );
        }
        let section = root.take_section(&mut reader, "access");
        let access = access::access(&mut reader, section, &views, &names);
        sources::one_each(&mut reader, &views, &owners, &access);
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
        let section = root.take_section(&mut reader, "doctor");
        let doctor = doctor::doctor(&mut reader, section);
        let section = root.take_section(&mut reader, "plan");
        let plan = plan::plan(&mut reader, section, &views, &access);
        root.finish(&mut reader);

        match data {
            Some(data) if syntax.is_empty() && reader.is_fine() => Ok(File {
                data: data.into(),
                sources: sources.into_iter().filter_map(|(_, source)| source).collect(),
                owners,
                stores: stores.into_iter().filter_map(|(_, store)| store).collect(),
                views: views.into_iter().filter_map(|(_, view)| view).collect(),
                pii,
                access,
                serve,
                journal,
                backfill,
                verify,
                run,
                telemetry,
                heal,
                objectives,
                doctor,
                plan,
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

/// `[source]`, or one entry of `[sources]`
#[derive(Clone, Debug)]
pub struct SourceSection {
    /// Its name among several; `None` for `[source]`.
    pub name: Option<Box<str>>,
    pub url: Secret,
    /// What the engine itself understands; it refuses what it does not know.
    pub settings: Settings,
    /// How long a slow store may hold back the release of the source's log before the journal alone decides.
    pub hold_for: Duration,
    /// At this much log retained at the source, following is given up and the slot dropped: the source comes first.
    pub retained_log_bytes_max: u64,
}

impl SourceSection {
    /// The section that names no more than a URL.
    pub fn of_url(url: &str) -> SourceSection {
        SourceSection {
            name: None,
            url: Secret::new(url),
            settings: Settings::default(),
            hold_for: default::HOLD_FOR,
            retained_log_bytes_max: default::RETAINED_LOG_BYTES_MAX,
        }
    }

    /// What it is called in the file, dotted: where its keys stand behind.
    pub fn path(&self) -> String {
        match &self.name {
            Some(name) => format!("sources.{name}"),
            None => "source".to_owned(),
        }
    }
}

/// One entry of `[stores]`
#[derive(Clone, Debug)]
pub struct StoreSection {
    pub name: Box<str>,
    pub url: Secret,
    pub settings: Settings,
    /// Whose views are kept there by whoever opens the store, where sources have names.
    pub source: Option<Box<str>>,
}

impl StoreSection {
    /// What the store calls something of which each source that keeps views there has one of its own, such as its position.
    /// Neither a view nor a source has an `@` in its name.
    pub fn of_source(&self, name: &str) -> String {
        match &self.source {
            Some(source) => format!("{name}@{source}"),
            None => name.to_owned(),
        }
    }
}

/// Engine settings by name. Texts may have come from `${ENV}` or `file:` and so are secret.
pub type Settings = BTreeMap<Box<str>, Setting>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    Text(Secret),
    Int(i64),
    Bool(bool),
    /// Settings of something by its own name, as of a table: `columns.orders = { total = "number" }`.
    Table(Settings),
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

/// `[doctor]`: what an examination of the engines may cost, and what of its findings is known.
#[derive(Clone, Debug, PartialEq)]
pub struct DoctorSection {
    /// How often a running instance examines its engines and itself; `None`: only who asks is told.
    pub every: Option<Duration>,
    /// How long an engine may work on one check.
    pub check_within: Duration,
    /// Where data about people may be kept; empty: anywhere.
    pub pii_regions: Vec<Box<str>>,
    /// Limits of checks that are set otherwise, by `ID.name`.
    pub limits: BTreeMap<String, f64>,
    /// Findings that somebody has decided to live with, by check (`HW1031`) or by check and subject (`HW1003 public.book_n`),
    /// and the reason.
    pub accepted: BTreeMap<String, String>,
}

impl Default for DoctorSection {
    fn default() -> DoctorSection {
        DoctorSection {
            every: Some(Duration::from_secs(3600)),
            check_within: Duration::from_secs(3),
            pii_regions: Vec::new(),
            limits: BTreeMap::new(),
            accepted: BTreeMap::new(),
        }
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

/// `[plan]`: what the planner has to know and cannot see, and what the plan has to keep to. Shares are in millionths.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanSection {
    pub region: Box<str>,
    /// Others that hold a copy of everything.
    pub regions: Vec<Box<str>>,
    /// Where data may be kept: regions, or what their names begin with, as `eu`. Empty: anywhere.
    pub residency: Vec<Box<str>>,
    /// Per month.
    pub budget_usd: Option<u64>,
    /// Of rows and rates, per year: 0.4 is 40 %.
    pub growth: f64,
    /// By contract, over a month.
    pub availability: Option<u32>,
    /// How long an access pattern may be without its engine.
    pub rto: Option<Duration>,
    /// How much of what was committed may be lost with an availability zone.
    pub rpo: Option<Duration>,
    /// The month's average of the rates, which are those of the busiest hour.
    pub average: u32,
    /// Of the source's rows, those that are read often and have to be in memory.
    pub hot: u32,
    /// Of the answers, how many cross from one availability zone to another.
    pub cross_zone: u32,
    /// What running one more engine costs beside its bill, per month.
    pub upkeep_usd: u64,
    /// Clients of the source at the same time.
    pub connections: Option<u64>,
    /// Services that are not to be used, by the names of the catalogue.
    pub without: Vec<Box<str>>,
    pub tables: Vec<PlannedTable>,
    pub views: Vec<PlannedView>,
    pub access: Vec<PlannedAccess>,
}

impl Default for PlanSection {
    fn default() -> Self {
        PlanSection {
            region: default::REGION.into(),
            regions: Vec::new(),
            residency: Vec::new(),
            budget_usd: None,
            growth: 0.0,
            availability: None,
            rto: None,
            rpo: None,
            average: default::AVERAGE,
            hot: default::HOT,
            cross_zone: default::CROSS_ZONE,
            upkeep_usd: default::UPKEEP_USD,
            connections: None,
            without: Vec::new(),
            tables: Vec::new(),
            views: Vec::new(),
            access: Vec::new(),
        }
    }
}

/// What a table holds and takes; what is not said is asked of the source, except writes.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTable {
    pub table: TableName,
    /// The name as the file has it.
    pub path: Box<str>,
    pub rows: Option<u64>,
    /// Of an average row.
    pub row_bytes: Option<u64>,
    /// Rows inserted, updated and deleted.
    pub writes_per_second: Option<f64>,
}

/// What is known of a view's documents better than it can be worked out from its tables.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedView {
    pub view: ViewId,
    pub documents: Option<u64>,
    pub document_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PlannedAccess {
    pub access: Box<str>,
    /// Rows or documents that one answer has or goes through.
    pub rows: Option<u64>,
    /// Of the pattern's rate, what goes to its hottest key.
    pub hottest: Option<u32>,
    /// An answer shows everything that was committed before it was asked for.
    pub strong: bool,
}
