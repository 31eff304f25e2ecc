//! What waits for somebody's approval, and which parts are left alone. Pure: time comes in from outside.

use headwater_model::file::HealSection;
use headwater_model::heal::{Action, Level};
use serde::{Deserialize, Serialize};

use super::table::{is_fixed, level};
use crate::board::BY_ITSELF;

/// Pauses of everything.
pub const ALL: &str = "all";

/// What documents with embedded rows are made from: `mirror`, or `mirror TABLE`.
pub const MIRROR: &str = "mirror";

/// Something that is held until it is approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub id: u64,
    /// As in [`crate::status::Incident::part`].
    pub part: String,
    pub action: Action,
    pub cause: String,
    pub evidence: Option<String>,
    pub level: Level,
    pub at_micros: i64,
    pub approvals: Vec<Approval>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub name: String,
    pub at_micros: i64,
}

/// A part that is not healed for now; bounds are kept all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// As in an incident, or [`ALL`].
    pub part: String,
    /// `None`: until somebody ends it.
    pub until_micros: Option<i64>,
    pub by: String,
    pub at_micros: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    newest: u64,
    pub held: Vec<Held>,
    pub pauses: Vec<Pause>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    Go {
        approved_by: String,
    },
    /// Why not yet, and what to do about it.
    Wait {
        id: u64,
        why: String,
        is_new: bool,
    },
}

impl Held {
    fn names(&self) -> String {
        self.approvals.iter().map(|approval| &*approval.name).collect::<Vec<_>>().join(", ")
    }

    /// People whose approval is missing.
    pub fn missing(&self) -> usize {
        self.level.people().saturating_sub(self.approvals.len())
    }
}

impl Book {
    /// Whether `action` may be done to `part` now. What has to wait is held from now on.
    pub fn decide(
        &mut self,
        now_micros: i64,
        file: &HealSection,
        part: &str,
        action: Action,
        cause: &str,
        evidence: Option<String>,
    ) -> Decision {
        let level = level(file, action);
        let paused = self.pause_of(now_micros, part).filter(|_| !is_fixed(action)).cloned();
        let found = self.held.iter().position(|held| held.part == part && held.action == action);
        if level == Level::Alone && paused.is_none() {
            if let Some(found) = found {
                self.held.remove(found);
            }
            return Decision::Go { approved_by: BY_ITSELF.to_owned() };
        }
        let held = match found {
            Some(found) => &mut self.held[found],
            None => {
                self.newest += 1;
                self.held.push(Held {
                    id: self.newest,
                    part: part.to_owned(),
                    action,
                    cause: cause.to_owned(),
                    evidence: None,
                    level,
                    at_micros: now_micros,
                    approvals: Vec::new(),
                });
                let last = self.held.len() - 1;
                &mut self.held[last]
            }
        };
        // The file may have changed meanwhile.
        (held.level, held.evidence) = (level, evidence);
        let (id, is_new) = (held.id, found.is_none());
        if let Some(pause) = paused {
            let why = format!(
                "healing of {} was paused by {}: `headwater heal resume {}`",
                pause.part,
                pause.by,
                argument(&pause.part)
            );
            return Decision::Wait { id, why, is_new };
        }
        if held.missing() == 0 {
            return Decision::Go { approved_by: held.names() };
        }
        let people = match held.missing() {
            1 => "one person",
            _ => "two people",
        };
        let why = format!("waits for {people}: `headwater heal approve {id} --as NAME`");
        Decision::Wait { id, why, is_new }
    }

    /// `Err` in words.
    pub fn approve(&mut self, now_micros: i64, id: u64, name: &str) -> Result<&Held, String> {
        let Some(held) = self.held.iter_mut().find(|held| held.id == id) else {
            return Err(format!("nothing with number {id} waits for approval"));
        };
        if held.approvals.iter().any(|approval| approval.name == name) {
            return Err(format!("{name} has approved it already; another person has to"));
        }
        if held.missing() == 0 && held.level != Level::Alone {
            return Err("it is approved already".to_owned());
        }
        held.approvals.push(Approval { name: name.to_owned(), at_micros: now_micros });
        Ok(held)
    }

    /// It was done, or is not needed any more. Whether it was held.
    pub fn settle(&mut self, part: &str, action: Action) -> bool {
        let before = self.held.len();
        self.held.retain(|held| held.part != part || held.action != action);
        self.held.len() < before
    }

    /// Whether anything is held under this name.
    pub fn describe(&mut self, part: &str, action: Action, evidence: String) -> bool {
        let held = self.held.iter_mut().find(|held| held.part == part && held.action == action);
        held.map(|held| held.evidence = Some(evidence)).is_some()
    }

    pub fn is_approved(&self, now_micros: i64, part: &str, action: Action) -> bool {
        let approved = |held: &Held| held.part == part && held.action == action && held.missing() == 0;
        self.held.iter().any(approved) && self.pause_of(now_micros, part).is_none()
    }

    pub fn pause(&mut self, now_micros: i64, part: &str, until_micros: Option<i64>, by: &str) {
        self.resume(part);
        let pause = Pause { part: part.to_owned(), until_micros, by: by.to_owned(), at_micros: now_micros };
        self.pauses.push(pause);
    }

    /// Whether it was paused.
    pub fn resume(&mut self, part: &str) -> bool {
        let before = self.pauses.len();
        self.pauses.retain(|pause| pause.part != part);
        self.pauses.len() < before
    }

    /// Forgets pauses that are over; these.
    pub fn end_pauses(&mut self, now_micros: i64) -> Vec<Pause> {
        let over = |pause: &Pause| pause.until_micros.is_some_and(|until| until <= now_micros);
        let (ended, going) = std::mem::take(&mut self.pauses).into_iter().partition(over);
        self.pauses = going;
        ended
    }

    fn pause_of(&self, now_micros: i64, part: &str) -> Option<&Pause> {
        let holds = |pause: &&Pause| {
            covers(&pause.part, part) && pause.until_micros.is_none_or(|until| until > now_micros)
        };
        self.pauses.iter().find(holds)
    }
}

/// Whether a pause of one part holds another: a store's also its views'.
fn covers(paused: &str, part: &str) -> bool {
    let of_store = || {
        let store = paused.strip_prefix("store ")?;
        Some(part.strip_prefix("view ")?.strip_prefix(store)?.starts_with('/'))
    };
    let of_mirror =
        || paused == MIRROR && part.strip_prefix(MIRROR).is_some_and(|rest| rest.starts_with(' '));
    paused == ALL || paused == part || of_mirror() || of_store() == Some(true)
}

/// A part as the command line takes it.
fn argument(part: &str) -> String {
    part.replacen(' ', ":", 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ask(book: &mut Book, now: i64, file: &HealSection, action: Action) -> Decision {
        book.decide(now, file, "store near", action, "was emptied", Some("nothing held".into()))
    }

    fn goes(decision: &Decision) -> Option<&str> {
        match decision {
            Decision::Go { approved_by } => Some(approved_by),
            Decision::Wait { .. } => None,
        }
    }

    #[test]
    fn alone_goes_at_once_and_holds_nothing() {
        let mut book = Book::default();
        let file = HealSection::default();
        assert_eq!(goes(&ask(&mut book, 1, &file, Action::Refill)), Some("headwater"));
        assert_eq!(book, Book::default());
    }

    #[test]
    fn two_are_two_different_people_and_what_is_held_is_held_once() {
        let mut book = Book::default();
        let file = HealSection { refill: Level::Two, ..HealSection::default() };
        for n in 0..5 {
            let decision = ask(&mut book, n, &file, Action::Refill);
            assert!(
                matches!(&decision, Decision::Wait { id: 1, why, is_new } if why.contains("two people") && *is_new == (n == 0))
            );
        }
        assert_eq!(book.held.len(), 1);
        assert!(book.approve(6, 2, "ann").unwrap_err().contains("number 2"));
        book.approve(6, 1, "ann").unwrap();
        assert!(book.approve(7, 1, "ann").unwrap_err().contains("already"));
        assert!(
            matches!(ask(&mut book, 8, &file, Action::Refill), Decision::Wait { why, .. } if why.contains("one person"))
        );
        book.approve(9, 1, "bo").unwrap();
        assert!(book.approve(9, 1, "cy").unwrap_err().contains("approved already"));
        assert_eq!(goes(&ask(&mut book, 10, &file, Action::Refill)), Some("ann, bo"));
        assert_eq!(goes(&ask(&mut book, 11, &file, Action::Refill)), Some("ann, bo"), "until it is done");
        assert!(book.settle("store near", Action::Refill));
        assert!(
            matches!(ask(&mut book, 12, &file, Action::Refill), Decision::Wait { id: 2, .. }),
            "once only"
        );
    }

    #[test]
    fn a_pause_outweighs_approval_until_it_ends_but_holds_no_bound() {
        let mut book = Book::default();
        let file = HealSection { refill: Level::One, ..HealSection::default() };
        book.pause(0, ALL, Some(100), "ann");
        let decision = ask(&mut book, 1, &file, Action::Refill);
        assert!(matches!(decision, Decision::Wait { why, .. } if why.contains("resume all")));
        book.approve(2, 1, "bo").unwrap();
        assert_eq!(goes(&ask(&mut book, 3, &file, Action::Refill)), None);
        assert!(goes(&ask(&mut book, 3, &file, Action::LetGo)).is_some());
        assert_eq!(goes(&ask(&mut book, 100, &file, Action::Refill)), Some("bo"));
        assert_eq!(book.end_pauses(99), []);
        assert_eq!(book.end_pauses(100).len(), 1);
        book.pause(0, "store far", None, "ann");
        assert!(goes(&ask(&mut book, 200, &file, Action::Refill)).is_some(), "of another part");
        assert!(book.resume("store far") && !book.resume("store far"));
    }

    #[test]
    fn a_pause_of_a_store_is_one_of_its_views_and_of_no_others() {
        for (paused, part, expected) in [
            (ALL, "view near/book", true),
            ("store near", "store near", true),
            ("store near", "view near/book", true),
            ("store near", "view nearer/book", false),
            ("store near", "mirror near", false),
            (MIRROR, "mirror public.books", true),
            (MIRROR, "view mirror/book", false),
            ("source", "mirror source", false),
        ] {
            assert_eq!(covers(paused, part), expected, "{paused}, {part}");
        }
    }
}
