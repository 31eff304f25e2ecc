//! Where documents should stand in the indexes of their view, against where they do.
//!
//! Owns: what is asked of a store, and what its answer means. What should be is made from the same documents that are compared, at
//! the same offset. What lies in an index and no page has spoken of is looked at as extra documents are: by the key that it leads to,
//! from the source up.

use std::collections::BTreeMap;

use headwater_model::{Astray, IndexEntry, Listed, Offset, Standing, View};

use super::compare::cut;
use super::page::{Entry, Should};
use super::report::{DriftKind, Drifted, FieldDifference};

/// What lies in indexes and perhaps should not, by [`headwater_model::Key::to_text`].
pub(super) type Strays = BTreeMap<Box<str>, Vec<IndexEntry>>;

/// What a store said of some documents.
pub(super) struct Stood {
    pub at: Offset,
    /// Which of the page's entries the first is about.
    pub from: usize,
    pub asked: Vec<Standing>,
    pub told: Vec<Astray>,
}

pub(super) enum Stands {
    Right,
    /// It should stand elsewhere than where it was looked for.
    Unknown,
    Astray(Vec<FieldDifference>),
}

/// Where a document should stand, as of its page's offset.
pub(super) fn of(view: &View, entry: &Entry, strays: &Strays) -> Standing {
    let should = match &entry.should {
        Should::Be(document) => view.entries(&entry.key, document),
        Should::NotBe | Should::Unknown => Vec::new(),
    };
    let found = strays.get(&entry.text).into_iter().flatten();
    let should_not = found.filter(|stray| !should.contains(stray)).cloned().collect();
    Standing { key: entry.text.clone(), should, should_not }
}

/// An entry that leads to no key of a document.
pub(super) fn nobodys(view: &View, stray: &Listed) -> Drifted {
    let (key, field, found) = match stray {
        Listed::Entry(entry) => {
            let (field, place) = name(view, entry);
            (entry.key.to_string(), field, place)
        }
        Listed::Foreign(bytes) => {
            let found = String::from_utf8_lossy(bytes).escape_debug().to_string();
            ("(no key)".to_owned(), "(index)".to_owned(), found)
        }
    };
    let fields = vec![FieldDifference { field: cut(&field), expected: None, found: Some(cut(&found)) }];
    Drifted { key, kind: DriftKind::Misplaced, fields, quarantined: false }
}

/// The index of an entry, and its place there.
fn name(view: &View, entry: &IndexEntry) -> (String, String) {
    match view.indexes.get(usize::from(entry.index)) {
        Some(index) => (format!("(index {})", index.describe()), index.tell(&entry.place)),
        None => ("(index)".to_owned(), "of an index that the view does not have".to_owned()),
    }
}

impl Stood {
    /// What is told of a document, which is as of now the `number`-th that was asked for.
    pub fn tell(&self, view: &View, entry: &Entry, number: usize, strays: &Strays) -> Stands {
        let (Some(asked), Some(astray)) = (self.asked.get(number), self.told.get(number)) else {
            return Stands::Unknown;
        };
        if entry.should == Should::Unknown || of(view, entry, strays) != *asked {
            return Stands::Unknown;
        }
        if *astray == Astray::default() {
            return Stands::Right;
        }
        let mut fields = Vec::new();
        for entry in astray.lacks.iter().filter_map(|lack| asked.should.get(*lack)) {
            let (field, place) = name(view, entry);
            fields.push(FieldDifference { field: cut(&field), expected: Some(cut(&place)), found: None });
        }
        for entry in astray.strays.iter().filter_map(|stray| asked.should_not.get(*stray)) {
            let (field, place) = name(view, entry);
            fields.push(FieldDifference { field: cut(&field), expected: None, found: Some(cut(&place)) });
        }
        if astray.misremembers {
            fields.push(FieldDifference {
                field: "(indexes)".to_owned(),
                expected: Some("remembered with the document".to_owned()),
                found: Some("remembered otherwise".to_owned()),
            });
        }
        Stands::Astray(fields)
    }
}
