//! The shape of a view's table: which fields its documents have had, and the column of each.
//!
//! A view of the layout `hash` has a typed column per field; one of the layout `json` has the column `document`. Both
//! have `headwater_key`, one or more columns of the place per index, and `headwater_rest` with the layout `hash`.

use headwater_model::{Error, Layout, Result, Stored, StoredBody, Value, View};

use super::rest;

pub(crate) const KEY: &str = "headwater_key";
pub(crate) const REST: &str = "headwater_rest";
pub(crate) const DOCUMENT: &str = "document";

/// What every table, column and name of Headwater's own begins with.
pub(crate) const OWN: &str = "headwater_";

/// The column that holds where documents stand in an index.
pub(crate) fn place_column(index: usize) -> String {
    format!("headwater_place_{index}")
}

/// The column beside the key: the whole document, or what no column holds.
pub(crate) fn own_column(layout: Layout) -> &'static str {
    match layout {
        Layout::Json => DOCUMENT,
        Layout::Hash => REST,
    }
}

pub(crate) fn layout_text(layout: Layout) -> &'static str {
    match layout {
        Layout::Hash => "hash",
        Layout::Json => "json",
    }
}

/// Refuses a view whose table was made for the other layout, which `headwater_view` has `written`.
pub(crate) fn refuse_other_layout(view: &View, written: &str) -> Result<()> {
    let wanted = layout_text(view.layout());
    if written == wanted {
        return Ok(());
    }
    Err(Error::misconfigured(format!(
        "the view \"{}\" lies in the store with the layout {written}, not {wanted}",
        view.name
    ))
    .with_remedy("give the view another name, or drop its table: then the store is filled anew"))
}

/// The type of a column, as an engine has it.
pub(crate) trait ColumnKind: Clone + Sized {
    /// A value on its way into the column.
    type Cell;

    /// As the store's own table remembers it.
    fn written(&self) -> String;

    fn read(written: &str) -> Option<Self>;

    /// What the column gets of a value that is not NULL, and whether it gives that value back to the letter. If it does not,
    /// the value lies in the rest as well.
    fn cell(&self, value: &Value) -> (Option<Self::Cell>, bool);

    /// What [`Value::to_text`] gives for the value that the server printed so; `None` if this is not of the type.
    fn text(&self, printed: Vec<u8>) -> Option<Vec<u8>>;
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape<K> {
    pub layout: Layout,
    /// In the order in which they were first met.
    pub fields: Vec<(Box<str>, K)>,
}

impl<K: ColumnKind> Shape<K> {
    /// Reads the columns `layout` and `fields` of `headwater_view`.
    pub fn read(layout: &str, fields: &str) -> Result<Shape<K>> {
        let broken = || Error::corrupt("what headwater_view says of a view cannot be read");
        let layout = match layout {
            "hash" => Layout::Hash,
            "json" => Layout::Json,
            _ => return Err(broken()),
        };
        let pairs: Vec<(String, String)> =
            serde_json::from_str(fields).map_err(|e| broken().with_cause(e))?;
        let fields = pairs
            .into_iter()
            .map(|(name, kind)| Some((name.into(), K::read(&kind)?)))
            .collect::<Option<_>>()
            .ok_or_else(broken)?;
        Ok(Shape { layout, fields })
    }

    /// The same, for the column `fields`.
    pub fn fields_text(&self) -> String {
        let pairs: Vec<(&str, String)> =
            self.fields.iter().map(|(name, kind)| (&**name, kind.written())).collect();
        serde_json::to_string(&pairs).unwrap_or_default()
    }

    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| **field == *name)
    }

    /// What is read of a document, as a list of columns of `v`.
    pub fn columns_sql(&self, quoted: impl Fn(&str) -> String) -> String {
        let mut sql = format!("v.{KEY}, v.{}", own_column(self.layout));
        for (name, _) in &self.fields {
            sql.push_str(", v.");
            sql.push_str(&quoted(name));
        }
        sql
    }

    /// The document in a row of [`Shape::columns_sql`].
    pub fn stored<C: Into<Vec<u8>>>(&self, view: &View, row: Vec<Option<C>>) -> Result<Stored> {
        let broken = |what: &str| {
            Error::corrupt(format!("a document of the view \"{}\" in the store {what}", view.name))
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| broken("is no text"));
        let mut cells = row.into_iter().map(|cell| cell.map(Into::into));
        let key = text(cells.next().flatten().ok_or_else(|| broken("has no key"))?)?;
        let own = cells.next().flatten().map(text).transpose()?;
        if self.layout == Layout::Json {
            let document = own.ok_or_else(|| broken("has no text"))?;
            return Ok(Stored { key, body: StoredBody::Json(document.into()) });
        }
        let mut fields = Vec::with_capacity(self.fields.len());
        if let Some(rest) = own {
            rest::read(&rest, &mut fields)?;
        }
        let aside = fields.len();
        for ((name, kind), cell) in self.fields.iter().zip(cells) {
            // What lies in the rest is exact; its column may have a number that is only equal.
            let Some(printed) = cell.filter(|_| !fields[..aside].iter().any(|(other, _)| **other == **name))
            else {
                continue;
            };
            let text = kind.text(printed).ok_or_else(|| broken("cannot be read"))?;
            fields.push((name.to_string(), text));
        }
        fields.sort_unstable();
        Ok(Stored { key, body: StoredBody::Fields(fields) })
    }
}
