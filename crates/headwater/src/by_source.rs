//! The same of each source, as JSON: where the file's one source has no name, just that; otherwise
//! `{"sources": {"NAME": …}}`, in the order of the file.

use serde::ser::{Serialize, SerializeMap, Serializer};

pub struct BySource<T>(Vec<(Option<Box<str>>, T)>);

impl<T> Default for BySource<T> {
    fn default() -> BySource<T> {
        BySource(Vec::new())
    }
}

impl<T> BySource<T> {
    pub fn add(&mut self, source: Option<&str>, what: T) {
        self.0.push((source.map(Into::into), what));
    }

    pub fn iter(&self) -> impl Iterator<Item = (Option<&str>, &T)> {
        self.0.iter().map(|(source, what)| (source.as_deref(), what))
    }
}

impl<T: Serialize> Serialize for BySource<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if let [(None, only)] = &self.0[..] {
            return only.serialize(to);
        }
        let mut outer = to.serialize_map(Some(1))?;
        outer.serialize_entry("sources", &Named(&self.0))?;
        outer.end()
    }
}

struct Named<'s, T>(&'s [(Option<Box<str>>, T)]);

impl<T: Serialize> Serialize for Named<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(source, what)| (source.as_deref().unwrap_or_default(), what)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_source_without_a_name_is_not_wrapped() {
        let mut one = BySource::default();
        one.add(None, 1);
        assert_eq!(serde_json::to_string(&one).unwrap(), "1");
        let mut several = BySource::default();
        several.add(Some("shop"), 1);
        several.add(Some("ledger"), 2);
        assert_eq!(serde_json::to_string(&several).unwrap(), r#"{"sources":{"shop":1,"ledger":2}}"#);
    }
}
