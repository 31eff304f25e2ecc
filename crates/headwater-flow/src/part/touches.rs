//! Which keys the log changed lately: whether a document that was read at an offset is still the one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use headwater_model::Offset;

/// Changes that are remembered. A document must have come in before so many others changed.
const TOUCHES_MAX: usize = 50_000;

/// Newest changes by key. Offsets are those at which the step ended that brought the change: never less than its own.
#[derive(Default)]
pub(super) struct Touches {
    newest: HashMap<Arc<str>, Offset>,
    order: VecDeque<(Offset, Arc<str>)>,
    /// Every change behind this is remembered, and nothing is known of those up to it.
    floor: Offset,
    /// Of the step under way.
    open: Vec<Arc<str>>,
    /// The step under way changes more than can be remembered, or everything.
    all: bool,
}

impl Touches {
    /// Everything is known from here on.
    pub fn begin(&mut self, floor: Offset) {
        *self = Touches { floor, ..Touches::default() };
    }

    pub fn touch(&mut self, key: &str) {
        if self.open.len() == TOUCHES_MAX {
            self.touch_all();
        }
        if !self.all {
            self.open.push(key.into());
        }
    }

    pub fn touch_all(&mut self) {
        self.all = true;
        self.open = Vec::new();
    }

    /// The step under way ends at `at`, or within the entry that does.
    pub fn close(&mut self, at: Offset) {
        if std::mem::take(&mut self.all) {
            return self.begin(at);
        }
        for key in self.open.drain(..) {
            self.newest.insert(Arc::clone(&key), at);
            self.order.push_back((at, key));
        }
        while self.order.len() > TOUCHES_MAX {
            let Some((at, key)) = self.order.pop_front() else { break };
            self.floor = self.floor.max(at);
            if self.newest.get(&key) == Some(&at) {
                self.newest.remove(&key);
            }
        }
    }

    /// Whether what was read of the key at `from` is what is there now. No if that is not known any more.
    pub fn is_untouched(&self, key: &str, from: Offset) -> bool {
        from >= self.floor && self.newest.get(key).is_none_or(|at| *at <= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_before_a_change_is_told_from_one_after_it() {
        let mut touches = Touches::default();
        touches.begin(Offset(10));
        assert!(touches.is_untouched("a", Offset(10)));
        assert!(!touches.is_untouched("a", Offset(9)), "nothing is known of what came before");
        touches.touch("a");
        touches.close(Offset(12));
        assert!(!touches.is_untouched("a", Offset(11)));
        assert!(touches.is_untouched("a", Offset(12)));
        assert!(touches.is_untouched("b", Offset(10)));
        touches.touch_all();
        touches.touch("c");
        touches.close(Offset(20));
        assert!(!touches.is_untouched("b", Offset(19)));
        assert!(touches.is_untouched("b", Offset(20)));
    }

    #[test]
    fn what_is_forgotten_counts_as_changed() {
        let mut touches = Touches::default();
        touches.begin(Offset(0));
        let last = TOUCHES_MAX as u64 + 10;
        for n in 1..=last {
            touches.touch(&n.to_string());
            touches.close(Offset(n));
        }
        assert_eq!(touches.order.len(), TOUCHES_MAX);
        assert_eq!(touches.newest.len(), TOUCHES_MAX);
        assert!(!touches.is_untouched("never", Offset(9)));
        assert!(touches.is_untouched("never", Offset(10)));
        for n in 0..=TOUCHES_MAX {
            touches.touch(&n.to_string());
        }
        touches.close(Offset(last + 1));
        assert!(!touches.is_untouched("never", Offset(last)), "a step of more than can be remembered");
        assert!(touches.is_untouched("never", Offset(last + 1)));
    }
}
