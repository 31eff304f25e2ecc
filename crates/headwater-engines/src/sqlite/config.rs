//! `sqlite:PATH`, and the settings of source and embedded store.

use std::path::PathBuf;
use std::time::Duration;

use headwater_model::file::{SourceSection, StoreSection};
use headwater_model::{Error, Result};

use crate::settings;

/// When a commit counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// The file is synced at checkpoints. A crash of the program loses nothing; a power cut may take back the newest
    /// commits, data and position together, and the data plane applies them again. That is why it is the default.
    #[default]
    Normal,
    /// Every commit is synced.
    Full,
}

/// Where the embedded store lies and how it writes.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub path: PathBuf,
    pub synchronous: Synchronous,
    /// Whose views these are, where several sources have theirs in one file.
    pub source: Option<Box<str>>,
}

impl StoreOptions {
    pub fn at(path: impl Into<PathBuf>) -> StoreOptions {
        StoreOptions { path: path.into(), synchronous: Synchronous::default(), source: None }
    }

    pub(super) fn parse(section: &StoreSection) -> Result<StoreOptions> {
        let name = format!("the store \"{}\"", section.name);
        let path = path_of(section.url.reveal()).map_err(|e| e.while_doing(&name))?;
        let mut settings = settings::Reader::new(name, &section.settings);
        let synchronous = match settings.word("synchronous", &["normal", "full"])? {
            Some("full") => Synchronous::Full,
            _ => Synchronous::Normal,
        };
        settings.finish()?;
        Ok(StoreOptions { path, synchronous, source: section.source.clone() })
    }
}

/// Which database is followed, and how much log may pile up in it.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    pub path: PathBuf,
    /// Past this the writers cut the oldest changes, whether Headwater runs or not.
    pub retained_log_bytes_max: u64,
}

impl SourceOptions {
    /// The options, and how long one access pattern may be worked on.
    pub(super) fn parse(section: &SourceSection) -> Result<(SourceOptions, Duration)> {
        let path = path_of(section.url.reveal()).map_err(|e| e.while_doing("the source"))?;
        let mut settings = settings::Reader::new("the source", &section.settings);
        let answer_within = settings.answer_timeout()?.unwrap_or(settings::ANSWER_WITHIN);
        settings.finish()?;
        let options = SourceOptions { path, retained_log_bytes_max: section.retained_log_bytes_max };
        Ok((options, answer_within))
    }

    pub(super) fn log_rows_max(&self) -> u64 {
        self.retained_log_bytes_max / LOG_ROW_BYTES
    }
}

/// About what a row of the change table takes on disk, with a short key.
pub(super) const LOG_ROW_BYTES: u64 = 40;

/// The path in `sqlite:PATH`; `sqlite://` before an absolute path is taken too.
pub(super) fn path_of(url: &str) -> Result<PathBuf> {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let wrong = |what: &str| {
        Err(Error::misconfigured(what).with_remedy("name a file, such as url = \"sqlite:data/derived.db\""))
    };
    if path.is_empty() {
        return wrong("the URL names no file");
    }
    if path.starts_with(":memory:") || path.starts_with("file:") {
        return wrong("the URL names a database in memory or another URL, not a file");
    }
    if path.starts_with("//") || path.contains('?') {
        return wrong("the URL has a host or a query, which SQLite files do not have");
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_are_read_and_what_is_no_file_is_refused() {
        assert_eq!(path_of("sqlite:derived.db").unwrap(), PathBuf::from("derived.db"));
        assert_eq!(path_of("sqlite:/var/x.db").unwrap(), PathBuf::from("/var/x.db"));
        assert_eq!(path_of("sqlite:///var/x.db").unwrap(), PathBuf::from("/var/x.db"));
        for wrong in
            ["sqlite:", "sqlite::memory:", "sqlite:file:x.db", "sqlite://host/x.db", "sqlite:x.db?mode=ro"]
        {
            assert!(path_of(wrong).is_err(), "{wrong}");
        }
    }
}
