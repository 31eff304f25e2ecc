//! Tables as they are described, and their shape: a key that DynamoDB knows, and the columns that the file declares.
//!
//! DynamoDB has no columns, so the file says which attributes are columns, and of which type. A shape that was guessed from
//! items would change with the next item, and whatever it left out would be lost without a word.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeyType, StreamViewType, TableDescription};
use headwater_model::{
    Catalogued, Column, ColumnRevision, Error, Key, Refused, Result, Revision, Row, Table, TableName,
};

use super::config::Columns;
use super::value::{self, Item, Kind, key_attribute};
use crate::dynamodb::failure::{failure, is_missing};

/// A table as the service describes it.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) name: String,
    /// Names of the key's attributes with their types (`S`, `N`, `B`), the partition's first.
    pub(super) key: Vec<(String, String)>,
    /// Tells a table from another one of the same name before or after it.
    pub(super) identity: String,
    /// The stream that is on.
    pub(super) stream: Option<Stream>,
    pub(super) items: u64,
    pub(super) bytes: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stream {
    pub(super) arn: String,
    /// Whether its records have the item before and after.
    pub(super) has_images: bool,
}

/// `None` if there is no such table.
pub(super) async fn describe(client: &Client, name: &str) -> Result<Option<Described>> {
    match client.describe_table().table_name(name).send().await {
        Ok(found) => found.table.map(|table| Described::of(name, &table)).transpose(),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(failure(format_args!("describe the table {name}"), error)),
    }
}

impl Described {
    fn of(name: &str, table: &TableDescription) -> Result<Described> {
        let kind = |attribute: &str| {
            let known = table.attribute_definitions().iter().find(|known| known.attribute_name == attribute);
            known.map(|known| known.attribute_type.as_str().to_owned())
        };
        let part = |role: KeyType| table.key_schema().iter().find(|part| part.key_type == role);
        let key = [part(KeyType::Hash), part(KeyType::Range)].into_iter().flatten();
        let key = key.map(|part| Some((part.attribute_name.clone(), kind(&part.attribute_name)?)));
        let key: Option<Vec<_>> = key.collect();
        let key = key.filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| Error::bug(format!("the service describes no key of table {name}")))?;
        let made = table.creation_date_time().map_or(0, |at| at.secs());
        let count = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        let wanted = table.stream_specification().filter(|stream| stream.stream_enabled());
        let stream = wanted.zip(table.latest_stream_arn()).map(|(wanted, arn)| Stream {
            arn: arn.to_owned(),
            has_images: wanted.stream_view_type() == Some(&StreamViewType::NewAndOldImages),
        });
        Ok(Described {
            name: name.to_owned(),
            key,
            identity: table.table_id().map_or_else(|| format!("{name} of {made}"), str::to_owned),
            stream,
            items: count(table.item_count()),
            bytes: count(table.table_size_bytes()),
        })
    }

    /// The stream, if its records tell everything; else what is wrong with it, and the command that mends it.
    pub(super) fn stream(&self) -> Result<&Stream, (String, String)> {
        let name = &self.name;
        let on = format!(
            "aws dynamodb update-table --table-name {name} --stream-specification \
             StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
        );
        match &self.stream {
            Some(stream) if stream.has_images => Ok(stream),
            None => Err((format!("table {name} has no stream"), format!("switch one on: {on}"))),
            Some(_) => Err((
                format!("the stream of table {name} does not have the new and the old image of an item"),
                format!(
                    "a stream's type cannot be changed: switch it off, then on again: aws dynamodb update-table \
                     --table-name {name} --stream-specification StreamEnabled=false && aws dynamodb wait table-exists \
                     --table-name {name} && {on}"
                ),
            )),
        }
    }

    /// The key's attributes, as they are declared or by their own types, then the declared ones in the order of their names.
    pub(super) fn columns(&self, declared: &Columns) -> Result<Vec<(Box<str>, Kind)>> {
        let mut columns = Vec::with_capacity(declared.len() + self.key.len());
        for (name, scalar) in &self.key {
            let own = match scalar.as_str() {
                "N" => Kind::Number,
                "B" => Kind::Bytes,
                _ => Kind::Text,
            };
            let kind = declared.get(name.as_str()).copied().unwrap_or(own);
            if !kind.fits_key(scalar) {
                return Err(Error::misconfigured(format!(
                    "\"{name}\" of table {} is declared as {}, but it is a part of the key, of type {scalar}",
                    self.name,
                    kind.word()
                ))
                .with_remedy(format!(
                    "declare it as {}, or leave it out: keys are always columns",
                    own.word()
                )));
            }
            columns.push((name.as_str().into(), kind));
        }
        let is_key = |name: &str| self.key.iter().any(|(part, _)| part == name);
        columns.extend(
            declared.iter().filter(|(name, _)| !is_key(name)).map(|(name, kind)| (name.clone(), *kind)),
        );
        Ok(columns)
    }

    pub(super) fn shape(&self, declared: &Columns) -> Result<Shape> {
        let columns = self.columns(declared)?;
        let table = Table {
            id: hash(&self.identity) as u32,
            version: 1,
            name: TableName::new(None, &self.name),
            columns: columns
                .iter()
                .map(|(name, kind)| Column { name: name.clone(), kind: kind.column() })
                .collect(),
            key: (0..self.key.len()).collect(),
        };
        Ok(Shape { table: Arc::new(table), kinds: columns.into_iter().map(|(_, kind)| kind).collect() })
    }

    /// The shape, and what moves when rows may have changed without the stream's telling: another stream than before, which
    /// counts as a column of its own, so that keys stay what they were.
    pub(super) fn catalogued(&self, shape: &Shape) -> Catalogued {
        let stream = self.stream.as_ref().map_or(0, |stream| hash(&stream.arn));
        let columns = shape.table.columns.iter().zip(&shape.kinds);
        let columns = columns
            .map(|(column, kind)| ColumnRevision { id: hash(&column.name), definition: hash(kind.word()) });
        let columns = columns.chain([ColumnRevision { id: 0, definition: stream }]);
        let revision = Revision { storage: stream, columns: columns.collect() };
        Catalogued { table: Arc::clone(&shape.table), revision: Some(revision) }
    }
}

/// FNV-1a: the same in every build, for it is compared with what was kept.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// How items of a table become rows.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) table: Arc<Table>,
    kinds: Vec<Kind>,
}

impl Shape {
    /// The item as a row, or why it is none.
    pub(super) fn row(&self, item: &Item) -> Result<Row, Refused> {
        let mut values = Vec::with_capacity(self.kinds.len());
        for (column, kind) in self.table.columns.iter().zip(&self.kinds) {
            match value::value(*kind, item.get(&*column.name)) {
                Ok(value) => values.push(value),
                Err(found) => {
                    let reason = format!(
                        "its attribute \"{}\" is {found}, and is declared as {}",
                        column.name,
                        kind.word()
                    );
                    return Err(self.refused(self.key(item), 1, &reason));
                }
            }
        }
        Ok(Row(values))
    }

    pub(super) fn refused(&self, key: Key, rows: u64, reason: &str) -> Refused {
        Refused { table: Arc::clone(&self.table), key, rows, place: "".into(), reason: reason.into() }
    }

    /// The key of an item, or of what names one; exact also where it is not of the declared type.
    pub(super) fn key(&self, item: &Item) -> Key {
        let part = |place: &usize| {
            let (column, kind) = (&self.table.columns[*place], self.kinds[*place]);
            let attribute = item.get(&*column.name);
            let exact = value::value(kind, attribute).or_else(|_| value::value(Kind::Number, attribute));
            exact.or_else(|_| value::value(Kind::Json, attribute)).unwrap_or(headwater_model::Value::Null)
        };
        Key(self.table.key.iter().map(part).collect())
    }

    /// What a table is parted by, of an item or of what names one.
    pub(super) fn partition<'i>(&self, item: Option<&'i Item>) -> Option<&'i [u8]> {
        let column = &self.table.columns[*self.table.key.first()?];
        match item?.get(&*column.name)? {
            AttributeValue::S(text) | AttributeValue::N(text) => Some(text.as_bytes()),
            AttributeValue::B(bytes) => Some(bytes.as_ref()),
            _ => None,
        }
    }

    /// A key as the service takes it; `None` for one that no item has.
    pub(super) fn attributes(&self, key: &Key) -> Option<Item> {
        let names = self.table.key.iter().map(|place| &self.table.columns[*place].name);
        let parts = names.zip(&key.0).map(|(name, part)| Some((name.to_string(), key_attribute(part)?)));
        (key.0.len() == self.table.key.len()).then(|| parts.collect())?
    }
}

/// By the tables' names.
pub(super) type Shapes = BTreeMap<String, Shape>;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use headwater_model::{Reshaped, Value};

    fn described() -> Described {
        Described {
            name: "orders".into(),
            key: vec![("customer".into(), "S".into()), ("n".into(), "N".into())],
            identity: "7".into(),
            stream: Some(Stream { arn: "a".into(), has_images: true }),
            items: 0,
            bytes: 0,
        }
    }

    fn columns(of: &[(&str, Kind)]) -> Columns {
        of.iter().map(|(name, kind)| (Box::from(*name), *kind)).collect()
    }

    #[test]
    fn an_item_is_a_row_of_the_declared_columns() {
        let shape = described().shape(&columns(&[("total", Kind::Number), ("n", Kind::Integer)])).unwrap();
        let names: Vec<&str> = shape.table.columns.iter().map(|column| &*column.name).collect();
        assert_eq!(names, ["customer", "n", "total"]);
        let mut item = Item::from([
            ("customer".to_owned(), AttributeValue::S("ann".into())),
            ("n".to_owned(), AttributeValue::N("7".into())),
            ("other".to_owned(), AttributeValue::Bool(true)),
        ]);
        let row = shape.row(&item).unwrap();
        assert_eq!(row.0, [Value::text("ann"), Value::Int(7), Value::Null]);
        let key = row.key(&shape.table);
        assert_eq!(shape.key(&item), key);
        let named = shape.attributes(&key).unwrap();
        assert_eq!((named.len(), &named["n"]), (2, &item["n"]));
        item.insert("total".to_owned(), AttributeValue::S("19.90".into()));
        let refused = shape.row(&item).unwrap_err();
        assert_eq!(refused.key, key);
        assert_eq!(&*refused.reason, "its attribute \"total\" is S, and is declared as number");
        item.insert("n".to_owned(), AttributeValue::N("0.5".into()));
        assert_eq!(shape.row(&item).unwrap_err().key.to_text(), "ann:0.5");
        assert!(
            shape.attributes(&Key(vec![Value::text(""), Value::Int(1)])).is_none(),
            "no item has that key"
        );
        assert!(described().shape(&columns(&[("n", Kind::Text)])).is_err());
    }

    #[test]
    fn another_stream_is_rows_that_nobody_told_of_and_another_table_another_key() {
        let of = |described: &Described| described.catalogued(&described.shape(&Columns::new()).unwrap());
        let (then, mut now) = (described(), described());
        assert_eq!(of(&now).since(&of(&then)), Reshaped::No);
        now.stream = Some(Stream { arn: "b".into(), has_images: true });
        assert_eq!(of(&now).since(&of(&then)), Reshaped::Rows);
        now.identity = "8".into();
        assert_eq!(of(&now).since(&of(&then)), Reshaped::Keys);
    }

    #[test]
    fn a_stream_that_does_not_tell_all_has_a_command_that_mends_it() {
        let mut table = described();
        assert!(table.stream().is_ok());
        table.stream = Some(Stream { arn: "a".into(), has_images: false });
        assert!(table.stream().unwrap_err().1.contains("StreamEnabled=false"));
        table.stream = None;
        let (what, remedy) = table.stream().unwrap_err();
        assert_eq!(what, "table orders has no stream");
        assert!(remedy.contains("--table-name orders") && remedy.contains("NEW_AND_OLD_IMAGES"), "{remedy}");
    }
}
