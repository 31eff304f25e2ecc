//! Which servers wrote the history that is followed, one after the other, and where each took over: the last part of a
//! position's system.
//!
//! A position has one number. With MariaDB it is the transaction's sequence in its domain; with MySQL, how many transactions
//! the server had executed by then, which is the same number on every server that has them. Who committed it is told by the
//! course: `1+2@1000+1@1500` is server 1, then 2 from 1000 on, then 1 again.
//!
//! Invariant: a course is only ever made longer. So what an older one names is a beginning of what the newer one names.

use headwater_model::{Lineage, Position};

use super::gtid::{Gtid, GtidSet, uuid, uuid_text};

/// A writer's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// MariaDB: the server id. MySQL: the uuid that its transactions have, without dashes.
    pub member: Box<str>,
    /// The number of the last transaction before.
    pub began: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Course(pub Vec<Turn>);

/// What a server says of its history.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum History {
    MariaDb {
        domain: u32,
        /// Who commits here.
        member: u32,
        /// The last transaction of each server in the domain.
        last: Vec<Gtid>,
    },
    MySql {
        member: [u8; 16],
        executed: GtidSet,
    },
}

impl Course {
    pub fn parse(text: &str) -> Option<Course> {
        let turn = |text: &str| {
            let (member, began) = text.split_once('@').unwrap_or((text, "0"));
            Some(Turn { member: (!member.is_empty()).then(|| member.into())?, began: began.parse().ok()? })
        };
        text.split('+').map(turn).collect::<Option<_>>().map(Course)
    }

    /// The course in a position's system.
    pub fn of(position: &Position) -> Option<Course> {
        Course::parse(position.system.rsplit_once('/')?.1)
    }

    /// MySQL: who wrote, as transactions name it, and the number of the last transaction before.
    pub fn writers(&self) -> Vec<(u64, String)> {
        self.0.iter().filter_map(|turn| Some((turn.began, uuid_text(&uuid(&turn.member)?)))).collect()
    }

    fn last(&self) -> Option<&Turn> {
        self.0.last()
    }

    /// MySQL: the last writer's own number of a transaction, by the position's; `None` for one of an earlier turn.
    pub fn number(&self, sequence: u64) -> Option<u64> {
        let last = self.last()?;
        let before = self.committed_before(&last.member);
        sequence.checked_sub(last.began).filter(|n| *n > 0).map(|n| n + before)
    }

    /// MySQL: the position's number, by the writer's own.
    pub fn sequence(&self, number: u64, is_writer: impl Fn(&str) -> bool) -> Option<u64> {
        let mut before = 0;
        for (place, turn) in self.0.iter().enumerate().filter(|(_, turn)| is_writer(&turn.member)) {
            let sequence = turn.began + number.checked_sub(before)?;
            match self.0.get(place + 1) {
                Some(next) if sequence > next.began => before += next.began - turn.began,
                _ => return Some(sequence),
            }
        }
        None
    }

    /// How many transactions a server committed in turns that have ended.
    fn committed_before(&self, member: &str) -> u64 {
        let ends = self.0.iter().skip(1).map(|turn| turn.began);
        let turns = self.0.iter().zip(ends);
        turns
            .filter(|(turn, _)| *turn.member == *member)
            .map(|(turn, end)| end.saturating_sub(turn.began))
            .sum()
    }

    /// Each beginning of the course, and where it was left.
    fn beginnings(&self) -> impl Iterator<Item = (Course, u64)> {
        (1..self.0.len()).map(|end| (Course(self.0[..end].to_vec()), self.0[end].began))
    }
}

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, turn) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("+")?;
            }
            f.write_str(&turn.member)?;
            if turn.began > 0 {
                write!(f, "@{}", turn.began)?;
            }
        }
        Ok(())
    }
}

/// How the course that was followed goes on at this server.
#[derive(Debug, PartialEq)]
pub(super) enum Continued {
    As(Course),
    /// It has not heard of the server that was followed last, though it was followed before that: an old primary.
    Behind,
    /// It has another history.
    Foreign,
}

impl History {
    /// What positions begin with.
    pub fn database(&self) -> String {
        match self {
            History::MariaDb { domain, .. } => format!("mariadb-{domain}"),
            History::MySql { .. } => "mysql".into(),
        }
    }

    pub fn member(&self) -> Box<str> {
        match self {
            History::MariaDb { member, .. } => member.to_string().into(),
            History::MySql { member, .. } => hex(member).into(),
        }
    }

    /// The number of the newest transaction.
    pub fn sequence(&self) -> u64 {
        match self {
            History::MariaDb { last, .. } => last.iter().map(|gtid| gtid.sequence).max().unwrap_or(0),
            History::MySql { executed, .. } => executed.count(),
        }
    }

    /// The course as far as the server alone can tell.
    pub fn own(&self) -> Course {
        let began = match self {
            History::MariaDb { .. } => 0,
            History::MySql { member, executed } => executed.count() - executed.count_of(member),
        };
        Course(vec![Turn { member: self.member(), began }])
    }

    /// A course that no other begins with: nothing that was followed before is part of it.
    pub fn anew(&self) -> Course {
        Course(vec![Turn { member: self.member(), began: self.sequence() }])
    }

    /// `followed` is how far the course was followed.
    pub fn continued(&self, known: &Course, followed: u64) -> Continued {
        let Some(last) = known.last() else { return Continued::Foreign };
        if last.member == self.member() {
            // The same server with less than it had: what it will give those numbers to is something else.
            return match self.sequence() < followed {
                true => Continued::Foreign,
                false => Continued::As(known.clone()),
            };
        }
        let mut course = known.clone();
        match self {
            History::MariaDb { member, last: servers, .. } => {
                let of = |name: &str| servers.iter().find(|gtid| gtid.server.to_string() == name);
                let Some(left) = of(&last.member).filter(|gtid| gtid.sequence >= last.began) else {
                    let was_followed = known.0.iter().any(|turn| turn.member == self.member());
                    return if was_followed { Continued::Behind } else { Continued::Foreign };
                };
                // Those who wrote between the one that was followed last and this one.
                let mut between: Vec<&Gtid> = servers
                    .iter()
                    .filter(|gtid| gtid.sequence > left.sequence && gtid.server != *member)
                    .collect();
                between.sort_by_key(|gtid| gtid.sequence);
                let mut began = left.sequence;
                for gtid in between {
                    course.0.push(Turn { member: gtid.server.to_string().into(), began });
                    began = gtid.sequence;
                }
                course.0.push(Turn { member: self.member(), began });
            }
            History::MySql { member, executed } => {
                let Some(before) = uuid(&last.member) else { return Continued::Foreign };
                if executed.count_of(&before) == 0 {
                    let was_followed = known.0.iter().any(|turn| turn.member == self.member());
                    return if was_followed { Continued::Behind } else { Continued::Foreign };
                }
                let own = executed.count_of(member).saturating_sub(known.committed_before(&self.member()));
                course.0.push(Turn { member: self.member(), began: executed.count() - own });
            }
        }
        Continued::As(course)
    }

    pub fn lineage(&self, course: &Course) -> Lineage {
        let database = self.database();
        let system = |course: &Course| format!("{database}/{course}");
        let ancestors = course.beginnings().map(|(older, left)| Position::new(system(&older), left));
        Lineage { ancestors: ancestors.collect(), system: system(course).into() }
    }

    /// Who may have committed the transaction of this number, likeliest first: MariaDB's server says which it was by refusing
    /// the others.
    pub fn committers(&self, course: &Course, sequence: u64) -> Vec<Gtid> {
        let History::MariaDb { domain, last, .. } = self else { return Vec::new() };
        let turn = course.0.iter().rev().find(|turn| turn.began < sequence).or(course.0.first());
        let likely = turn.and_then(|turn| turn.member.parse().ok());
        let mut servers: Vec<u32> = likely.into_iter().collect();
        let mut others: Vec<&Gtid> = last.iter().filter(|gtid| gtid.sequence >= sequence).collect();
        others.sort_by_key(|gtid| gtid.sequence);
        for gtid in others {
            if !servers.contains(&gtid.server) {
                servers.push(gtid.server);
            }
        }
        servers.into_iter().map(|server| Gtid { domain: *domain, server, sequence }).collect()
    }

    /// What MySQL's server had executed when it had executed so many transactions. `None` if that cannot be told: it has
    /// executed fewer, or some that no server of the course committed.
    pub fn executed_at(&self, course: &Course, sequence: u64) -> Option<GtidSet> {
        let History::MySql { executed, .. } = self else { return None };
        let members: Vec<[u8; 16]> = course.0.iter().filter_map(|turn| uuid(&turn.member)).collect();
        let foreign: u64 =
            executed.0.keys().filter(|server| !members.contains(server)).map(|s| executed.count_of(s)).sum();
        if foreign > course.0.first()?.began {
            return None;
        }
        let mut set = executed.clone();
        let mut end = executed.count();
        for turn in course.0.iter().rev() {
            let down_to = turn.began.max(sequence);
            let too_many = end.checked_sub(down_to)?;
            if set.drop_last(&uuid(&turn.member)?, too_many) > 0 {
                return None;
            }
            end = down_to;
            if end == sequence {
                return Some(set);
            }
        }
        None
    }
}

fn hex(uuid: &[u8; 16]) -> String {
    uuid.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mariadb(member: u32, last: &str) -> History {
        History::MariaDb { domain: 0, member, last: Gtid::list(last).unwrap() }
    }

    fn course(text: &str) -> Course {
        let course = Course::parse(text).unwrap();
        assert_eq!(course.to_string(), text);
        course
    }

    #[test]
    fn a_promotion_and_a_way_back_make_the_course_longer() {
        let one = course("1");
        assert_eq!(mariadb(1, "0-1-900").own(), one);
        assert_eq!(mariadb(1, "0-1-900").continued(&one, 900), Continued::As(one.clone()));
        // Promoted, and not written to yet; then written to.
        let two = course("1+2@1000");
        assert_eq!(mariadb(2, "0-1-1000").continued(&one, 900), Continued::As(two.clone()));
        assert_eq!(mariadb(2, "0-1-1000,0-2-1007").continued(&one, 900), Continued::As(two.clone()));
        let back = mariadb(1, "0-2-1500,0-1-1501").continued(&two, 900);
        assert_eq!(back, Continued::As(course("1+2@1000+1@1500")));
        // Another one in between, which was never followed.
        let three = mariadb(3, "0-1-1000,0-2-1500,0-3-1600").continued(&one, 900);
        assert_eq!(three, Continued::As(course("1+2@1000+3@1500")));
        let lineage = mariadb(3, "0-1-1000,0-2-1500").lineage(&course("1+2@1000+3@1500"));
        assert_eq!(&*lineage.system, "mariadb-0/1+2@1000+3@1500");
        assert_eq!(
            lineage.ancestors,
            [Position::new("mariadb-0/1", 1000), Position::new("mariadb-0/1+2@1000", 1500)]
        );
    }

    #[test]
    fn an_old_primary_is_behind_and_another_database_is_foreign() {
        assert_eq!(mariadb(1, "0-1-1003").continued(&course("1+2@1000"), 1003), Continued::Behind);
        // Restored from an older copy, it has fewer.
        assert_eq!(mariadb(1, "0-1-800").continued(&course("1"), 900), Continued::Foreign);
        assert_eq!(mariadb(1, "0-1-800").anew(), course("1@800"));
        assert_eq!(mariadb(9, "0-9-77").continued(&course("1+2@1000"), 1003), Continued::Foreign);
    }

    #[test]
    fn who_committed_a_number_is_guessed_by_the_course_and_then_by_the_state() {
        let history = mariadb(1, "0-2-1500,0-1-1800");
        let names = |sequence| -> Vec<String> {
            let course = course("1+2@1000+1@1500");
            history.committers(&course, sequence).iter().map(Gtid::to_string).collect()
        };
        assert_eq!(names(900), ["0-1-900", "0-2-900"]);
        assert_eq!(names(1000)[0], "0-1-1000");
        assert_eq!(names(1001)[0], "0-2-1001");
        assert_eq!(names(1600), ["0-1-1600"]);
    }

    const A: &str = "3e11fa4771ca11e19e33c80aa9429562";
    const B: &str = "bbbbbbbb71ca11e19e33c80aa9429562";
    const C: &str = "cccccccc71ca11e19e33c80aa9429562";

    fn mysql(member: &str, executed: &str) -> History {
        History::MySql { member: uuid(member).unwrap(), executed: GtidSet::parse(executed).unwrap() }
    }

    #[test]
    fn mysql_counts_what_was_executed() {
        // Seven transactions of an older server, then A's.
        let first = mysql(A, &format!("{C}:1-7,{A}:1-100"));
        let one = first.own();
        assert_eq!((one.to_string(), first.sequence()), (format!("{A}@7"), 107));
        let executed = |history: &History, course: &Course, sequence| {
            history.executed_at(course, sequence).map(|set| set.to_string().replace('-', ""))
        };
        let text = |text: String| Some(GtidSet::parse(&text).unwrap().to_string().replace('-', ""));
        assert_eq!(executed(&first, &one, 57), text(format!("{C}:1-7,{A}:1-50")));
        assert_eq!(executed(&first, &one, 108), None);
        assert_eq!(executed(&first, &one, 6), None);
        // B took over after 90 of A's, and has committed 5.
        let second = mysql(B, &format!("{C}:1-7,{A}:1-90,{B}:1-5"));
        let Continued::As(two) = second.continued(&one, 50) else { panic!("it goes on") };
        assert_eq!(two.to_string(), format!("{A}@7+{B}@97"));
        assert_eq!(executed(&second, &two, 99), text(format!("{C}:1-7,{A}:1-90,{B}:1-2")));
        assert_eq!(executed(&second, &two, 57), text(format!("{C}:1-7,{A}:1-50")));
        // And back again: A goes on with its own numbers.
        let third = mysql(A, &format!("{C}:1-7,{A}:1-94,{B}:1-5"));
        let Continued::As(three) = third.continued(&two, 50) else { panic!("it goes on") };
        assert_eq!(three.to_string(), format!("{A}@7+{B}@97+{A}@102"));
        assert_eq!(executed(&third, &three, 103), text(format!("{C}:1-7,{A}:1-91,{B}:1-5")));
        assert_eq!((three.number(103), three.number(102)), (Some(91), None));
        let sequence = |number| three.sequence(number, |member| member == A);
        assert_eq!([sequence(50), sequence(90), sequence(91)], [Some(57), Some(97), Some(103)]);
        // Someone wrote past the primary: what was executed when cannot be told.
        let errant = mysql(A, &format!("{C}:1-9,{A}:1-100"));
        assert_eq!(errant.executed_at(&one, 57), None);
        assert_eq!(mysql(A, &format!("{A}:1-100")).continued(&two, 50), Continued::Behind);
    }
}
