//! The newest advice about indexes, in the data folder: what `headwater doctor indexes` says of the file's source is a finding until it
//! is asked again and does not say it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use headwater_control::indexes::Advice;
use serde::{Deserialize, Serialize};

use crate::whole_files::replace;

/// What is remembered of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Advised {
    /// Seconds since 1970.
    pub at_seconds: u64,
    /// When a backup was last restored to measure on.
    #[serde(default)]
    pub restored_at_seconds: Option<u64>,
    /// Whether it was measured.
    pub verified: bool,
    pub indexes: Vec<AdvisedIndex>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdvisedIndex {
    pub subject: String,
    /// It is there, and to be dropped.
    pub exists: bool,
    /// Of what the workload costs, as a share.
    pub worth: f64,
    pub bytes: f64,
    pub statement: String,
    pub undo: String,
}

fn path(data: &Path) -> PathBuf {
    data.join("indexes.json")
}

/// Keeps an advice in place of the one before. `restored`: on a backup that was restored for it.
pub fn keep(data: &Path, advice: &Advice, at_seconds: u64, restored: bool) -> anyhow::Result<()> {
    let before = read(data).ok().flatten().unwrap_or_default();
    let advised = Advised {
        at_seconds,
        restored_at_seconds: if restored { Some(at_seconds) } else { before.restored_at_seconds },
        verified: advice.verified,
        indexes: advice
            .indexes
            .iter()
            .map(|advised| AdvisedIndex {
                subject: advised.subject(),
                exists: advised.index.exists,
                worth: advised.worth,
                bytes: advised.index.bytes,
                statement: advised.index.statement.clone(),
                undo: advised.index.undo.clone(),
            })
            .collect(),
    };
    replace(&path(data), &serde_json::to_string_pretty(&advised).context("cannot write the advice as JSON")?)
}

/// `None`: nobody asked yet.
pub fn read(data: &Path) -> anyhow::Result<Option<Advised>> {
    let path = path(data);
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .with_context(|| format!("{} is damaged: ask again, headwater doctor indexes", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
