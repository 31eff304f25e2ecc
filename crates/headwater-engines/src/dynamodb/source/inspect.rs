//! What a source is like: its tables, and what stands in the way of following them.
//!
//! A table whose columns the file declares is looked at, and its newest attributes are compared with them. If the file declares
//! nothing at all, as before there is one, the columns of each table are what a sample of its items has.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use headwater_model::{
    ColumnFacts, Error, Indexable, Result, Risk, Severity, SourceFacts, TableFacts, TableName,
};

use super::config::{Columns, Options};
use super::shape::{Described, describe};
use super::value::Kind;
use crate::dynamodb::failure::failure;
use crate::dynamodb::item::{KEY, PART};
use crate::dynamodb::tables::{SOURCE_STATE, Table};

/// Tables that are looked at, and items of each.
const TABLES_MAX: usize = 300;
const SAMPLE: i32 = 100;
/// Undeclared attributes that are named.
const NAMED_MAX: usize = 8;

pub(super) fn undeclared(table: &str) -> Error {
    Error::misconfigured(format!("the file does not declare the columns of table {table}")).with_remedy(
        format!(
            "add [source.columns] with {} = {{ attribute = \"text\" }}; `headwater init` prints it for the attributes that are \
             there",
            headwater_model::file::toml_key(table)
        ),
    )
}

/// The account and region, as every table's name has them.
pub(super) async fn place(client: &Client, prefix: &str) -> Result<String> {
    let state = Table::of_source(prefix);
    let mut arn = state.describe(client).await?.and_then(|table| table.table_arn);
    if arn.is_none() {
        let some = client.list_tables().limit(1).send().await.map_err(|e| failure("list the tables", e))?;
        if let Some(name) = some.table_names().first() {
            let found = client.describe_table().table_name(name).send().await;
            let found = found.map_err(|e| failure(format_args!("describe the table {name}"), e))?;
            arn = found.table.and_then(|table| table.table_arn);
        }
    }
    // arn:aws:dynamodb:us-east-1:123456789012:table/orders
    let arn = arn.unwrap_or_default();
    let mut parts = arn.split(':').skip(3);
    match (parts.next(), parts.next()) {
        (Some(region), Some(account)) => Ok(format!("dynamodb:{region}:{account}")),
        _ => Ok("dynamodb".to_owned()),
    }
}

pub(super) async fn facts(client: &Client, options: &Options) -> Result<SourceFacts> {
    let config = &options.config;
    let region = client.config().region().map_or("?", |region| region.as_ref()).to_owned();
    let mut facts = SourceFacts {
        server: match &config.endpoint {
            Some(endpoint) => format!("DynamoDB at {endpoint}"),
            None => format!("DynamoDB in {region}"),
        },
        ..SourceFacts::default()
    };
    for name in names(client, &config.prefix).await? {
        let Some(described) = describe(client, &name).await? else { continue };
        // A read model of ours.
        if described.key.iter().any(|(part, _)| part == KEY || part == PART) {
            continue;
        }
        let declared = options.columns.get(name.as_str());
        let mut columns = declared.cloned().unwrap_or_default();
        if declared.is_some() || options.columns.is_empty() {
            let sample = sample(client, &described).await?;
            match declared {
                Some(declared) => facts.risks.extend(not_declared(&described, declared, &sample)),
                None => columns = sample,
            }
        }
        let table = TableName::new(None, &name);
        if declared.is_none() {
            facts.undeclared.insert(table.clone());
        }
        let obstacle = match (described.stream(), described.shape(&columns)) {
            (_, Err(error)) => Some(Risk {
                severity: Severity::Error,
                what: error.to_string(),
                remedy: error.remedy().unwrap_or_default().to_owned(),
            }),
            (Err((what, remedy)), Ok(_)) if described.stream.is_some() || !config.create => {
                let risk = Risk { severity: Severity::Error, what, remedy };
                match declared {
                    Some(_) => Some(risk),
                    // No file asks for it yet: what has to be done is said, and nothing is left out for it.
                    None => {
                        if options.columns.is_empty() {
                            facts.risks.push(Risk { severity: Severity::Warning, ..risk });
                        }
                        None
                    }
                }
            }
            _ => None,
        };
        let columns = described.columns(&columns).unwrap_or_default();
        let key: Vec<Box<str>> = described.key.iter().map(|(name, _)| name.as_str().into()).collect();
        let column = |(name, kind): (Box<str>, Kind)| ColumnFacts {
            nullable: !key.contains(&name),
            kind: kind.column(),
            type_name: kind.word().into(),
            may_be_unchanged: false,
            absent_from_log: false,
            indexable: Indexable::Never,
            name,
        };
        facts.tables.push(TableFacts {
            name: table,
            columns: columns.into_iter().map(column).collect(),
            unique: vec![key.clone()],
            key: key.clone(),
            foreign_keys: Vec::new(),
            indexes: Vec::new(),
            create_index: "",
            rows_estimate: described.items,
            bytes_estimate: described.bytes,
            obstacle,
        });
    }
    Ok(facts)
}

async fn names(client: &Client, prefix: &str) -> Result<Vec<String>> {
    let (mut names, mut start) = (Vec::new(), None);
    loop {
        let request = client.list_tables().set_exclusive_start_table_name(start);
        let page = request.send().await.map_err(|e| failure("list the tables", e))?;
        let all = page.table_names.unwrap_or_default().into_iter();
        names.extend(all.filter(|name| name.starts_with(prefix) && !name.ends_with(SOURCE_STATE)));
        start = page.last_evaluated_table_name;
        if names.len() > TABLES_MAX {
            return Err(Error::unsupported(format!("there are more than {TABLES_MAX} tables to look at"))
                .with_remedy("put what the names of those to follow begin with into the URL: dynamodb://us-east-1/shop_"));
        }
        if start.is_none() {
            return Ok(names);
        }
    }
}

/// What attributes some items have. One that has several types is JSON.
async fn sample(client: &Client, table: &Described) -> Result<Columns> {
    let page = client.scan().table_name(&table.name).limit(SAMPLE).send().await;
    let page = page.map_err(|e| failure(format_args!("read some items of {}", table.name), e))?;
    let mut columns = Columns::new();
    for (name, value) in page.items().iter().flatten() {
        if table.key.iter().any(|(part, _)| part == name) {
            continue;
        }
        let Some(kind) = Kind::guess(value) else { continue };
        let known = columns.entry(name.as_str().into()).or_insert(kind);
        if *known != kind {
            *known = Kind::Json;
        }
    }
    Ok(columns)
}

fn not_declared(table: &Described, declared: &Columns, sample: &Columns) -> Option<Risk> {
    let missing: BTreeMap<_, _> = sample.iter().filter(|(name, _)| !declared.contains_key(*name)).collect();
    let shown: Vec<String> = missing
        .iter()
        .take(NAMED_MAX)
        .map(|(name, kind)| format!("{} = \"{}\"", headwater_model::file::toml_key(name), kind.word()))
        .collect();
    (!missing.is_empty()).then(|| Risk {
        severity: Severity::Note,
        what: format!(
            "items of table {} have {} attributes that no view can have",
            table.name,
            missing.len()
        ),
        remedy: format!("if they are wanted, declare them as its columns: {}", shown.join(", ")),
    })
}
