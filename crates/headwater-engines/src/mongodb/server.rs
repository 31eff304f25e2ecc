//! The driver's client, what is known of the server behind it, and commands.

use std::fmt::Display;
use std::time::Duration;

use headwater_model::{Error, Result};
use mongodb::bson::raw::cstr;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::{Acknowledgment, ClientOptions};
use mongodb::{Client, Database};

use super::config::Config;
use super::failure::{failure, from_code};

/// The driver looks for a server so long before a request fails.
const FOUND_WITHIN: Duration = Duration::from_secs(10);
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
const CONNECTIONS_MAX: u32 = 64;

/// Places before MongoDB 4.2, which takes 1,024 bytes for an entry of an index, all told.
const OLD_PLACE_BYTES_MAX: usize = 1_000;
/// Amazon DocumentDB takes 2,048.
const PLACE_BYTES_MAX: usize = 2_000;

#[derive(Clone)]
pub(super) struct Server {
    database: Database,
    within: Duration,
    /// For people: `MongoDB 8.0.4, replica set rs0`.
    pub(super) name: String,
    /// Whether there can be a majority to wait for.
    pub(super) is_replicated: bool,
    /// Of what documents are sorted by, as text.
    pub(super) place_bytes_max: usize,
    write_concern: Document,
}

impl Server {
    pub(super) async fn connect(config: &Config) -> Result<Server> {
        let doing = "connect to MongoDB";
        let mut options = ClientOptions::parse(config.url.reveal()).await.map_err(|e| failure(doing, e))?;
        options.app_name.get_or_insert_with(|| "headwater".to_owned());
        options.server_selection_timeout.get_or_insert(FOUND_WITHIN);
        options.connect_timeout.get_or_insert(CONNECTED_WITHIN);
        options.max_pool_size.get_or_insert(CONNECTIONS_MAX);
        let asked = options.write_concern.clone();
        let client = Client::with_options(options).map_err(|e| failure(doing, e))?;
        let mut server = Server {
            database: client.database(&config.database),
            within: config.request_within,
            name: String::new(),
            is_replicated: false,
            place_bytes_max: OLD_PLACE_BYTES_MAX,
            write_concern: Document::new(),
        };
        let build = server.run(doing, &doc! { "buildInfo": 1 }).await?;
        let hello = server.run(doing, &doc! { "isMaster": 1 }).await?;
        let version = build.get_str("version").unwrap_or("of an unknown version");
        let set = hello.get_str("setName").ok();
        let is_router = hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
        server.name = match set {
            Some(set) => format!("MongoDB {version}, replica set {set}"),
            None if is_router => format!("MongoDB {version}, sharded"),
            None => format!("MongoDB {version}"),
        };
        server.is_replicated = set.is_some() || is_router;
        if at_least(version, (4, 2)) {
            server.place_bytes_max = PLACE_BYTES_MAX;
        }
        let within = i64::try_from(config.request_within.as_millis()).unwrap_or(i64::MAX);
        server.write_concern = match asked.and_then(|asked| asked.w) {
            Some(Acknowledgment::Nodes(nodes)) => doc! { "w": i64::from(nodes), "wtimeout": within },
            Some(Acknowledgment::Custom(tag)) => doc! { "w": tag, "wtimeout": within },
            Some(Acknowledgment::Majority) | None if server.is_replicated => {
                doc! { "w": "majority", "wtimeout": within }
            }
            // Acknowledged is what is in the journal.
            _ => doc! { "w": 1, "j": true },
        };
        Ok(server)
    }

    /// The same server, and another of its databases.
    pub(super) fn beside(&self, database: &str) -> Server {
        Server { database: self.database.client().database(database), ..self.clone() }
    }

    pub(super) fn database(&self) -> &str {
        self.database.name()
    }

    pub(super) async fn run(&self, doing: impl Display, command: &Document) -> Result<Document> {
        self.run_raw(doing, raw(command)?).await
    }

    async fn run_raw(&self, doing: impl Display, command: RawDocumentBuf) -> Result<Document> {
        match tokio::time::timeout(self.within, self.database.run_raw_command(command)).await {
            Ok(answer) => answer.map_err(|e| failure(doing, e)),
            Err(_) => Err(self.late(doing)),
        }
    }

    /// A command that writes. What single writes of it failed with is left to the caller, by number and code.
    pub(super) async fn write(
        &self,
        doing: impl Display,
        command: &Document,
    ) -> Result<(Document, Vec<WriteError>)> {
        let mut command = raw(command)?;
        command.append(cstr!("writeConcern"), raw(&self.write_concern)?);
        let answer = self.run_raw(&doing, command).await?;
        if let Ok(concern) = answer.get_document("writeConcernError") {
            let said = concern.get_str("errmsg").unwrap_or("too few members have the write");
            return Err(Error::transient(format!("{doing}: {said}")));
        }
        let failed = match answer.get_array("writeErrors") {
            Ok(errors) => errors.iter().filter_map(Bson::as_document).map(WriteError::read).collect(),
            Err(_) => Vec::new(),
        };
        Ok((answer, failed))
    }

    /// All that is found, and what `options` say besides (`sort`, `limit`, `projection`).
    pub(super) async fn find(
        &self,
        doing: impl Display,
        collection: &str,
        filter: Document,
        options: Document,
    ) -> Result<Vec<Document>> {
        Ok(self.find_up_to(usize::MAX, doing, collection, filter, options).await?.0)
    }

    /// As [`Server::find`], but no more than these bytes and one document, and whether that is all.
    pub(super) async fn find_up_to(
        &self,
        bytes_max: usize,
        doing: impl Display,
        collection: &str,
        filter: Document,
        options: Document,
    ) -> Result<(Vec<Document>, bool)> {
        let level = if self.is_replicated { "majority" } else { "local" };
        let mut command = doc! { "find": collection, "filter": filter, "readConcern": { "level": level } };
        command.extend(options);
        let found = async {
            let mut cursor = self.database.run_cursor_command(command).await?;
            let (mut found, mut bytes) = (Vec::new(), 0);
            while cursor.advance().await? {
                bytes += cursor.current().as_bytes().len();
                found.push(cursor.deserialize_current()?);
                if bytes > bytes_max {
                    return Ok((found, false));
                }
            }
            Ok((found, true))
        };
        match tokio::time::timeout(self.within, found).await {
            Ok(found) => found.map_err(|e| failure(doing, e)),
            Err(_) => Err(self.late(doing)),
        }
    }

    fn late(&self, doing: impl Display) -> Error {
        Error::transient(format!("{doing}: no answer within {} s", self.within.as_secs()))
    }
}

/// Without a copy of what it holds.
fn raw(command: &Document) -> Result<RawDocumentBuf> {
    RawDocumentBuf::try_from(command).map_err(|e| Error::bug("a command is no BSON").with_cause(e))
}

/// What one write of a command failed with.
#[derive(Debug)]
pub(super) struct WriteError {
    /// Which of the command's writes.
    pub(super) index: usize,
    pub(super) code: i32,
    said: String,
}

impl WriteError {
    fn read(error: &Document) -> WriteError {
        let number = |name: &str| error.get_i32(name).unwrap_or_default();
        WriteError {
            index: usize::try_from(number("index")).unwrap_or_default(),
            code: number("code"),
            said: error.get_str("errmsg").unwrap_or("the server does not say why").to_owned(),
        }
    }

    pub(super) fn failure(&self, doing: impl Display) -> Error {
        from_code(doing, self.code, &self.said)
    }
}

/// The documents of a command that answers with a cursor: those of its first batch, so many as were asked for.
pub(super) fn batch(answer: Document) -> Vec<Document> {
    let documents = |cursor: &Document| match cursor.get("firstBatch") {
        Some(Bson::Array(found)) => found.iter().filter_map(Bson::as_document).cloned().collect(),
        _ => Vec::new(),
    };
    answer.get_document("cursor").map_or_else(|_| Vec::new(), documents)
}

/// How many documents a command of updates or counts speaks of.
pub(super) fn count(answer: &Document) -> u64 {
    match answer.get("n") {
        Some(Bson::Int32(n)) => u64::try_from(*n).unwrap_or(0),
        Some(Bson::Int64(n)) => u64::try_from(*n).unwrap_or(0),
        Some(Bson::Double(n)) => *n as u64,
        _ => 0,
    }
}

pub(super) fn at_least(version: &str, (major, minor): (u32, u32)) -> bool {
    // `4.10-rc1`
    let number = |part: &str| part.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok();
    let mut parts = version.split('.').map(|part| number(part).unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(at_least("10.0.1", (4, 2)) && at_least("4.2.0", (4, 2)) && at_least("4.10-rc1", (4, 2)));
        assert!(!at_least("3.6.8", (4, 2)) && !at_least("4.0.28", (4, 2)) && !at_least("?", (4, 2)));
    }
}
