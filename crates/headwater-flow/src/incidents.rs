//! What happened to the parts, newest last: a short list in memory, for whoever asks what went on while nobody looked.
//!
//! Bounded and not durable: a restart begins it anew. What repeats itself is one entry that says how often.

use std::collections::VecDeque;

use crate::status::{Incident, IncidentKind};

/// Entries at most; the oldest go first.
const INCIDENTS_MAX: usize = 200;

/// A cause is cut here, in characters: errors may quote what somebody else wrote.
const CAUSE_CHARS_MAX: usize = 400;

#[derive(Debug, Default)]
pub(crate) struct Incidents {
    kept: VecDeque<Incident>,
}

impl Incidents {
    /// `part` as in [`Incident::part`]; `now_micros` since 1970.
    pub fn add(&mut self, now_micros: i64, part: &str, kind: IncidentKind, cause: &str) {
        let cause = cut(cause);
        let last_of_part = self.kept.iter_mut().rev().find(|incident| incident.part == part);
        if let Some(last) = last_of_part.filter(|last| last.kind == kind) {
            last.last_at_micros = now_micros;
            last.times += 1;
            last.cause = cause;
            return;
        }
        if self.kept.len() == INCIDENTS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(Incident {
            at_micros: now_micros,
            last_at_micros: now_micros,
            times: 1,
            part: part.to_owned(),
            kind,
            cause,
        });
    }

    /// Newest first.
    pub fn newest_first(&self) -> Vec<Incident> {
        self.kept.iter().rev().cloned().collect()
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(CAUSE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_itself_is_one_entry_and_the_list_stays_short() {
        let mut incidents = Incidents::default();
        for second in 0..1000 {
            incidents.add(second * 1_000_000, "store near", IncidentKind::Failed, "refused");
            incidents.add(second * 1_000_000, "source", IncidentKind::Leading, "");
        }
        let kept = incidents.newest_first();
        assert_eq!(kept.len(), 2);
        assert_eq!((kept[1].at_micros, kept[1].last_at_micros, kept[1].times), (0, 999_000_000, 1000));
        for second in 0..1000 {
            let kind = if second % 2 == 0 { IncidentKind::Recovered } else { IncidentKind::Failed };
            incidents.add(second, "store near", kind, &"ü".repeat(1000));
        }
        let kept = incidents.newest_first();
        assert_eq!(kept.len(), INCIDENTS_MAX);
        assert_eq!(kept[0].at_micros, 999);
        assert!(
            kept[..INCIDENTS_MAX]
                .iter()
                .all(|incident| incident.cause.chars().count() == CAUSE_CHARS_MAX + 1)
        );
    }
}
