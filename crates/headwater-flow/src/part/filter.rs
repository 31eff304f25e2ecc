//! The `where` of a part: which documents it holds at all.

use headwater_model::filter::{BoundFilter, Filter, Verdict};
use headwater_model::{
    Column, ColumnType, Error, Param, ParamRole, Record, Result, Table, TableName, Value, View,
};

/// A filter over a document's fields, with their kinds known.
pub(crate) struct PartFilter {
    filter: BoundFilter,
    /// The fields that it names, in the order in which it takes them.
    fields: Vec<Param>,
}

impl PartFilter {
    /// `table` is the view's own.
    pub fn new(view: &View, text: &str, table: &Table) -> Result<PartFilter> {
        let wrong = |why: String| Error::misconfigured(format!("part of view \"{}\": {why}", view.name));
        let filter = Filter::parse(text).map_err(|error| wrong(error.to_string()))?;
        let columns: Vec<Column> = match &view.columns {
            None => table.columns.clone(),
            Some(chosen) => {
                let field = |(column, field): &(Box<str>, Box<str>)| {
                    let found = table.columns.iter().find(|known| known.name == *column)?;
                    Some(Column { name: field.clone(), kind: found.kind.clone() })
                };
                chosen.iter().filter_map(field).collect()
            }
        };
        let mut named: Vec<Column> = Vec::new();
        for name in filter.columns() {
            let Some(place) = name.find(columns.iter().map(|column| &*column.name)) else {
                return Err(wrong(format!("its documents have no field \"{}\"", name.name))
                    .with_remedy("name a field of the document that is a column of the view's own table"));
            };
            if !named.contains(&columns[place]) {
                named.push(columns[place].clone());
            }
        }
        let fields = named.iter().map(|column| Param {
            name: column.name.clone(),
            role: ParamRole::Key,
            kind: column.kind.clone(),
            type_name: "".into(),
            required: true,
        });
        let fields = fields.collect();
        let document = Table {
            id: 0,
            version: 0,
            name: TableName::new(None, &view.name),
            columns: named,
            key: Vec::new(),
        };
        Ok(PartFilter { filter: filter.bind(&document)?, fields })
    }

    /// Whether the part holds such a document. One of which that is not known is not held.
    pub fn takes(&self, document: &Record) -> bool {
        let mut values = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            match document.get(&field.name).and_then(|value| typed(field, value)) {
                Some(value) => values.push(value),
                None => return false,
            }
        }
        self.filter.accepts_values(&values) == Verdict::Accepted
    }
}

/// A value of a document that a store gave ([`super::document`]) has no kind yet.
fn typed(field: &Param, value: &Value) -> Option<Value> {
    match (&field.kind, value) {
        (_, Value::Null | Value::Unchanged) | (ColumnType::Json | ColumnType::List(_), _) => {
            Some(value.clone())
        }
        // A number as JSON has it, or a text.
        (ColumnType::Dynamic, Value::Json(number)) => match number.parse() {
            Ok(whole) => Some(Value::Int(whole)),
            Err(_) => number.parse().ok().map(Value::Float),
        },
        (ColumnType::Dynamic | ColumnType::Text, _) => Some(value.clone()),
        (_, Value::Json(text) | Value::Text(text)) => field.parse(text).ok(),
        _ => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_model::ViewKind;

    use super::*;

    #[test]
    fn documents_are_judged_alike_whether_they_come_from_the_log_or_from_a_store() {
        let column = |name: &str, kind: ColumnType| Column { name: name.into(), kind };
        let table = Table {
            id: 1,
            version: 0,
            name: TableName::new(None, "books"),
            columns: vec![
                column("cost", ColumnType::Decimal),
                column("born", ColumnType::Date),
                column("kind", ColumnType::Text),
                column("sold", ColumnType::Bool),
                column("loose", ColumnType::Dynamic),
            ],
            key: vec![0],
        };
        let pair = |column: &str, field: &str| (column.into(), field.into());
        let view = View {
            name: "book".into(),
            from: table.name.clone(),
            kind: ViewKind::Document,
            columns: Some(vec![
                pair("cost", "price"),
                pair("born", "born"),
                pair("kind", "kind"),
                pair("sold", "sold"),
                pair("loose", "loose"),
            ]),
            filter: None,
            embeds: Vec::new(),
            stores: Vec::new(),
            parts: Vec::new(),
            layout: None,
            indexes: Vec::new(),
        };
        let text = "price > 9.5 AND born >= DATE '2000-01-01' AND kind = '7' AND sold AND loose < 10";
        let filter = PartFilter::new(&view, text, &table).unwrap();
        let names: headwater_model::Names =
            ["price", "born", "kind", "sold", "loose"].map(Box::from).to_vec().into();
        let takes =
            |values: [Value; 5]| filter.takes(&Record { names: names.clone(), values: values.to_vec() });
        let json = |text: &str| Value::Json(text.into());
        let of_log = |price: &str| {
            let price = Value::Decimal(price.into());
            [price, Value::Date(10_957), Value::text("7"), Value::Bool(true), Value::Int(9)]
        };
        let of_store =
            |price: &str| [json(price), Value::text("2000-01-01"), Value::text("7"), json("true"), json("9")];
        for (price, taken) in [("10.00", true), ("9.50", false), ("100", true)] {
            assert_eq!((takes(of_log(price)), takes(of_store(price))), (taken, taken), "{price}");
        }
        assert!(!takes([
            Value::Null,
            Value::Date(10_957),
            Value::text("7"),
            Value::Bool(true),
            Value::Int(9)
        ]));
        assert!(!takes([json("10"), Value::text("1999-12-31"), Value::text("7"), json("true"), json("9")]));
        let Err(error) = PartFilter::new(&view, "cost > 1", &table) else { panic!("no such field") };
        assert!(error.to_string().contains("cost"), "{error}");
    }
}
