//! Whether every access pattern could be answered now.

use super::{Inner, Pattern, Serving};

impl Serving {
    /// The access patterns that nobody could answer now, and why. Asks no engine, and takes no read's turn.
    pub fn unready(&self) -> Vec<(Box<str>, String)> {
        let patterns = self.patterns();
        patterns
            .filter_map(|pattern| Some((pattern.plan.access.name.clone(), self.inner.unready(pattern)?)))
            .collect()
    }
}

impl Inner {
    fn unready(&self, pattern: &Pattern) -> Option<String> {
        let mut reasons = Vec::new();
        for place in &pattern.stores {
            let store = &self.stores[*place];
            match self.store_unready(pattern, *place) {
                None => return None,
                Some(why) => reasons.push(format!("{} {why}", store.name)),
            }
        }
        if pattern.plan.access.source {
            match self.source_unready() {
                None => return None,
                Some(why) => reasons.push(format!("source {why}")),
            }
        }
        Some(if reasons.is_empty() { "no store holds it".to_owned() } else { reasons.join("; ") })
    }

    fn source_unready(&self) -> Option<&'static str> {
        // Before it is followed it may lack what Headwater keeps in it, and answer nothing.
        if self.handle.epoch().is_none() {
            return Some("is not followed yet");
        }
        self.source_breaker.is_open().then_some("failed just now")
    }

    fn store_unready(&self, pattern: &Pattern, place: usize) -> Option<String> {
        let store = &self.stores[place];
        let progress = store.progress.borrow();
        if let Some(view) = pattern.plan.read.views().iter().find(|view| !progress.ready.contains(&view.name))
        {
            return Some(format!("has not filled view `{}` yet", view.name));
        }
        let stale = progress.stale(pattern.plan.read.views());
        let age = self.handle.distance_of(progress.offset, stale).age;
        if pattern.plan.access.stale.is_some_and(|most| age > most) {
            return Some(format!("is {} ms old", age.as_millis()));
        }
        store.breaker.is_open().then(|| "failed just now".to_owned())
    }
}
