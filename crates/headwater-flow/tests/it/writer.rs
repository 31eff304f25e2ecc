//! The application that writes to the source.

use std::time::Duration;

/// A connection of the application.
pub enum Writer {
    Postgres(tokio::runtime::Runtime, tokio_postgres::Client),
    Sqlite(rusqlite::Connection),
}

impl Writer {
    /// To a source by its URL.
    pub fn connect(url: &str) -> Writer {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let db = rusqlite::Connection::open(path).unwrap();
            db.busy_timeout(Duration::from_secs(30)).unwrap();
            db.pragma_update(None, "journal_mode", "wal").unwrap();
            db.pragma_update(None, "synchronous", "off").unwrap();
            return Writer::Sqlite(db);
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        });
        Writer::Postgres(runtime, client)
    }

    pub fn execute(&mut self, sql: &str) {
        self.try_execute(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    }

    pub fn try_execute(&mut self, sql: &str) -> Result<(), String> {
        match self {
            Writer::Postgres(runtime, client) => {
                runtime.block_on(client.batch_execute(sql)).map_err(|error| format!("{error:?}"))
            }
            Writer::Sqlite(db) => db.execute_batch(sql).map_err(|error| error.to_string()),
        }
    }
}
