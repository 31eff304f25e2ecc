//! Keys that surely have no document, so that theirs can be inserted: that costs the server much less than an update that first
//! looks for one.
//!
//! A view is emptied before it is filled, and what is found then or put since is remembered in a [`Filter`]. Nothing depends on
//! it: an insert that meets a document fails, and is written again as an update.

use std::sync::{Mutex, PoisonError};

use headwater_model::ViewId;

use crate::filter::{Filter, VIEWS_MAX};

/// Of those views that were written to last.
#[derive(Default)]
pub(super) struct Fresh(Mutex<Vec<(ViewId, Filter)>>);

impl Fresh {
    /// The view was emptied: only keys in `there` may have something.
    pub(super) fn begin(&self, view: &ViewId, there: Filter) {
        self.with(|views| {
            views.retain(|(name, _)| name != view);
            views.push((view.clone(), there));
            let too_many = views.len().saturating_sub(VIEWS_MAX);
            views.drain(..too_many);
        });
    }

    /// Takes those rows out whose keys surely have nothing. From now on they may.
    pub(super) fn take<R>(&self, view: &ViewId, rows: &mut Vec<(String, R)>) -> Vec<(String, R)> {
        self.with(|views| {
            let Some(at) = views.iter().position(|(name, _)| name == view) else { return Vec::new() };
            views[at..].rotate_left(1);
            let Some((_, filter)) = views.last_mut() else { return Vec::new() };
            let new: Vec<_> = rows.extract_if(.., |(key, _)| !filter.may_have(key.as_str())).collect();
            for (key, _) in &new {
                filter.add(key.as_str());
            }
            new
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Vec<(ViewId, Filter)>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(fresh: &Fresh, view: &str, keys: &[&str]) -> Vec<String> {
        let mut rows = keys.iter().map(|key| ((*key).to_owned(), ())).collect();
        let new = fresh.take(&view.into(), &mut rows);
        assert_eq!(new.len() + rows.len(), keys.len());
        new.into_iter().map(|(key, ())| key).collect()
    }

    #[test]
    fn a_key_is_new_once_and_only_after_its_view_was_emptied() {
        let fresh = Fresh::default();
        assert!(new(&fresh, "book", &["1"]).is_empty());
        let mut there = Filter::default();
        there.add("3");
        fresh.begin(&"book".into(), there);
        assert_eq!(new(&fresh, "book", &["1", "2", "3"]), ["1", "2"]);
        assert_eq!(new(&fresh, "book", &["1", "2", "3", "4"]), ["4"]);
        assert!(new(&fresh, "shelf", &["1"]).is_empty());
        fresh.begin(&"book".into(), Filter::default());
        assert_eq!(new(&fresh, "book", &["3"]), ["3"]);
    }

    #[test]
    fn the_views_that_were_written_to_last_are_remembered() {
        let fresh = Fresh::default();
        let view = |number: usize| format!("v{number}");
        for number in 0..VIEWS_MAX {
            fresh.begin(&view(number).into(), Filter::default());
        }
        assert_eq!(new(&fresh, &view(0), &["1"]), ["1"]);
        fresh.begin(&"one more".into(), Filter::default());
        assert!(new(&fresh, &view(1), &["1"]).is_empty(), "longest not written to");
        for view in [view(0), view(2), view(3), "one more".into()] {
            assert_eq!(new(&fresh, &view, &["2"]), ["2"], "{view}");
        }
    }
}
