//! How far a lane is ahead of the store it belongs to.
//!
//! A step is atomic in each lane, not over all of them: a crash may leave some lanes behind the others, and so may a node that
//! failed over and lost its newest writes. The store is where its last lane is, and everything from there on is written once
//! more. A lane that is ahead must not take part in that until the store has come to where it is: its documents would go back.
//! A view that is cleared meanwhile begins anew where the store is, so this is kept per view.

use std::collections::BTreeMap;

use headwater_model::{Error, Offset, Result, ViewId};
use serde_json::{Value, json};

/// Of one lane. A view is at the offset that is given for it, or else at that for all, if that is behind the store's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ahead {
    all: Offset,
    /// Views that were cleared since, never further than `all`.
    views: BTreeMap<ViewId, Offset>,
}

impl Ahead {
    /// Where a view of the lane is, if that is behind where the store is.
    pub(super) fn of(&self, view: &str) -> Offset {
        self.views.get(view).copied().unwrap_or(self.all)
    }

    pub(super) fn is_none(&self) -> bool {
        self.all == Offset::ZERO
    }

    /// The store goes back from `at`, where the lane was.
    pub(super) fn left_at(&mut self, at: Offset) {
        self.all = self.all.max(at);
        self.views.values_mut().for_each(|view| *view = (*view).max(at));
    }

    /// A view has nothing in the lane that is ahead.
    pub(super) fn cleared(&mut self, view: &ViewId) {
        if !self.is_none() {
            self.views.insert(view.clone(), Offset::ZERO);
        }
    }

    /// The store has come to `at`.
    pub(super) fn reached(&mut self, at: Offset) {
        if self.all <= at {
            *self = Ahead::default();
        }
    }

    /// Empty if the lane is not ahead.
    pub(super) fn to_text(&self) -> String {
        if self.is_none() {
            return String::new();
        }
        let views: BTreeMap<&str, u64> = self.views.iter().map(|(view, at)| (&**view, at.0)).collect();
        json!({ "all": self.all.0, "views": views }).to_string()
    }

    pub(super) fn read(text: &str) -> Result<Ahead> {
        if text.is_empty() {
            return Ok(Ahead::default());
        }
        let parse = || {
            let found: Value = serde_json::from_str(text).ok()?;
            let views = found.get("views")?.as_object()?.iter();
            Some(Ahead {
                all: Offset(found.get("all")?.as_u64()?),
                views: views
                    .map(|(view, at)| Some((view.as_str().into(), Offset(at.as_u64()?))))
                    .collect::<Option<_>>()?,
            })
        };
        parse().ok_or_else(|| Error::corrupt(format!("the store's own state has {text:?} as its ahead")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_lane_is_ahead_until_the_store_has_come_there_but_for_views_that_were_cleared() {
        let mut ahead = Ahead::default();
        ahead.cleared(&"book".into());
        assert!(ahead.is_none() && ahead.to_text().is_empty());
        ahead.left_at(Offset(12));
        ahead.cleared(&"book".into());
        assert_eq!((ahead.of("book"), ahead.of("page")), (Offset(0), Offset(12)));
        assert_eq!(Ahead::read(&ahead.to_text()).unwrap(), ahead);
        // Back once more, from 10.
        ahead.left_at(Offset(10));
        assert_eq!((ahead.of("book"), ahead.of("page")), (Offset(10), Offset(12)));
        ahead.reached(Offset(11));
        assert_eq!(ahead.of("page"), Offset(12));
        ahead.reached(Offset(12));
        assert_eq!(ahead, Ahead::read("").unwrap());
        for broken in ["x", "{}", r#"{"all":-1,"views":{}}"#, r#"{"all":1,"views":{"a":"b"}}"#] {
            assert!(Ahead::read(broken).is_err(), "{broken}");
        }
    }
}
