//! Where in the text each part of a file stands, kept beside the data so that later findings can point at it.

use std::collections::BTreeMap;
use std::ops::Range;

/// Byte ranges by dotted path: `source.url`, `stores.near`, `views.book.embed.author.key`.
#[derive(Clone, Debug, Default)]
pub struct Places(BTreeMap<Box<str>, Place>);

/// Where one key and its value stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub key: Range<usize>,
    pub value: Range<usize>,
    /// What may be shown instead of the value when it is secret.
    pub shown: Option<Box<str>>,
}

impl Places {
    pub(super) fn put(&mut self, path: &str, key: Range<usize>, value: Range<usize>) {
        self.0.insert(path.into(), Place { key, value, shown: None });
    }

    pub(super) fn show_as(&mut self, path: &str, shown: &str) {
        if let Some(place) = self.0.get_mut(path) {
            place.shown = Some(shown.into());
        }
    }

    pub fn get(&self, path: &str) -> Option<&Place> {
        self.0.get(path)
    }

    /// The place of `path`, or of the nearest part around it that the file names.
    pub fn nearest(&self, path: &str) -> Option<&Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place);
            }
            path = &path[..path.rfind('.')?];
        }
    }
}
