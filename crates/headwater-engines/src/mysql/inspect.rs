//! A look at the database: its tables, its settings, and what stands in the way. Reads only.

use std::collections::HashMap;

use headwater_model::{
    ColumnFacts, ColumnType, ForeignKey, IndexFacts, IndexedColumn, Result, Risk, Severity, SourceFacts,
    TableFacts, TableName,
};

use super::catalog::{self, Described};
use super::codec::Kind;
use super::config::Config;
use super::connection::{Cells, Connection, text};
use super::dialect::Type;
use super::prepare;

pub(super) async fn inspect(connection: &mut Connection, config: &Config) -> Result<SourceFacts> {
    let risks = prepare::risks(connection, config).await?;
    let described = catalog::describe(connection, None).await?;
    let mut indexes = indexes(connection).await?;
    let mut foreign_keys = foreign_keys(connection).await?;
    let tables = described
        .into_values()
        .map(|table| {
            let indexes = indexes.remove(&table.name).unwrap_or_default();
            let foreign_keys = foreign_keys.remove(&table.name).unwrap_or_default();
            facts(&table, &indexes, foreign_keys)
        })
        .collect();
    let product = if connection.about.mariadb { "MariaDB" } else { "MySQL" };
    let version = connection.about.version.split('-').next().unwrap_or_default();
    Ok(SourceFacts { server: format!("{product} {version}"), tables, risks, ..SourceFacts::default() })
}

fn facts(table: &Described, indexes: &[Index], foreign_keys: Vec<ForeignKey>) -> TableFacts {
    let column = |name: &str| table.columns.iter().find(|column| *column.name == *name);
    let key: Vec<Box<str>> = table.key.iter().map(|place| table.columns[*place].name.clone()).collect();
    let mut unique: Vec<Vec<Box<str>>> = Vec::new();
    unique.extend((!key.is_empty()).then(|| key.clone()));
    for index in indexes.iter().filter(|index| index.unique && !index.primary) {
        let never_null = |name: &str| column(name).is_some_and(|column| !column.nullable);
        if index.columns.iter().all(|(name, _)| never_null(name)) {
            unique.push(index.columns.iter().map(|(name, _)| name.clone()).collect());
        }
    }
    let indexes = indexes.iter().map(|index| IndexFacts {
        columns: index
            .columns
            .iter()
            .map(|(name, descending)| IndexedColumn {
                name: name.clone(),
                descending: *descending,
                // NULL comes first in an index here, and texts by their collation.
                as_stores: column(name).is_some_and(|column| {
                    let native = column.kind.map(|kind| Type::new(kind, column));
                    !column.nullable && native.is_some_and(|native| native.is_native())
                }),
            })
            .collect(),
    });
    TableFacts {
        name: table.name.clone(),
        columns: table
            .columns
            .iter()
            .map(|column| ColumnFacts {
                name: column.name.clone(),
                kind: column.kind.map_or(ColumnType::Text, Kind::column_type),
                type_name: column.type_name.clone(),
                nullable: column.nullable,
                may_be_unchanged: false,
                absent_from_log: false,
                indexable: Type::new(column.kind.unwrap_or(Kind::Text), column).indexable(),
            })
            .collect(),
        key,
        unique,
        foreign_keys,
        indexes: indexes.collect(),
        // Names stand between double quotes behind it.
        create_index: "SET sql_mode = 'ANSI_QUOTES'; CREATE INDEX",
        rows_estimate: table.rows,
        bytes_estimate: table.bytes,
        obstacle: table.obstacle().map(|(what, remedy)| Risk { severity: Severity::Error, what, remedy }),
    }
}

struct Index {
    name: String,
    primary: bool,
    unique: bool,
    /// And whether it descends.
    columns: Vec<(Box<str>, bool)>,
}

/// B-trees over whole columns.
async fn indexes(connection: &mut Connection) -> Result<HashMap<TableName, Vec<Index>>> {
    let rows = connection
        .rows(
            "SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, COLLATION, INDEX_TYPE, SUB_PART \
             FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() \
             ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX",
        )
        .await?;
    let mut indexes: HashMap<TableName, Vec<Index>> = HashMap::new();
    let mut unfit: Vec<(TableName, String)> = Vec::new();
    for row in &rows {
        let (table, name) = (TableName::new(None, &text(row, 0)), text(row, 1));
        // Over an expression, over the beginning of a column, or no B-tree.
        if row[3].is_none() || row[6].is_some() || text(row, 5) != "BTREE" {
            unfit.push((table.clone(), name.clone()));
        }
        let of = indexes.entry(table).or_default();
        if of.last().is_none_or(|index| index.name != name) {
            let (primary, unique) = (name == "PRIMARY", text(row, 2) == "0");
            of.push(Index { name, primary, unique, columns: Vec::new() });
        }
        of.last_mut()
            .into_iter()
            .for_each(|index| index.columns.push((text(row, 3).into(), text(row, 4) == "D")));
    }
    for (table, name) in unfit {
        if let Some(of) = indexes.get_mut(&table) {
            of.retain(|index| index.name != name);
        }
    }
    Ok(indexes)
}

async fn foreign_keys(connection: &mut Connection) -> Result<HashMap<TableName, Vec<ForeignKey>>> {
    let rows = connection
        .rows(
            "SELECT TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME \
             FROM information_schema.KEY_COLUMN_USAGE \
             WHERE TABLE_SCHEMA = DATABASE() AND REFERENCED_TABLE_SCHEMA = DATABASE() \
             ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION",
        )
        .await?;
    let mut found: HashMap<TableName, Vec<ForeignKey>> = HashMap::new();
    let mut last: Option<&Cells> = None;
    for row in &rows {
        let of = found.entry(TableName::new(None, &text(row, 0))).or_default();
        if last.is_none_or(|last| last[..2] != row[..2]) {
            let to = TableName::new(None, &text(row, 3));
            of.push(ForeignKey { columns: Vec::new(), to, to_columns: Vec::new() });
        }
        if let Some(key) = of.last_mut() {
            key.columns.push(text(row, 2).into());
            key.to_columns.push(text(row, 4).into());
        }
        last = Some(row);
    }
    Ok(found)
}
