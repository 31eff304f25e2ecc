//! DynamoDB as an application's database: a twin in SQLite takes the application's SQL, and the items of the tables become what the
//! twin's rows are. What should be in stores is then said by a scan of the tables, not by the twin.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use headwater_model::file::{Setting, Settings};
use headwater_model::{Secret, TableName};
use headwater_testkit::{Chance, DynamoDb};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use serde_json::{Map, Value as Json, json};

/// In one request, as DynamoDB Local says; the service takes more.
const TRANSACTION_MAX: usize = 10;

/// Beyond this the service has no numbers.
const NUMBER_MAX: f64 = 1e120;

type Item = Map<String, Json>;

pub struct Twin {
    port: u16,
    prefix: String,
    tables: Vec<Table>,
    db: Connection,
    /// By table and `id`.
    items: BTreeMap<(usize, i64), Item>,
    chance: Chance,
}

/// Columns with their types in SQLite; the first is the key, `id`.
#[derive(Clone)]
struct Table {
    name: String,
    columns: Vec<(String, String)>,
}

/// A table's name as the service takes it.
pub fn named(prefix: &str, table: &TableName) -> TableName {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    TableName::new(None, &format!("{prefix}{}", table.name.chars().map(plain).collect::<String>()))
}

impl Twin {
    /// Makes the tables on both sides, there with streams.
    pub fn begin(port: u16, prefix: &str, path: &Path, ddl: &str, chance: Chance) -> Twin {
        let db = Connection::open(path).unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.pragma_update(None, "synchronous", "off").unwrap();
        db.execute_batch(ddl).unwrap();
        let tables = tables(&db);
        for table in &tables {
            let ask = json!({
                "TableName": service_name(prefix, table), "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "N" }],
                "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
                "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" }
            });
            DynamoDb::ask_at(port, "CreateTable", &ask);
        }
        let mut twin = Twin { port, prefix: prefix.into(), tables, db, items: BTreeMap::new(), chance };
        twin.follow();
        twin
    }

    pub fn execute(&mut self, sql: &str) -> rusqlite::Result<()> {
        self.db.execute_batch(sql)?;
        self.follow();
        Ok(())
    }

    /// The items become what the rows are: at once, or one after the other.
    fn follow(&mut self) {
        let now = self.rows();
        let mut writes = Vec::new();
        for (at, item) in now.iter().filter(|(at, item)| self.items.get(at) != Some(item)) {
            let table = service_name(&self.prefix, &self.tables[at.0]);
            writes.push(json!({ "Put": { "TableName": table, "Item": item } }));
        }
        for (table, id) in self.items.keys().filter(|at| !now.contains_key(at)) {
            let table = service_name(&self.prefix, &self.tables[*table]);
            writes
                .push(json!({ "Delete": { "TableName": table, "Key": { "id": { "N": id.to_string() } } } }));
        }
        if self.chance.one_in(4) {
            for write in &writes {
                let (kind, what) = write.as_object().unwrap().iter().next().unwrap();
                DynamoDb::ask_at(self.port, &format!("{kind}Item"), what);
            }
        } else {
            for writes in writes.chunks(TRANSACTION_MAX) {
                let ask = json!({ "TransactItems": writes });
                DynamoDb::ask_at(self.port, "TransactWriteItems", &ask);
            }
        }
        self.items = now;
    }

    fn rows(&mut self) -> BTreeMap<(usize, i64), Item> {
        let mut items = BTreeMap::new();
        for (at, table) in self.tables.iter().enumerate() {
            let mut query = self.db.prepare(&format!("SELECT * FROM \"{}\"", table.name)).unwrap();
            let mut rows = query.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let cells = table.columns.iter().enumerate();
                let cells = cells
                    .filter_map(|(nth, (name, _))| Some((name.clone(), attribute(row.get(nth).unwrap())?)));
                items.insert((at, row.get(0).unwrap()), cells.collect());
            }
        }
        items
    }
}

/// A value; NULL, and what the service has no number for, is no attribute.
fn attribute(cell: Cell) -> Option<Json> {
    match cell {
        Cell::Null => None,
        Cell::Integer(n) => Some(json!({ "N": n.to_string() })),
        Cell::Real(x) if x.abs() > NUMBER_MAX => None,
        Cell::Real(x) => Some(json!({ "N": format!("{x:?}") })),
        // DynamoDB Local has no empty texts; the service would.
        Cell::Text(text) if text.is_empty() => Some(json!({ "NULL": true })),
        Cell::Text(text) => Some(json!({ "S": text })),
        Cell::Blob(_) => panic!("a column of bytes"),
    }
}

fn service_name(prefix: &str, table: &Table) -> String {
    named(prefix, &TableName::new(None, &table.name)).name.to_string()
}

fn tables(db: &Connection) -> Vec<Table> {
    let names = |sql: &str, column: usize| -> Vec<String> {
        let mut query = db.prepare(sql).unwrap();
        query.query_map([], |row| row.get(column)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    };
    let columns = |name: &String| {
        let info = format!("PRAGMA table_info(\"{name}\")");
        names(&info, 1).into_iter().zip(names(&info, 2)).collect()
    };
    let all = names("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name", 0);
    all.into_iter().map(|name| Table { columns: columns(&name), name }).collect()
}

/// What a source of the twin's tables is told of their columns.
pub fn columns(prefix: &str, path: &Path) -> Setting {
    let word = |kind: &str| match &*kind.to_ascii_lowercase() {
        "bigint" => "integer",
        "text" => "text",
        _ => "number",
    };
    let tables = tables(&Connection::open(path).unwrap());
    let declared = tables.iter().map(|table| {
        let columns = table
            .columns
            .iter()
            .map(|(name, kind)| (Box::from(&**name), Setting::Text(Secret::new(word(kind)))));
        (service_name(prefix, table).into(), Setting::Table(columns.collect::<Settings>()))
    });
    Setting::Table(declared.collect())
}

/// A database with what consistent scans show, in tables of the service's names.
pub fn scanned(port: u16, prefix: &str, twin: &Path, path: &Path) {
    let _ = std::fs::remove_file(path);
    let mut db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(30)).unwrap();
    let transaction = db.transaction().unwrap();
    for table in tables(&Connection::open(twin).unwrap()) {
        let name = service_name(prefix, &table);
        let columns: Vec<String> =
            table.columns.iter().map(|(column, kind)| format!("\"{column}\" {kind}")).collect();
        let columns = format!("{}, PRIMARY KEY (id)", columns.join(", "));
        transaction.execute_batch(&format!("CREATE TABLE \"{name}\" ({columns})")).unwrap();
        let places = vec!["?"; table.columns.len()].join(", ");
        let mut insert = transaction.prepare(&format!("INSERT INTO \"{name}\" VALUES ({places})")).unwrap();
        let mut ask = json!({ "TableName": name, "ConsistentRead": true });
        loop {
            let mut page = DynamoDb::ask_at(port, "Scan", &ask);
            for item in page["Items"].as_array().unwrap() {
                // Numbers as texts: the columns' types make numbers of them.
                let cell = |(name, _): &(String, String)| {
                    let value = item[name].as_object().and_then(|value| value.values().next());
                    value.and_then(Json::as_str).map(str::to_owned)
                };
                insert.execute(rusqlite::params_from_iter(table.columns.iter().map(cell))).unwrap();
            }
            match page["LastEvaluatedKey"].take() {
                Json::Null => break,
                last => ask["ExclusiveStartKey"] = last,
            }
        }
    }
    transaction.commit().unwrap();
}
