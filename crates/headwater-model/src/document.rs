//! A document: named values in a fixed order. Names are shared, so a million documents hold one copy.

use std::sync::Arc;

use crate::Value;
use crate::value::write_json_string;

/// Field names shared by every document of a view.
pub type Names = Arc<[Box<str>]>;

/// Named values. `names` and `values` have the same length.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub names: Names,
    pub values: Vec<Value>,
}

impl Record {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.names.iter().position(|n| &**n == name).map(|i| &self.values[i])
    }

    pub fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.names.iter().map(|name| &**name).zip(&self.values)
    }

    /// Whether some field keeps the value that the store already holds.
    pub fn is_partial(&self) -> bool {
        self.values.iter().any(Value::is_unchanged)
    }

    /// Appends a JSON object in field order. Fields that are `Unchanged` are left out.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut first = true;
        for (name, value) in self.fields() {
            if value.is_unchanged() {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            write_json_string(name, out);
            out.push(b':');
            value.write_json(out);
        }
        out.push(b'}');
    }

    pub fn to_json(&self) -> String {
        let mut out = Vec::with_capacity(self.values.len() * 24);
        self.write_json(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}
