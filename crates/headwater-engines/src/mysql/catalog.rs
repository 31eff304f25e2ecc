//! What the server's catalog says of tables, and the numbering of their shapes.
//!
//! Owns: descriptions, ids and versions, shared by the log and by chunks, so that both name one shape alike. The log brings
//! names and types of its own; of the catalog it needs only which texts are JSON, and the server's character sets.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_model::{
    Catalogued, Column, ColumnRevision, Error, Result, Revision, Table, TableId, TableName,
};

use super::cell::Charset;
use super::codec::Kind;
use super::connection::{Cells, Connection, literal, text};

/// The table that marks are written to.
pub(super) const MARKS: &str = "headwater_mark";

/// What the comment of every table of a store begins with.
pub(super) const READ_MODEL: &str = "headwater: a read model, written by Headwater only";

/// A table as the catalog has it.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub name: TableName,
    pub columns: Vec<DescribedColumn>,
    /// Places of the primary key's columns, in key order.
    pub key: Vec<usize>,
    pub engine: String,
    pub rows: u64,
    pub bytes: u64,
    created: String,
    comment: String,
}

#[derive(Clone, Debug)]
pub(super) struct DescribedColumn {
    pub name: Box<str>,
    /// `None` for a type that cannot be followed.
    pub kind: Option<Kind>,
    /// `varchar(20)` and the like.
    pub type_name: Box<str>,
    pub data_type: Box<str>,
    pub charset: Box<str>,
    pub collation: Box<str>,
    pub nullable: bool,
    extra: String,
}

/// A numbered shape, and how values of its columns are read.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub table: Arc<Table>,
    pub kinds: Arc<[Kind]>,
}

impl Described {
    /// Why the table cannot be followed, and what to do about it.
    pub fn obstacle(&self) -> Option<(String, String)> {
        let name = quoted(&self.name.name);
        if self.comment.starts_with(READ_MODEL) {
            return Some((
                "it is a read model that Headwater writes: following it would feed a store with what it wrote".into(),
                "name the table that the read model was made of".into(),
            ));
        }
        if let Some(column) = self.columns.iter().find(|column| column.kind.is_none()) {
            return Some((
                format!(
                    "column \"{}\" has the type {}, which cannot be followed",
                    column.name, column.type_name
                ),
                format!("ALTER TABLE {name} MODIFY {} VARCHAR(…)", quoted(&column.name)),
            ));
        }
        let multibyte = |column: &&DescribedColumn| {
            matches!(
                &*column.charset,
                "big5" | "cp932" | "eucjpms" | "euckr" | "gb18030" | "gb2312" | "gbk" | "sjis" | "ujis"
            )
        };
        if let Some(column) = self.columns.iter().find(multibyte) {
            return Some((
                format!(
                    "column \"{}\" is in {}, which is not read from the log",
                    column.name, column.charset
                ),
                format!("ALTER TABLE {name} CONVERT TO CHARACTER SET utf8mb4"),
            ));
        }
        if self.key.is_empty() {
            return Some((
                "it has no primary key, so the log does not say which row changed".into(),
                format!("ALTER TABLE {name} ADD PRIMARY KEY (…)"),
            ));
        }
        if !self.engine.eq_ignore_ascii_case("InnoDB") {
            return Some((
                format!("its engine {} has no transactions", self.engine),
                format!("ALTER TABLE {name} ENGINE = InnoDB"),
            ));
        }
        None
    }

    /// Columns and their kinds, for the numbering.
    fn shape(&self) -> Option<(Vec<Column>, Arc<[Kind]>)> {
        let kinds: Arc<[Kind]> = self.columns.iter().map(|column| column.kind).collect::<Option<_>>()?;
        let columns = self.columns.iter().zip(kinds.iter());
        let columns = columns.map(|(c, kind)| Column { name: c.name.clone(), kind: kind.column_type() });
        Some((columns.collect(), kinds))
    }

    fn revision(&self) -> Revision {
        let columns: Vec<ColumnRevision> = self
            .columns
            .iter()
            .map(|column| ColumnRevision {
                id: hash(&[&column.name]),
                definition: hash(&[&column.type_name, &column.collation, &column.extra]),
            })
            .collect();
        let definitions: String =
            columns.iter().map(|column| format!("{}:{};", column.id, column.definition)).collect();
        Revision { storage: hash(&[&self.created, &definitions]), columns }
    }
}

/// A name between backticks, for people and for statements in any mode.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// FNV-1a, 64 bits: numbers that mean nothing but that they are equal or not.
pub(super) fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain(std::iter::once(0xff)));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[derive(Default)]
pub(super) struct Catalog {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    shapes: HashMap<TableId, Versions>,
    /// Character sets by the ids of collations.
    charsets: Option<Arc<HashMap<u64, Box<str>>>>,
    singles: HashMap<Box<str>, Arc<[char]>>,
}

#[derive(Default)]
struct Versions {
    shapes: Vec<Arc<Table>>,
    log_version: u32,
}

/// Who describes a shape: the log goes forward only, a chunk may be ahead of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    InLog,
    InChunk,
}

impl Catalog {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a shape its number.
    pub fn number(
        &self,
        name: &TableName,
        columns: Vec<Column>,
        key: Vec<usize>,
        seen: Seen,
    ) -> Result<Arc<Table>> {
        // The server has no number of its own that outlives ALTER TABLE.
        let id = (hash(&[&name.name]) >> 32) as TableId;
        let mut known = self.lock();
        let versions = known.shapes.entry(id).or_default();
        if let Some(other) = versions.shapes.first().filter(|other| other.name != *name) {
            return Err(Error::unsupported(format!(
                "the tables {name} and {} have the same number",
                other.name
            ))
            .with_remedy("rename one of them"));
        }
        let same = versions.shapes.iter().find(|table| {
            table.version >= versions.log_version && table.columns == columns && table.key == key
        });
        let table = match same {
            Some(table) => table.clone(),
            None => {
                let version = versions.shapes.last().map_or(1, |table| table.version + 1);
                let table = Arc::new(Table { id, version, name: name.clone(), columns, key });
                versions.shapes.push(table.clone());
                table
            }
        };
        if seen == Seen::InLog {
            versions.log_version = table.version;
        }
        Ok(table)
    }

    /// The shape of a table that can be followed.
    pub fn shape(&self, described: &Described) -> Result<Shape> {
        if let Some((what, remedy)) = described.obstacle() {
            return Err(Error::misconfigured(format!("table {}: {what}", described.name)).with_remedy(remedy));
        }
        let (columns, kinds) = described.shape().ok_or_else(|| Error::bug("a table without kinds"))?;
        let table = self.number(&described.name, columns, described.key.clone(), Seen::InChunk)?;
        Ok(Shape { table, kinds })
    }

    pub fn catalogued(&self, described: &Described) -> Result<Catalogued> {
        Ok(Catalogued { table: self.shape(described)?.table, revision: Some(described.revision()) })
    }

    /// How texts of a collation become UTF-8; `None` for bytes.
    pub async fn charset(&self, collation: u64, connection: &mut Connection) -> Result<Option<Charset>> {
        let known = self.lock().charsets.clone();
        let charsets = match known {
            Some(charsets) => charsets,
            None => {
                let charsets = Arc::new(charsets(connection).await?);
                self.lock().charsets = Some(charsets.clone());
                charsets
            }
        };
        let name = charsets.get(&collation).ok_or_else(|| {
            Error::unsupported(format!("the server does not say what collation {collation} is"))
        })?;
        Ok(Some(match &**name {
            "binary" => return Ok(None),
            "utf8mb4" | "utf8mb3" | "utf8" | "ascii" => Charset::Utf8,
            "ucs2" | "utf16" => Charset::Utf16 { big_endian: true },
            "utf16le" => Charset::Utf16 { big_endian: false },
            "utf32" => Charset::Utf32,
            name => {
                let known = self.lock().singles.get(name).cloned();
                let table = match known {
                    Some(table) => table,
                    None => {
                        let table = single(name, connection).await?;
                        self.lock().singles.insert(name.into(), table.clone());
                        table
                    }
                };
                Charset::Single(table)
            }
        }))
    }
}

/// The server's own word for each of the 256 characters.
async fn single(name: &str, connection: &mut Connection) -> Result<Arc<[char]>> {
    let bytes: String = (0..=255).map(|byte| format!("{byte:02X}")).collect();
    let rows =
        connection.rows(&format!("SELECT CONVERT(CONVERT(X'{bytes}' USING {name}) USING utf8mb4)")).await?;
    let table: Arc<[char]> = rows.first().map(|row| text(row, 0)).unwrap_or_default().chars().collect();
    if table.len() != 256 {
        return Err(Error::unsupported(format!("texts in {name} are not read from the log"))
            .with_remedy("ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4"));
    }
    Ok(table)
}

async fn charsets(connection: &mut Connection) -> Result<HashMap<u64, Box<str>>> {
    let mut sql = "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS WHERE ID IS NOT NULL \
                   AND CHARACTER_SET_NAME IS NOT NULL"
        .to_owned();
    if connection.about.mariadb {
        // Collations that several character sets share have their ids here, from 10.10 on.
        let columns = connection
            .rows(
                "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'information_schema' \
                 AND TABLE_NAME = 'COLLATION_CHARACTER_SET_APPLICABILITY' AND COLUMN_NAME = 'ID'",
            )
            .await?;
        if columns.first().is_some_and(|row| text(row, 0) != "0") {
            sql.push_str(
                " UNION SELECT ID, CHARACTER_SET_NAME FROM \
                 information_schema.COLLATION_CHARACTER_SET_APPLICABILITY",
            );
        }
    }
    let rows = connection.rows(&sql).await?;
    Ok(rows.iter().filter_map(|row| Some((text(row, 0).parse().ok()?, text(row, 1).into()))).collect())
}

/// The tables of the database, or those of `names` that are there, by name.
pub(super) async fn describe(
    connection: &mut Connection,
    names: Option<&[TableName]>,
) -> Result<BTreeMap<TableName, Described>> {
    let of = match names {
        None => String::new(),
        Some(names) => {
            let names: Vec<String> = names.iter().map(|name| literal(&name.name)).collect();
            format!(" AND TABLE_NAME IN ({})", names.join(", "))
        }
    };
    let mut tables = BTreeMap::new();
    let rows = connection
        .rows(&format!(
            "SELECT TABLE_NAME, ENGINE, TABLE_ROWS, DATA_LENGTH + INDEX_LENGTH, CREATE_TIME, TABLE_COMMENT \
             FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE' AND TABLE_NAME <> '{MARKS}'{of}"
        ))
        .await?;
    for row in &rows {
        let name = TableName::new(None, &text(row, 0));
        let described = Described {
            name: name.clone(),
            columns: Vec::new(),
            key: Vec::new(),
            engine: text(row, 1),
            rows: text(row, 2).parse().unwrap_or(0),
            bytes: text(row, 3).parse().unwrap_or(0),
            created: text(row, 4),
            comment: text(row, 5),
        };
        tables.insert(name, described);
    }
    let json = json_columns(connection, &of).await?;
    let rows = connection
        .rows(&format!(
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, IS_NULLABLE, \
             CONCAT_WS(' ', EXTRA, GENERATION_EXPRESSION) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE(){of} ORDER BY TABLE_NAME, ORDINAL_POSITION"
        ))
        .await?;
    for row in &rows {
        let (table, name) = (text(row, 0), text(row, 1));
        let Some(described) = tables.get_mut(&TableName::new(None, &table)) else { continue };
        let data_type = text(row, 2).to_lowercase();
        let kind = match json.contains(&(table, name.clone())) {
            true => Some(Kind::Json),
            false => Kind::of(&data_type),
        };
        described.columns.push(DescribedColumn {
            name: name.into(),
            kind: kind.filter(|_| !text(row, 3).contains("COMPRESSED")),
            type_name: text(row, 3).into(),
            data_type: data_type.into(),
            charset: text(row, 4).into(),
            collation: text(row, 5).into(),
            nullable: text(row, 6) == "YES",
            extra: text(row, 7),
        });
    }
    let rows = connection
        .rows(&format!(
            "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS \
             WHERE TABLE_SCHEMA = DATABASE() AND INDEX_NAME = 'PRIMARY'{of} ORDER BY TABLE_NAME, SEQ_IN_INDEX"
        ))
        .await?;
    for row in &rows {
        let Some(described) = tables.get_mut(&TableName::new(None, &text(row, 0))) else { continue };
        let name = text(row, 1);
        described.key.extend(described.columns.iter().position(|column| *column.name == *name));
    }
    Ok(tables)
}

/// MariaDB's JSON is a text with a constraint.
async fn json_columns(
    connection: &mut Connection,
    of: &str,
) -> Result<std::collections::HashSet<(String, String)>> {
    if !connection.about.mariadb {
        return Ok(Default::default());
    }
    let rows: Vec<Cells> = connection
        .rows(&format!(
            "SELECT TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS \
             WHERE CONSTRAINT_SCHEMA = DATABASE() AND LEVEL = 'Column'{of}"
        ))
        .await?;
    // The server quotes names as the session does.
    let is_json = |row: &&Cells| text(row, 2) == format!("json_valid({})", crate::sql::quoted(&text(row, 1)));
    Ok(rows.iter().filter(is_json).map(|row| (text(row, 0), text(row, 1))).collect())
}
