//! A cache that holds part of a view: what is read often, or for a time; what it lacks is read from the database.
//!
//! Reads are taken as even over the documents that are read often (`hot` of them, or what the file says that a part holds): nothing is
//! harder on a cache of that size. A document that stays for a time is then there for `n / (1 + n)` of all time, where `n` is how often
//! it is read in it, and one of `1 + n` reads misses it.

use std::time::Duration;

use headwater_model::file::show_duration;

use super::{Other, Then, readers};
use crate::catalog::Malformed;
use crate::plan::choice::UNLIMITED;
use crate::plan::explain::Explained;
use crate::plan::report::{figure, per_second, percent, size};
use crate::plan::services::{CPU, GB, GIB, MEMORY, Market, SECONDS, document_bytes, total};
use crate::plan::workload::{Held, PatternKind, PatternLoad, ViewShape, Workload};

/// Of reads, those of documents that are not read often: as many as a p99 leaves out.
const MISSED: f64 = 0.01;
/// Of a part, what staying for a time has to save to be another schema.
const LESS: f64 = 0.9;

/// A view that a cache keeps and that is only read by key.
struct Cached<'a> {
    this: &'a Explained<'a>,
    view: usize,
    readers: Vec<usize>,
    /// Per second.
    rate: f64,
    /// Documents that are read often.
    often: f64,
    /// Of one document.
    bytes: f64,
}

pub(super) fn parts(this: &Explained<'_>) -> Result<Vec<Other>, Malformed> {
    let workload = this.workload;
    let market = Market::of(this.catalog, workload)?;
    let mut others = Vec::new();
    for (place, view) in workload.views.iter().enumerate() {
        let readers = readers(workload, place);
        let is_cached = |reader: &usize| {
            let pattern = &workload.patterns[*reader];
            // Nothing but a document by its key can be known to be missing.
            pattern.kind == PatternKind::Get && this.offer(this.chosen.answered_by[*reader]).scheme == "redis"
        };
        if view.shape != ViewShape::Document || readers.is_empty() || !readers.iter().all(is_cached) {
            continue;
        }
        let often = view.part.map_or(view.documents * workload.hot, |part| part.documents);
        let cached = Cached {
            this,
            view: place,
            rate: readers.iter().map(|reader| workload.patterns[*reader].rate).sum(),
            readers,
            often: often.clamp(1.0, view.documents.max(1.0)),
            bytes: document_bytes(&market, view),
        };
        others.extend(cached.most_read());
        others.extend(cached.for_a_time());
    }
    Ok(others)
}

impl Cached<'_> {
    /// What is read often; another document takes the place of the one that was not read for the longest.
    fn most_read(&self) -> Option<Other> {
        let documents = self.this.workload.views[self.view].documents;
        if self.often > LESS * documents {
            return None;
        }
        let instead = format!(
            "hold = \"{}\": the {} that are read often, {}; if 1 read in 100 is of another, the database answers {}",
            percent(self.often / documents).replace(' ', ""),
            figure(self.often),
            size(self.often * self.bytes),
            per_second(self.rate * MISSED)
        );
        Some(self.other(self.often, MISSED, instead))
    }

    /// As long as the file says, or else as long as a document is worth its memory.
    fn for_a_time(&self) -> Option<Other> {
        let declared = self.this.workload.views[self.view].part.and_then(|part| part.ttl_s);
        let each = self.rate / self.often;
        let ttl_s = match declared {
            Some(ttl_s) => ttl_s,
            // What misses must not be more than a p99 leaves out.
            None if self.is_late() => whole(self.worth_s()?.max((1.0 / MISSED - 1.0) / each)),
            None => whole(self.worth_s()?),
        };
        let (share, missed) = aged(each * ttl_s);
        let there = self.often * share;
        if declared.is_none() && share > LESS {
            return None;
        }
        let instead = format!(
            "ttl = \"{}\"{}: {} of the {} that are read often at a time, {}; the database answers {} that have aged out",
            show_duration(Duration::from_secs_f64(ttl_s)),
            if declared.is_some() {
                ""
            } else {
                ", after which keeping one costs more than reading it again"
            },
            figure(there),
            figure(self.often),
            size(there * self.bytes),
            per_second(self.rate * missed)
        );
        Some(self.other(there, missed, instead))
    }

    fn other(&self, documents: f64, missed: f64, instead: String) -> Other {
        let workload = self.this.workload;
        let view = &workload.views[self.view];
        let then = match missed > MISSED + 1e-9 && self.is_late() {
            true => Then::Unmet,
            false => Then::Today(Box::new(self.with(documents / view.documents.max(1.0), missed))),
        };
        let instead = match then {
            Then::Unmet => format!(
                "{instead}: {} of the reads, and the p99 that is asked for allows 1 %",
                percent(missed)
            ),
            _ => instead,
        };
        Other {
            of: format!("view {}", view.name),
            now: format!(
                "all {} documents in memory: {}",
                figure(view.documents),
                size(view.documents * self.bytes)
            ),
            instead,
            reads: self.rate,
            then,
        }
    }

    /// The workload in which the database answers what the cache lacks.
    fn with(&self, share: f64, missed: f64) -> Workload {
        let mut other = self.this.workload.clone();
        other.views[self.view].held = Some(Held { share, fills: self.rate * missed });
        for reader in &self.readers {
            let whole = &self.this.workload.patterns[*reader];
            other.patterns.push(PatternLoad {
                name: format!("misses of {}", whole.name).into(),
                rate: whole.rate * missed,
                p99_ms: None,
                stale_s: None,
                strong: true,
                ..whole.clone()
            });
        }
        other
    }

    /// Whether the database alone would be later than a reader asks for.
    fn is_late(&self) -> bool {
        let Some((source, _)) = self.source() else { return false };
        self.readers.iter().any(|reader| {
            let asked = self.this.workload.patterns[*reader].p99_ms;
            let answered = self.this.offer(source).answers[*reader].as_ref();
            asked.zip(answered.ok()).is_some_and(|(asked, answered)| answered.p99_ms > asked + 1e-9)
        })
    }

    fn source(&self) -> Option<(usize, usize)> {
        let mut setups = self.this.chosen.setups.iter().map(|(offer, setup)| (*offer, *setup));
        setups.find(|(offer, _)| self.this.offer(*offer).is_source)
    }

    /// How long memory for one document costs as much as the database's processors for one read of it.
    fn worth_s(&self) -> Option<f64> {
        let (source, setup) = self.source()?;
        let offer = self.this.offer(source);
        let setup = &offer.setups[setup];
        let processors: f64 = self
            .readers
            .iter()
            .filter_map(|reader| Some(offer.answers[*reader].as_ref().ok()?.load[CPU]))
            .sum();
        let read = processors / self.rate * total(&setup.lines) / setup.capacity[CPU];
        let by = self.this.chosen.answered_by[*self.readers.first()?];
        let (cache, setup) = (self.this.offer(by), *self.this.chosen.setups.get(&by)?);
        let setup = &cache.setups[setup];
        let byte = match setup.capacity[MEMORY] {
            memory if memory < UNLIMITED => total(&setup.lines) / (memory * GIB),
            _ => {
                let kept = cache.keeps.get(self.view)?.as_ref().ok()?;
                kept.lines.iter().find(|line| line.unit == "GB-hours")?.usd * SECONDS / 3600.0 / GB
            }
        };
        let worth_s = read / (byte * self.bytes) * SECONDS;
        (worth_s.is_finite() && worth_s >= 1.0).then_some(worth_s)
    }
}

/// Of documents that are read so often in their time, those that are there; and of the reads, those that miss.
fn aged(reads: f64) -> (f64, f64) {
    (reads / (1.0 + reads), 1.0 / (1.0 + reads))
}

/// Seconds, minutes or hours, as people write them.
fn whole(s: f64) -> f64 {
    let unit = match s {
        s if s < 60.0 => 1.0,
        s if s < 7_200.0 => 60.0,
        _ => 3_600.0,
    };
    (s / unit).ceil() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of documents that age, read at random and in steps of time: what is there and what misses is what the formula says.
    #[test]
    fn a_cache_that_ages_is_as_full_and_misses_as_often_as_is_said() {
        for (documents, reads_per_step, ttl) in [(500usize, 50usize, 4u32), (200, 100, 9), (1_000, 20, 100)] {
            let mut expires = vec![0u32; documents];
            let (mut seed, mut missed, mut there, steps) = (7u64, 0u64, 0u64, 3_000u32);
            for step in 1..=steps {
                for _ in 0..reads_per_step {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let read = &mut expires[(seed >> 33) as usize % documents];
                    if *read <= step {
                        (*read, missed) = (step + ttl, missed + 1);
                    }
                }
                there += expires.iter().filter(|at| **at > step).count() as u64;
            }
            let reads = reads_per_step as f64 / documents as f64 * f64::from(ttl);
            let (share, misses) = aged(reads);
            let seen = (
                there as f64 / documents as f64 / f64::from(steps),
                missed as f64 / reads_per_step as f64 / f64::from(steps),
            );
            // Steps are not as even as time is.
            assert!(
                (seen.0 - share).abs() < 0.05 && (seen.1 - misses).abs() < 0.05,
                "{seen:?} {share} {misses}"
            );
        }
    }
}
