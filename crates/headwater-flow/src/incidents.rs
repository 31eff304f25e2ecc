//! What happened to the parts and what was done about it: the newest in memory for whoever asks, all of it in a log in
//! the data folder.
//!
//! Owns: which incidents are worth a line, which trouble another one ends, the log. Does not own: what counts as an
//! incident; the board says so.
//!
//! Invariant: whatever repeats itself, and however often, costs a bounded number of lines per minute, and no repetition
//! goes uncounted. Nobody waits for the disk: lines are written by whoever calls [`Incidents::take_lines`].

mod chain;
pub(crate) mod keeping;
mod log;
mod read;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

pub(crate) use log::Log;
pub use read::{Problem, Read, read};

use crate::status::{Incident, IncidentKind};

/// Incidents in memory at most; the oldest go first.
const INCIDENTS_MAX: usize = 200;

/// A cause is cut here, in characters: errors may quote what somebody else wrote.
const CAUSE_CHARS_MAX: usize = 400;

/// So often within a window the same is written down at once; what comes after is summed up when the window ends.
const AT_ONCE_MAX: u32 = 5;
const WINDOW_MICROS: i64 = 60_000_000;

/// Lines that wait for the disk, at most. Past it they are counted only.
const WAITING_MAX: usize = 1_000;

/// The log's folder inside the data folder.
pub fn folder(data: &Path) -> PathBuf {
    data.join("incidents")
}

#[derive(Debug, Default)]
pub(crate) struct Incidents {
    kept: VecDeque<Incident>,
    windows: BTreeMap<(String, IncidentKind), Window>,
    /// When the trouble began that parts are in.
    open: BTreeMap<(String, IncidentKind), i64>,
    waiting: Vec<Incident>,
    /// Of those that waited too long.
    uncounted: u64,
    counts: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Window {
    begun: i64,
    written: u32,
    folded: Option<Incident>,
}

impl Incidents {
    pub fn add(&mut self, mut incident: Incident) {
        for text in [&mut incident.cause].into_iter().chain(incident.evidence.as_mut()) {
            cut(text);
        }
        *self.counts.entry(incident.kind.as_str()).or_default() += 1;
        self.pair(&mut incident);
        self.keep(&incident);
        self.queue(incident);
    }

    /// What the log holds takes the place of what memory holds, except of what is not written yet.
    pub fn resume(&mut self, written: Vec<Incident>) {
        self.kept.clear();
        self.open.clear();
        let folded = self.windows.values().filter_map(|window| window.folded.clone());
        let unwritten: Vec<Incident> = self.waiting.iter().cloned().chain(folded).collect();
        for mut incident in written.into_iter().chain(unwritten) {
            self.pair(&mut incident);
            self.keep(&incident);
        }
    }

    /// Remembers when trouble began, and tells its end so.
    fn pair(&mut self, incident: &mut Incident) {
        let mut began = None;
        for kind in incident.kind.ends() {
            let at = self.open.remove(&(incident.part.clone(), *kind));
            began = [began, at].into_iter().flatten().min();
        }
        if began.is_some() {
            incident.began_micros = began;
        }
        let may_end = [IncidentKind::Leading, IncidentKind::Recovered, IncidentKind::Filled];
        if may_end.iter().any(|end| end.ends().contains(&incident.kind)) {
            self.open.entry((incident.part.clone(), incident.kind)).or_insert(incident.at_micros);
        }
    }

    fn keep(&mut self, incident: &Incident) {
        let last_of_part = self.kept.iter_mut().rev().find(|kept| kept.part == incident.part);
        if let Some(last) =
            last_of_part.filter(|last| last.kind == incident.kind && last.step == incident.step)
        {
            fold(last, incident);
            return;
        }
        if self.kept.len() == INCIDENTS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(incident.clone());
    }

    fn queue(&mut self, incident: Incident) {
        let now = incident.last_at_micros;
        let key = (incident.part.clone(), incident.kind);
        let over = self.windows.get(&key).is_some_and(|window| window.is_over(now));
        if over && let Some(window) = self.windows.remove(&key) {
            self.waiting.extend(window.folded);
        }
        let window = self.windows.entry(key).or_insert(Window { begun: now, written: 0, folded: None });
        if window.written < AT_ONCE_MAX {
            window.written += 1;
            self.waiting.push(incident);
        } else {
            match &mut window.folded {
                Some(folded) => fold(folded, &incident),
                None => window.folded = Some(incident),
            }
        }
        if self.waiting.len() > WAITING_MAX {
            self.uncounted +=
                self.waiting.iter().skip(WAITING_MAX).map(|incident| incident.times).sum::<u64>();
            self.waiting.truncate(WAITING_MAX);
        }
    }

    /// The lines to write now. `all` also takes what would be summed up later: nothing comes after this.
    pub fn take_lines(&mut self, now_micros: i64, all: bool) -> Vec<Incident> {
        let mut lines = std::mem::take(&mut self.waiting);
        self.windows.retain(|_, window| {
            let over = all || window.is_over(now_micros);
            if over {
                lines.extend(window.folded.take());
            }
            !over
        });
        if self.uncounted > 0 {
            let times = std::mem::take(&mut self.uncounted);
            let cause = "incidents that could not be written down in time";
            // Counted like others if this line cannot be written either.
            lines.push(Incident {
                times,
                ..Incident::new(now_micros, "incident log", IncidentKind::LogDamaged, cause)
            });
        }
        lines
    }

    /// Takes lines back that could not be written: they are older than those that wait.
    pub fn give_back(&mut self, mut lines: Vec<Incident>) {
        lines.append(&mut self.waiting);
        self.uncounted += lines.iter().skip(WAITING_MAX).map(|incident| incident.times).sum::<u64>();
        lines.truncate(WAITING_MAX);
        self.waiting = lines;
    }

    /// Newest first.
    pub fn newest_first(&self) -> Vec<Incident> {
        self.kept.iter().rev().cloned().collect()
    }

    /// How often something happened since the process started, by kind.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counts.iter().map(|(kind, count)| (*kind, *count)).collect()
    }
}

impl Window {
    /// A clock that was set back ends it too.
    fn is_over(&self, now_micros: i64) -> bool {
        !(self.begun..self.begun + WINDOW_MICROS).contains(&now_micros)
    }
}

/// Adds what is the same again, later.
fn fold(into: &mut Incident, incident: &Incident) {
    into.last_at_micros = incident.last_at_micros;
    into.times += incident.times;
    into.cause.clone_from(&incident.cause);
    into.epoch = incident.epoch;
    into.evidence.clone_from(&incident.evidence);
    into.approved_by.clone_from(&incident.approved_by);
    into.result.clone_from(&incident.result);
    into.began_micros = incident.began_micros;
}

fn cut(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(CAUSE_CHARS_MAX) {
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn some(at: i64, kind: IncidentKind) -> Incident {
        Incident::new(at, "store near", kind, "refused")
    }

    #[test]
    fn what_repeats_itself_is_one_entry_in_memory_and_the_list_stays_short() {
        let mut incidents = Incidents::default();
        for second in 0..1000 {
            incidents.add(some(second * SECOND, IncidentKind::Failed));
            incidents.add(Incident::new(second * SECOND, "source", IncidentKind::Leading, ""));
        }
        let kept = incidents.newest_first();
        assert_eq!(kept.len(), 2);
        assert_eq!((kept[1].at_micros, kept[1].last_at_micros, kept[1].times), (0, 999 * SECOND, 1000));
        for second in 0..1000 {
            let kind = if second % 2 == 0 { IncidentKind::Recovered } else { IncidentKind::Failed };
            incidents.add(Incident { cause: "ü".repeat(1000), ..some(second, kind) });
        }
        let kept = incidents.newest_first();
        assert_eq!((kept.len(), kept[0].at_micros), (INCIDENTS_MAX, 999));
        assert!(kept.iter().all(|incident| incident.cause.chars().count() == CAUSE_CHARS_MAX + 1));
    }

    /// A store that comes and goes ten times a second for an hour: the lines stay few, and nothing goes uncounted.
    #[test]
    fn a_part_that_flaps_costs_few_lines_and_every_repetition_is_counted() {
        let mut incidents = Incidents::default();
        let mut lines = Vec::new();
        for tenth in 0..36_000 {
            let kind = if tenth % 2 == 0 { IncidentKind::Failed } else { IncidentKind::Recovered };
            incidents.add(some(tenth * SECOND / 10, kind));
            lines.extend(incidents.take_lines(tenth * SECOND / 10, false));
        }
        lines.extend(incidents.take_lines(36_000 * SECOND / 10, true));
        assert!(lines.len() <= 60 * 2 * (AT_ONCE_MAX as usize + 1), "{} lines", lines.len());
        assert_eq!(lines.iter().map(|line| line.times).sum::<u64>(), 36_000);
        assert_eq!(incidents.counts(), [("failed", 18_000), ("recovered", 18_000)]);
    }

    #[test]
    fn the_end_of_a_trouble_says_when_it_began_also_after_a_restart() {
        let mut incidents = Incidents::default();
        incidents.add(some(5, IncidentKind::Failed));
        incidents.add(some(7, IncidentKind::Failed));
        let before = incidents.take_lines(8, false);
        let mut incidents = Incidents::default();
        incidents.resume(before);
        incidents.add(some(9, IncidentKind::Recovered));
        incidents.add(some(11, IncidentKind::Recovered));
        let lines = incidents.take_lines(12, true);
        assert_eq!(lines.iter().map(|line| line.began_micros).collect::<Vec<_>>(), [Some(5), None]);
        assert_eq!(incidents.newest_first().len(), 2, "those from before are still there");
    }

    #[test]
    fn a_disk_that_takes_nothing_costs_a_bounded_amount_of_memory_and_is_told_of() {
        let mut incidents = Incidents::default();
        for n in 0..5_000 {
            incidents.add(Incident::new(n, &format!("store {n}"), IncidentKind::Failed, ""));
            if n % 100 == 0 {
                let lines = incidents.take_lines(n, false);
                incidents.give_back(lines);
            }
        }
        let lines = incidents.take_lines(5_000, false);
        assert_eq!(lines.len(), WAITING_MAX + 1);
        assert_eq!((lines[WAITING_MAX].kind, lines[WAITING_MAX].times), (IncidentKind::LogDamaged, 4_000));
    }
}
