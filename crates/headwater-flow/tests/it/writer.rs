//! The application that writes to the source.

use std::time::Duration;

/// A connection of the application.
pub enum Writer {
    Postgres(tokio::runtime::Runtime, tokio_postgres::Client),
    Sqlite(rusqlite::Connection),
    /// MariaDB, and a twin in SQLite that is told the same.
    MariaDb(tokio::runtime::Runtime, mysql_async::Conn, rusqlite::Connection),
    /// DynamoDB, through a twin in SQLite.
    DynamoDb(crate::twin::Twin),
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

    /// To a database of MariaDB, and to the twin's file.
    pub fn twins(server: &headwater_testkit::MariaDb, database: &str, twin: &std::path::Path) -> Writer {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let conn = runtime.block_on(async {
            let mut conn = server.connect(database).await;
            let mode = "SET sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')";
            mysql_async::prelude::Queryable::query_drop(&mut conn, mode).await.unwrap();
            conn
        });
        let Writer::Sqlite(db) = Writer::connect(&format!("sqlite:{}", twin.display())) else {
            unreachable!()
        };
        Writer::MariaDb(runtime, conn, db)
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
            Writer::MariaDb(runtime, conn, db) => {
                let done = mysql_async::prelude::Queryable::query_drop(conn, sql);
                runtime.block_on(done).map_err(|error| error.to_string())?;
                db.execute_batch(sql).map_err(|error| error.to_string())
            }
            Writer::DynamoDb(twin) => twin.execute(sql).map_err(|error| error.to_string()),
        }
    }
}
