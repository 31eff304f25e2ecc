//! What is looked for in a MongoDB database, and in the server or the replica set that it lies on.
//!
//! | file | idea |
//! |---|---|
//! | `indexes` | indexes that lack, that nobody reads, that another one begins with; queries that read all |
//! | `set` | the members of the replica set, and their log |
//! | `server` | connections, memory, access |

mod indexes;
mod server;
mod set;

use async_trait::async_trait;
use headwater_model::exam::{Check, ExamBudget, Examination, Examine};
use headwater_model::file::StoreSection;
use headwater_model::{ErrorKind, Result};
use mongodb::bson::{Bson, Document, doc};

use super::config::Config;
use super::server::Server;
use crate::checks::{Found, Limits, limit, page, record};

const LACKS: Check = Check {
    id: "HW8001",
    page: page!("HW8001"),
    asks: "db.getCollectionInfos(), and of each collection 20 documents' _hw and getIndexes()",
    limits: &[],
};

const UNREAD: Check = Check {
    id: "HW8002",
    page: page!("HW8002"),
    asks: "db.COLLECTION.aggregate([{ $indexStats: {} }]), db.COLLECTION.getIndexes()",
    limits: &[limit("days", 30.0)],
};

const COVERED: Check =
    Check { id: "HW8003", page: page!("HW8003"), asks: "db.COLLECTION.getIndexes()", limits: &[] };

const READS_ALL: Check = Check {
    id: "HW8004",
    page: page!("HW8004"),
    asks: "the newest 1000 of db.system.profile",
    limits: &[limit("examined_per_returned", 100.0), limit("milliseconds", 100.0)],
};

const SHORT_LOG: Check = Check {
    id: "HW8005",
    page: page!("HW8005"),
    asks: "the first and the last of local.oplog.rs, and its size",
    limits: &[limit("hours", 24.0)],
};

const MEMBER: Check =
    Check { id: "HW8006", page: page!("HW8006"), asks: "rs.status()", limits: &[limit("lag_seconds", 60.0)] };

const ONE_FAILURE: Check = Check { id: "HW8007", page: page!("HW8007"), asks: "rs.conf()", limits: &[] };

const CONNECTIONS: Check = Check {
    id: "HW8008",
    page: page!("HW8008"),
    asks: "db.serverStatus().connections",
    limits: &[limit("share", 0.8)],
};

const CACHE: Check = Check {
    id: "HW8009",
    page: page!("HW8009"),
    asks: "db.serverStatus().wiredTiger.cache",
    limits: &[limit("used_share", 0.95), limit("dirty_share", 0.2)],
};

const KEEPS_DELETED: Check = Check {
    id: "HW8010",
    page: page!("HW8010"),
    asks: "db.adminCommand({ getParameter: 1, ttlMonitorEnabled: 1 })",
    limits: &[],
};

const OPEN: Check = Check {
    id: "HW8011",
    page: page!("HW8011"),
    asks: "db.runCommand({ connectionStatus: 1 }), db.adminCommand({ getCmdLineOpts: 1 })",
    limits: &[],
};

/// Every check, in the order of their ids.
pub(crate) fn checks() -> Vec<&'static Check> {
    vec![
        &LACKS,
        &UNREAD,
        &COVERED,
        &READS_ALL,
        &SHORT_LOG,
        &MEMBER,
        &ONE_FAILURE,
        &CONNECTIONS,
        &CACHE,
        &KEEPS_DELETED,
        &OPEN,
    ]
}

/// What the user may not ask, and what this kind of server does not know.
const REFUSED: &[ErrorKind] = &[ErrorKind::Denied, ErrorKind::Unsupported];

/// Examines one database and its server, with the user of the store's URL.
pub(crate) struct Examiner {
    config: Config,
}

impl Examiner {
    pub(crate) fn of_store(section: &StoreSection) -> Result<Examiner> {
        Ok(Examiner { config: Config::new(section)? })
    }
}

#[async_trait]
impl Examine for Examiner {
    async fn examine(&self, budget: &ExamBudget) -> Result<Examination> {
        let server = Server::connect(&self.config).await?;
        let mut examination = Examination { server: server.name.clone(), ..Examination::default() };
        let asks = Asks { prefix: &self.config.prefix, server, budget };
        for check in checks().into_iter().filter(|check| budget.wants(check)) {
            let looked = tokio::time::timeout(budget.each, asks.look(check)).await;
            let remedy = match check.id {
                "HW8004" => {
                    "db.setProfilingLevel(1, { slowms: 100 }), and grant the role dbAdmin of the database"
                }
                "HW8005" => "grant the roles clusterMonitor of admin and read of local",
                _ => "grant the role clusterMonitor of admin",
            };
            record(&mut examination, check, budget, looked, (REFUSED, remedy.to_owned()))?;
        }
        Ok(examination)
    }
}

/// Commands that only read, each within the budget.
struct Asks<'a> {
    /// Before the names of the store's collections.
    prefix: &'a str,
    server: Server,
    budget: &'a ExamBudget,
}

impl Asks<'_> {
    async fn look(&self, check: &'static Check) -> Result<Found> {
        let limits = Limits { check, set: &self.budget.limits };
        match check.id {
            "HW8001" => self.lacking().await,
            "HW8002" => self.unread(&limits).await,
            "HW8003" => self.covered().await,
            "HW8004" => self.reading_all(&limits).await,
            "HW8005" => self.short_log(&limits).await,
            "HW8006" => self.members(&limits).await,
            "HW8007" => self.one_failure().await,
            "HW8008" => self.connections(&limits).await,
            "HW8009" => self.cache(&limits).await,
            "HW8010" => self.keeping_deleted().await,
            _ => self.open().await,
        }
    }

    /// A command to the store's database.
    async fn ask(&self, command: Document) -> Result<Document> {
        self.ask_of(&self.server, command).await
    }

    async fn ask_admin(&self, command: Document) -> Result<Document> {
        self.ask_of(&self.server.beside("admin"), command).await
    }

    async fn ask_of(&self, server: &Server, mut command: Document) -> Result<Document> {
        let name = command.keys().next().cloned().unwrap_or_default();
        command.insert("maxTimeMS", i64::try_from(self.budget.each.as_millis()).unwrap_or(i64::MAX));
        server.run(format!("ask {name} of {}", server.database()), &command).await
    }

    /// What is pasted begins so.
    fn collection(&self, name: &str) -> String {
        format!("db.getSiblingDB({}).getCollection({})", quoted(self.server.database()), quoted(name))
    }
}

/// A number of any kind.
fn number(value: Option<&Bson>) -> Option<f64> {
    match value? {
        Bson::Int32(n) => Some(f64::from(*n)),
        Bson::Int64(n) => Some(*n as f64),
        Bson::Double(f) => Some(*f),
        _ => None,
    }
}

/// A text as MongoDB's shell takes it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A document of an index as MongoDB's shell takes it.
fn shown(document: &Document) -> String {
    serde_json::to_string(document).unwrap_or_default()
}

/// The first `limit` documents of a collection.
fn first(collection: &str, projection: Document, limit: i64) -> Document {
    doc! { "find": collection, "projection": projection, "limit": limit, "batchSize": limit, "singleBatch": true }
}
