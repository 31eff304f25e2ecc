//! The [`headwater_model::Source`] of MySQL and MariaDB: which connection does what. The work is in the other files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use headwater_model::file::SourceSection;
use headwater_model::{
    Answer, Catalogued, Chunk, ChunkId, ChunkRange, Error, Follow, Lineage, Position, Read, Result,
    RetainedLog, SourceFacts, TableName,
};

use super::answer::Answers;
use super::catalog::{self, Catalog};
use super::config::Config;
use super::connection::{Connection, Pool, Servers};
use super::course::{Continued, Course, History};
use super::gtid::{Gtid, GtidSet, uuid};
use super::{chunk, follow, inspect, moment, prepare};

/// Connections for chunks, and for everything else, so that long reads never hold up a mark.
const READERS_MAX: usize = 4;
const OTHERS_MAX: usize = 3;

/// One database of a MySQL or MariaDB server that can be followed.
pub struct Source {
    config: Arc<Config>,
    servers: Arc<Servers>,
    readers: Pool,
    others: Arc<Pool>,
    answers: Answers,
    catalog: Arc<Catalog>,
    wanted: Mutex<Option<Arc<Vec<TableName>>>>,
    /// The history that positions are of, as it was judged last.
    judged: Mutex<Option<(History, Course)>>,
    /// Systems that were found to be of another history, and the course that began then instead: it has one name.
    anew: Mutex<HashMap<Arc<str>, Course>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    /// Reads the section; connects on first use.
    pub fn new(section: &SourceSection) -> Result<Source> {
        let config = Arc::new(Config::new(section)?);
        let servers = Arc::new(Servers::new(config.clone()));
        Ok(Source {
            readers: Pool::new(servers.clone(), READERS_MAX, Vec::new()),
            others: Arc::new(Pool::new(servers.clone(), OTHERS_MAX, Vec::new())),
            answers: Answers::new(servers.clone()),
            config,
            servers,
            catalog: Arc::default(),
            wanted: Mutex::default(),
            judged: Mutex::default(),
            anew: Mutex::default(),
        })
    }

    fn anew(&self, known: &Position, history: &History) -> Course {
        let mut anew = lock(&self.anew);
        let course = anew.entry(known.system.clone()).or_insert_with(|| history.anew());
        if history.continued(course, 0) != Continued::As(course.clone()) {
            *course = history.anew();
        }
        course.clone()
    }

    /// What positions of this server are called: as it was judged, or as the server alone says.
    async fn system(&self, connection: &mut Connection) -> Result<Arc<str>> {
        let member = connection.about.member.clone();
        let judged = lock(&self.judged).as_ref().filter(|(history, _)| history.member() == member).cloned();
        let (history, course) = match judged {
            Some(judged) => judged,
            None => {
                let history = connection.history().await?;
                let course = history.own();
                // Nobody has asked yet what is followed.
                lock(&self.judged).get_or_insert((history.clone(), course.clone()));
                (history, course)
            }
        };
        Ok(history.lineage(&course).system)
    }
}

#[async_trait]
impl headwater_model::Source for Source {
    async fn inspect(&self) -> Result<SourceFacts> {
        let mut lease = self.others.get().await?;
        let facts = inspect::inspect(&mut lease.connection, &self.config).await?;
        lease.keep();
        Ok(facts)
    }

    async fn lineage(&self, known: Option<&Position>) -> Result<Lineage> {
        // Any server may be the one by now.
        self.servers.follow(None);
        let mut lease = self.others.get().await?;
        let history = lease.connection.history().await?;
        lease.keep();
        let known =
            known.filter(|known| known.system.rsplit_once('/').is_some_and(|(d, _)| d == history.database()));
        let course = match known.and_then(|known| Some((Course::of(known)?, known))) {
            None => history.own(),
            Some((course, known)) => match history.continued(&course, known.sequence) {
                Continued::As(course) => course,
                Continued::Foreign => self.anew(known, &history),
                Continued::Behind => {
                    return Err(Error::transient(format!(
                        "server {} has none of the transactions of the server that was followed: an old primary that has \
                         come back",
                        history.member()
                    ))
                    .with_remedy("make it a replica of the new primary, or take it out of the source's URL"));
                }
            },
        };
        let lineage = history.lineage(&course);
        *lock(&self.judged) = Some((history, course));
        Ok(lineage)
    }

    async fn prepare(&self, tables: &[TableName]) -> Result<Vec<TableName>> {
        let mut lease = self.others.get().await?;
        prepare::prepare(&mut lease.connection, &self.config, tables).await?;
        lease.keep();
        *lock(&self.wanted) = Some(Arc::new(tables.to_vec()));
        // The log tells of all tables, always.
        Ok(Vec::new())
    }

    async fn follow(&self, after: Option<&Position>) -> Result<Box<dyn Follow>> {
        let mut lease = self.others.get().await?;
        let system = self.system(&mut lease.connection).await?;
        let start = match after {
            Some(after) if after.system != system => {
                return Err(Error::out_of_step(format!(
                    "the position belongs to {}, the server is {system} now: another server was promoted, or it was \
                     restored or replaced",
                    after.system
                )));
            }
            Some(after) => after.clone(),
            None => Position::new(system, moment::newest(&mut lease.connection).await?),
        };
        let member = lease.connection.about.member.clone();
        lease.keep();
        let course = Course::of(&start).ok_or_else(|| Error::bug("a position names no course"))?;
        self.servers.follow(Some(&member));
        let shared = follow::Shared {
            servers: self.servers.clone(),
            catalog: self.catalog.clone(),
            pool: self.others.clone(),
            wanted: lock(&self.wanted).clone(),
        };
        Ok(Box::new(follow::start(shared, start, &course).await?))
    }

    async fn shapes(&self, tables: &[TableName]) -> Result<Vec<Catalogued>> {
        let mut lease = self.others.get().await?;
        let described = catalog::describe(&mut lease.connection, Some(tables)).await?;
        lease.keep();
        let catalogued = |name: &TableName| match described.get(name) {
            Some(described) => self.catalog.catalogued(described),
            None => Err(Error::misconfigured(format!("there is no table {name}"))),
        };
        tables.iter().map(catalogued).collect()
    }

    async fn read_chunk(&self, range: &ChunkRange) -> Result<Chunk> {
        let system = {
            let mut lease = self.others.get().await?;
            let system = self.system(&mut lease.connection).await?;
            lease.keep();
            system
        };
        chunk::read(&self.readers, &self.catalog, self.config.zero_dates, &system, range).await
    }

    async fn mark(&self, chunk: ChunkId) -> Result<()> {
        let mut lease = self.others.get().await?;
        prepare::mark(&mut lease.connection, &self.config, chunk).await?;
        lease.keep();
        Ok(())
    }

    async fn release(&self, _upto: &Position) -> Result<()> {
        // How long the server keeps its log is its own setting; no follower holds it back.
        Ok(())
    }

    async fn progress(&self) -> Result<(Position, RetainedLog)> {
        let mut lease = self.others.get().await?;
        let system = self.system(&mut lease.connection).await?;
        let sequence = moment::newest(&mut lease.connection).await?;
        lease.keep();
        Ok((Position { system, sequence }, RetainedLog { bytes: 0, bound_bytes: None }))
    }

    async fn forget(&self) -> Result<()> {
        let mut lease = self.others.get().await?;
        prepare::forget(&mut lease.connection).await?;
        lease.keep();
        Ok(())
    }

    async fn answer(&self, read: &Read) -> Result<Answer> {
        let system = {
            let mut lease = self.others.get().await?;
            let system = self.system(&mut lease.connection).await?;
            lease.keep();
            system
        };
        self.answers.answer(&system, read).await
    }

    fn traffic(&self) -> Vec<headwater_model::Traffic> {
        Vec::new()
    }

    fn notation(&self, position: &Position) -> String {
        match lock(&self.judged).as_ref() {
            Some((history @ History::MariaDb { .. }, course)) => {
                match history.committers(course, position.sequence).first() {
                    Some(gtid) => gtid.to_string(),
                    None => position.sequence.to_string(),
                }
            }
            Some((History::MySql { member, .. }, course)) => match course.number(position.sequence) {
                Some(number) => format!("{}:{number}", super::gtid::uuid_text(member)),
                None => position.sequence.to_string(),
            },
            None => position.sequence.to_string(),
        }
    }

    fn sequence(&self, notation: &str) -> Option<u64> {
        let judged = lock(&self.judged).clone()?;
        match judged {
            // A list of positions names one of each domain.
            (History::MariaDb { domain, .. }, _) => {
                Gtid::list(notation)?.into_iter().find(|gtid| gtid.domain == domain).map(|gtid| gtid.sequence)
            }
            (History::MySql { member, .. }, course) => {
                let set = GtidSet::parse(notation)?;
                let last = set.0.get(&member)?.last()?.1;
                course.sequence(last, |name| uuid(name) == Some(member))
            }
        }
    }
}
