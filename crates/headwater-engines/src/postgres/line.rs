//! Which server may be spoken to: one of the database that is followed, and not on an older timeline.
//!
//! Owns: the newest timeline that is known, the one that is followed, and the judgement of every new connection. Does not
//! own: whether what was read on an older timeline is part of the newer one's history (`source` reads that, the caller
//! decides).
//!
//! Invariant: nothing is read from an old primary that comes back after its standby was promoted, and nothing from two
//! timelines within one run of following: transaction numbers mean other transactions on each.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_model::{Error, ErrorKind, Position, Result};

use super::connection::{Bound, Connection};
use super::lsn;

/// A system and its timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Course {
    pub system: Box<str>,
    pub timeline: u32,
}

impl Course {
    /// As positions name it.
    pub fn name(&self) -> Arc<str> {
        format!("{}/{}", self.system, self.timeline).into()
    }

    fn of(position: &Position) -> Option<Course> {
        let (system, timeline) = position.system.rsplit_once('/')?;
        Some(Course { system: system.into(), timeline: timeline.parse().ok()? })
    }
}

#[derive(Debug, Default)]
pub(super) struct Line {
    known: Mutex<Known>,
    /// The host that answered last, by its place in the URL.
    usual: AtomicUsize,
}

#[derive(Debug, Default)]
struct Known {
    newest: Option<Course>,
    followed: Option<Course>,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before following begins: no server that is behind `position` will do, and any that is not may be the one.
    pub fn expect(&self, position: Option<&Position>) {
        let mut known = self.lock();
        known.followed = None;
        if let Some(course) = position.and_then(Course::of) {
            known.raise(&course);
        }
    }

    /// From now on this course is followed, and no other is spoken to.
    pub fn follow(&self, course: &Course) {
        let mut known = self.lock();
        known.raise(course);
        known.followed = Some(course.clone());
    }

    /// Why a server on this course is not the one.
    pub fn judge(&self, course: &Course) -> Result<()> {
        let known = self.lock();
        if let Some(newest) = known.newest.as_ref().filter(|newest| newest.system == course.system)
            && course.timeline < newest.timeline
        {
            return Err(Error::transient(format!(
                "it is on timeline {} of a database that has moved on to timeline {}: an old primary that has come back",
                course.timeline, newest.timeline
            ))
            .with_remedy(
                "rebuild it as a standby of the new primary (pg_rewind, pg_basebackup) or take it out of the url; if \
                 the database was meant to go back, delete the data folder",
            ));
        }
        let Some(followed) = &known.followed else { return Ok(()) };
        if followed.system != course.system {
            return Err(Error::misconfigured(format!(
                "it is of system {}, but the one that is followed is system {}",
                course.system, followed.system
            )));
        }
        if followed.timeline < course.timeline {
            return Err(Error::out_of_step(format!(
                "timeline {} has begun: the server was promoted or restored, and timeline {} is followed no more",
                course.timeline, followed.timeline
            )));
        }
        Ok(())
    }

    /// Whether a connection that was kept is of the course that is followed.
    pub fn is_current(&self, course: Option<&Course>) -> bool {
        match (&self.lock().followed, course) {
            (Some(followed), Some(course)) => followed == course,
            _ => true,
        }
    }

    /// The places of `hosts` hosts, the usual one first: one that is gone without a word costs time.
    pub fn order(&self, hosts: usize) -> impl Iterator<Item = usize> {
        let usual = Some(self.usual.load(Ordering::Relaxed)).filter(|usual| *usual < hosts);
        usual.into_iter().chain((0..hosts).filter(move |place| Some(*place) != usual))
    }

    pub fn answered(&self, place: usize) {
        self.usual.store(place, Ordering::Relaxed);
    }
}

impl Known {
    fn raise(&mut self, course: &Course) {
        let is_newer = self
            .newest
            .as_ref()
            .is_none_or(|newest| newest.system != course.system || newest.timeline < course.timeline);
        if is_newer {
            self.newest = Some(course.clone());
        }
    }
}

const WHO: &str = "SELECT s.system_identifier,
       CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_insert_lsn()) END
     FROM pg_control_system() AS s";

/// Who an SQL session speaks to. `None` where the server does not say: a standby, or one that hides it.
pub(super) async fn course_of_session(connection: &mut Connection) -> Result<Option<Course>> {
    let rows = match connection.run_bound(&[Bound { sql: WHO, params: &[] }], 1 << 16).await {
        Ok(mut results) => results.pop().unwrap_or_default(),
        // Some managed servers keep these functions to themselves.
        Err(error) if connection.is_ready() && !error.is_retryable() => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some([Some(system), Some(file)]) = rows.first().map(Vec::as_slice) else { return Ok(None) };
    let timeline = file.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    Ok(timeline.map(|timeline| Course { system: system.as_str().into(), timeline }))
}

/// Who a replication session speaks to, and where its log ends.
pub(super) async fn identify(replication: &mut Connection) -> Result<(Course, u64)> {
    let rows = replication.query("IDENTIFY_SYSTEM").await?;
    let cell = |i: usize| rows.first().and_then(|row| row.get(i).cloned().flatten()).unwrap_or_default();
    let timeline = cell(1).parse().map_err(|_| Error::bug("the server has no timeline"))?;
    Ok((Course { system: cell(0).into(), timeline }, lsn::parse(&cell(2))?))
}

/// The timelines before `course`, and where each was left. Empty if the server has lost the record of it.
pub(super) async fn ancestors(replication: &mut Connection, course: &Course) -> Result<Vec<Position>> {
    if course.timeline < 2 {
        return Ok(Vec::new());
    }
    let rows = match replication.query(&format!("TIMELINE_HISTORY {}", course.timeline)).await {
        Ok(rows) => rows,
        Err(error) if matches!(error.kind(), ErrorKind::Transient | ErrorKind::Throttled) => {
            return Err(error);
        }
        Err(_) => return Ok(Vec::new()),
    };
    let text = rows.first().and_then(|row| row.get(1).cloned().flatten()).unwrap_or_default();
    history(&course.system, &text)
}

/// `1<tab>0/3000148<tab>why`, a line for each timeline that was left.
fn history(system: &str, text: &str) -> Result<Vec<Position>> {
    let mut ancestors = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut parts = line.split_ascii_whitespace();
        let (Some(timeline), Some(left)) = (parts.next(), parts.next()) else {
            return Err(Error::bug(format!("the server's timeline history holds \"{line}\"")));
        };
        ancestors.push(Position::new(format!("{system}/{timeline}"), lsn::parse(left)?));
    }
    Ok(ancestors)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn course(system: &str, timeline: u32) -> Course {
        Course { system: system.into(), timeline }
    }

    #[test]
    fn an_old_primary_is_refused_and_a_new_one_waits_for_following_to_begin_anew() {
        let line = Line::default();
        line.judge(&course("7", 1)).unwrap();
        line.expect(Some(&Position::new("7/2", 100)));
        assert_eq!(line.judge(&course("7", 1)).unwrap_err().kind(), ErrorKind::Transient);
        line.judge(&course("7", 3)).unwrap();
        // Another database is not for this to refuse before following begins.
        line.judge(&course("8", 1)).unwrap();
        line.follow(&course("7", 3));
        assert_eq!(line.judge(&course("7", 2)).unwrap_err().kind(), ErrorKind::Transient);
        assert_eq!(line.judge(&course("7", 4)).unwrap_err().kind(), ErrorKind::OutOfStep);
        assert_eq!(line.judge(&course("8", 3)).unwrap_err().kind(), ErrorKind::Misconfigured);
        assert!(!line.is_current(Some(&course("7", 2))) && line.is_current(Some(&course("7", 3))));
    }

    #[test]
    fn the_host_that_answered_last_is_asked_first() {
        let line = Line::default();
        assert_eq!(line.order(3).collect::<Vec<_>>(), [0, 1, 2]);
        line.answered(2);
        assert_eq!(line.order(3).collect::<Vec<_>>(), [2, 0, 1]);
        assert_eq!(line.order(1).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn a_timeline_history_reads() {
        let text = "1\t0/3000148\tno recovery target specified\n\n2\t1/A0\tbefore 2026-01-01\n";
        assert_eq!(
            history("7", text).unwrap(),
            [Position::new("7/1", 0x300_0148), Position::new("7/2", 0x1_0000_00A0)]
        );
        assert!(history("7", "1\n").is_err());
    }
}
