//! Which keys of a store are in quarantine, for its applier: an entry goes when a newer version of its key is taken.
//!
//! Bounded as the quarantine is. While it is empty, which is nearly always, a change costs nothing here.

use std::collections::{HashMap, HashSet};

use headwater_model::{Refusal, ViewChange};

/// Keys as readers write them, by view.
#[derive(Default)]
pub(crate) struct RefusedKeys(HashMap<Box<str>, HashSet<String>>);

/// What a step of changes speaks of: a view, and one key of it or all.
pub(crate) type Spoken = (Box<str>, Option<String>);

impl RefusedKeys {
    pub fn new(known: impl IntoIterator<Item = (String, String)>) -> RefusedKeys {
        let mut keys = RefusedKeys::default();
        known.into_iter().for_each(|(view, key)| keys.insert(&view, key));
        keys
    }

    fn insert(&mut self, view: &str, key: String) {
        self.0.entry(view.into()).or_default().insert(key);
    }

    /// The refused keys that the changes speak of.
    pub fn spoken_of(&self, changes: &[ViewChange]) -> Vec<Spoken> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mut spoken = Vec::new();
        for change in changes {
            let Some(refused) = self.0.get(&change.view().name) else { continue };
            let (key, old) = match change {
                ViewChange::Clear { view } => {
                    spoken.push((view.name.clone(), None));
                    continue;
                }
                ViewChange::Delete { key, .. } => (key, None),
                ViewChange::Put { key, moved_from, .. } => (key, moved_from.as_ref()),
            };
            let keys = [Some(key), old].into_iter().flatten().map(headwater_model::Key::to_text);
            let keys = keys.filter(|key| refused.contains(key));
            spoken.extend(keys.map(|key| (change.view().name.clone(), Some(key))));
        }
        spoken
    }

    /// The step was written: what it spoke of is settled, but for what was refused again. Returns what is settled.
    pub fn written(&mut self, spoken: Vec<Spoken>, refusals: &[Refusal]) -> Vec<(Box<str>, String)> {
        let again = |view: &str, key: &str| {
            refusals.iter().any(|refusal| *refusal.view == *view && *refusal.key == *key)
        };
        let mut settled = Vec::new();
        for (view, key) in spoken {
            let Some(refused) = self.0.get_mut(&view) else { continue };
            match key {
                None => {
                    let gone: Vec<String> = refused.extract_if(|key| !again(&view, key)).collect();
                    settled.extend(gone.into_iter().map(|key| (view.clone(), key)));
                }
                Some(key) if !again(&view, &key) => {
                    refused.remove(&key);
                    settled.push((view.clone(), key));
                }
                Some(_) => {}
            }
            if self.0.get(&view).is_some_and(HashSet::is_empty) {
                self.0.remove(&view);
            }
        }
        refusals.iter().for_each(|refusal| self.insert(&refusal.view, refusal.key.clone()));
        settled
    }
}
