//! What views hold, by code that shares nothing with what derives them.

use std::collections::BTreeMap;

use headwater_model::{
    Aggregate, Embed, EmbedKind, Key, Layout, Order, Ranking, Row, TableName, Value, View, ViewKind,
};

use super::{Documents, State};

/// The views of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All of `items`, in fields.
    Flat,
    /// All of `items`, as JSON.
    Text,
    /// The items whose `a` is greater than 2.
    Some,
    /// `items`, each with the two parts of it that have the greatest `n`.
    Nested,
    /// The sum of `n` by item.
    Ranked,
}

impl Shape {
    pub const ALL: [Shape; 5] = [Shape::Flat, Shape::Text, Shape::Some, Shape::Nested, Shape::Ranked];

    pub fn name(self) -> &'static str {
        match self {
            Shape::Flat => "flat",
            Shape::Text => "text",
            Shape::Some => "some",
            Shape::Nested => "nested",
            Shape::Ranked => "ranked",
        }
    }

    pub fn view(self, stores: &[&str]) -> View {
        let table = |name| TableName::new(Some("public"), name);
        let mut view = View {
            name: self.name().into(),
            from: table("items"),
            columns: None,
            filter: None,
            embeds: Vec::new(),
            stores: stores.iter().map(|store| (*store).into()).collect(),
            parts: Vec::new(),
            layout: None,
            kind: ViewKind::Document,
            indexes: Vec::new(),
        };
        match self {
            Shape::Flat => {}
            Shape::Text => view.layout = Some(Layout::Json),
            Shape::Some => view.filter = Some("a > 2".into()),
            Shape::Nested => view.embeds.push(Embed {
                field: "parts".into(),
                from: table("parts"),
                kind: EmbedKind::Many { columns: vec!["item".into()], references: None },
                columns: Some(vec![("id".into(), "id".into()), ("n".into(), "n".into())]),
                filter: None,
                order: vec![Order { column: "n".into(), descending: true }],
                limit: Some(2),
                embeds: Vec::new(),
            }),
            Shape::Ranked => {
                view.from = table("parts");
                view.kind = ViewKind::Ranking(Ranking {
                    by: vec!["item".into()],
                    within: Vec::new(),
                    function: Aggregate::Sum,
                    column: Some("n".into()),
                });
            }
        }
        view
    }

    /// What the view holds of a state of the source. Columns that came later are named as they come.
    pub fn expected(self, state: &State) -> Documents {
        let items = &state["items"];
        let parts = &state["parts"];
        let text = |key: i64| Key(vec![Value::Int(key)]).to_text();
        match self {
            Shape::Flat | Shape::Text => items.iter().map(|(key, row)| (text(*key), item(row))).collect(),
            Shape::Some => items
                .iter()
                .filter(|(_, row)| matches!(row.0[2], Value::Int(a) if a > 2))
                .map(|(key, row)| (text(*key), item(row)))
                .collect(),
            Shape::Nested => items
                .iter()
                .map(|(key, row)| {
                    let mut own: Vec<(i64, i64)> = parts
                        .iter()
                        .filter(|(_, part)| part.0[2] == Value::Int(*key))
                        .map(|(id, part)| (int(&part.0[3]), *id))
                        .collect();
                    own.sort_by_key(|(n, id)| (-n, *id));
                    let own: Vec<String> =
                        own.iter().take(2).map(|(n, id)| format!("{{\"id\":{id},\"n\":{n}}}")).collect();
                    let mut document = item(row);
                    document.insert("parts".into(), format!("[{}]", own.join(",")));
                    (text(*key), document)
                })
                .collect(),
            Shape::Ranked => {
                let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
                for part in parts.values() {
                    *sums.entry(int(&part.0[2])).or_default() += int(&part.0[3]);
                }
                let document = |item: i64, sum: i64| {
                    BTreeMap::from([("item".into(), item.to_string()), ("score".into(), sum.to_string())])
                };
                sums.into_iter().map(|(item, sum)| (text(item), document(item, sum))).collect()
            }
        }
    }
}

fn int(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        other => panic!("a number is {other:?}"),
    }
}

fn item(row: &Row) -> BTreeMap<Box<str>, String> {
    let name = |place: usize| match place {
        0 => "id".into(),
        1 => "v".into(),
        2 => "a".into(),
        3 => "wide".into(),
        // The first column that comes makes version 2.
        later => format!("c{}", later - 2).into_boxed_str(),
    };
    let text = |value: &Value| match value {
        Value::Null => "null".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => format!("\"{text}\""),
        other => panic!("an item has {other:?}"),
    };
    row.0.iter().enumerate().map(|(place, value)| (name(place), text(value))).collect()
}
