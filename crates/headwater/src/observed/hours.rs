//! Hours in the data folder: `observed/hours.json` has those that are over, `observed/now.json` the one that goes on.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use headwater_flow::serve::stats::{BUCKETS_MICROS, HistogramSample, PatternSample};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::whole_files::replace;

/// Five weeks; the oldest go.
const KEPT_MAX: usize = 35 * 24;

/// What was counted within one hour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hour {
    /// Since 1970, by this machine's clock.
    pub hour: u64,
    /// For how long of it was counted.
    pub seconds: f64,
    pub patterns: BTreeMap<String, Reads>,
    /// Rows that were inserted, updated or deleted.
    pub tables: BTreeMap<String, u64>,
}

/// Reads of one access pattern that were answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reads {
    /// By how long they took: the buckets of the data plane's histograms.
    pub latency: Vec<u64>,
    pub max_micros: u64,
    /// What answers were made of, and how large that was.
    pub documents: u64,
    pub bytes: u64,
}

impl Reads {
    pub fn count(&self) -> u64 {
        self.latency.iter().sum()
    }

    pub fn add(&mut self, more: &Reads) {
        self.latency.resize(self.latency.len().max(more.latency.len()), 0);
        self.latency.iter_mut().zip(&more.latency).for_each(|(count, more)| *count += more);
        self.max_micros = self.max_micros.max(more.max_micros);
        self.documents += more.documents;
        self.bytes += more.bytes;
    }

    /// What was counted between two samples of the same pattern.
    pub fn between(before: &PatternSample, after: &PatternSample) -> Reads {
        let latency = after.latency.since(&before.latency);
        Reads {
            latency: latency.counts.to_vec(),
            max_micros: latency.max_micros,
            documents: after.documents.saturating_sub(before.documents),
            bytes: after.bytes.saturating_sub(before.bytes),
        }
    }

    /// By the bound of its bucket.
    pub fn p99_ms(&self) -> Option<f64> {
        let mut sample = HistogramSample { max_micros: self.max_micros, ..HistogramSample::default() };
        // Of a version with other buckets nothing can be said.
        if self.latency.len() != BUCKETS_MICROS.len() + 1 {
            return None;
        }
        sample.counts.copy_from_slice(&self.latency);
        sample.quantile(0.99).map(|took| took.as_secs_f64() * 1e3)
    }
}

fn folder(data: &Path) -> PathBuf {
    data.join("observed")
}

/// All hours that are known, oldest first, the one that goes on last.
pub fn read(data: &Path) -> anyhow::Result<Vec<Hour>> {
    let mut hours = over(data)?;
    hours.extend(going_on(data)?);
    Ok(hours)
}

/// The hour that goes on, unless it is on record as over already: then a restart came between the two.
pub fn going_on(data: &Path) -> anyhow::Result<Option<Hour>> {
    let now: Option<Hour> = load(&folder(data).join("now.json"))?;
    let last = over(data)?.last().map(|hour| hour.hour);
    Ok(now.filter(|now| last.is_none_or(|last| now.hour > last)))
}

/// The hour that goes on, instead of what was said of it before.
pub fn say(data: &Path, now: &Hour) -> anyhow::Result<()> {
    save(&folder(data), "now.json", now)
}

/// The hour is over.
pub fn close(data: &Path, hour: Hour) -> anyhow::Result<()> {
    let mut hours = over(data)?;
    hours.push(hour);
    let surplus = hours.len().saturating_sub(KEPT_MAX);
    hours.drain(..surplus);
    save(&folder(data), "hours.json", &hours)
}

fn over(data: &Path) -> anyhow::Result<Vec<Hour>> {
    Ok(load(&folder(data).join("hours.json"))?.unwrap_or_default())
}

fn load<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is damaged: remove it, and observing begins anew", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn save(folder: &Path, name: &str, what: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(what).context("cannot write what was observed as JSON")?;
    replace(&folder.join(name), &text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_between_two_hours_counts_none_twice_and_old_hours_go() {
        let folder = headwater_testkit::Folder::new("hours");
        let hour = |hour| Hour { hour, seconds: 3_600.0, ..Hour::default() };
        assert_eq!(read(folder.path()).unwrap(), []);
        say(folder.path(), &hour(7)).unwrap();
        assert_eq!(going_on(folder.path()).unwrap(), Some(hour(7)));
        close(folder.path(), hour(7)).unwrap();
        assert_eq!(going_on(folder.path()).unwrap(), None);
        assert_eq!(read(folder.path()).unwrap(), [hour(7)]);
        say(folder.path(), &hour(8)).unwrap();
        assert_eq!(read(folder.path()).unwrap(), [hour(7), hour(8)]);
        let many: Vec<Hour> = (0..KEPT_MAX as u64).map(hour).collect();
        save(&super::folder(folder.path()), "hours.json", &many).unwrap();
        close(folder.path(), hour(5_000)).unwrap();
        let kept = read(folder.path()).unwrap();
        assert_eq!((kept.len(), kept[0].hour, kept[KEPT_MAX - 1].hour), (KEPT_MAX, 1, 5_000));
        fs::write(folder.path().join("observed/hours.json"), "{").unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("damaged"));
    }
}
