//! The arrays that statements give, read as values and documents.

use headwater_model::{Error, Record, Result, Value};
use serde_json::Value as Json;

use super::dialect::Dialect;
use super::document::Template;
use super::shape::Column;

/// The JSON of a column of a row; `None` for NULL.
pub(super) fn json(row: &[Option<String>], place: usize) -> Result<Option<Json>> {
    match row.get(place) {
        Some(Some(text)) => {
            serde_json::from_str(text).map(Some).map_err(|e| misread("no JSON").with_cause(e))
        }
        Some(None) => Ok(None),
        None => Err(misread("too few columns")),
    }
}

/// An array of texts as the values of columns.
pub(super) fn values<D: Dialect>(
    dialect: &D,
    columns: &[Column<D::Column>],
    json: &Json,
) -> Result<Vec<Value>> {
    let texts = json.as_array().filter(|texts| texts.len() == columns.len());
    let texts = texts.ok_or_else(|| misread("an array of another length"))?;
    columns.iter().zip(texts).map(|(column, text)| value(dialect, column, text)).collect()
}

fn value<D: Dialect>(dialect: &D, column: &Column<D::Column>, json: &Json) -> Result<Value> {
    match json {
        Json::Null => Ok(Value::Null),
        Json::String(text) => dialect.value(column, text).ok_or_else(|| {
            Error::corrupt(format!(
                "a value of column \"{}\" cannot be read as {:?}",
                column.name, column.kind
            ))
        }),
        _ => Err(misread("no text")),
    }
}

/// A document, with its embedded rows.
pub(super) fn record<D: Dialect>(dialect: &D, template: &Template<D>, json: &Json) -> Result<Record> {
    let items = json.as_array().filter(|items| items.len() == 1 + template.embeds.len());
    let Some([cells, embedded @ ..]) = items.map(Vec::as_slice) else {
        return Err(misread("a document of another form"));
    };
    let mut values = values(dialect, &template.cells, cells)?;
    for (embed, json) in template.embeds.iter().zip(embedded) {
        values.push(match json {
            Json::Null => Value::Null,
            Json::Array(rows) if embed.many => Value::List(
                rows.iter()
                    .map(|row| record(dialect, &embed.template, row).map(Value::Record))
                    .collect::<Result<_>>()?,
            ),
            row => Value::Record(record(dialect, &embed.template, row)?),
        });
    }
    Ok(Record { names: template.names.clone(), values })
}

pub(super) fn misread(what: &str) -> Error {
    Error::bug(format!("the source's answer is not what was asked for: {what}"))
}
