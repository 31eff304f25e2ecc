//! What the store in memory says of itself.

use headwater_model::{Layout, Promise};

use crate::engine::{AsStore, Engine, Pattern};

pub const ENGINE: Engine = Engine {
    name: "memory",
    stands_for: "tests and demonstrations",
    schemes: &["memory"],
    feature: "memory",
    built_in: cfg!(feature = "memory"),
    page: "memory.md",
    source: None,
    store: Some(AsStore {
        promise: Promise::Transaction,
        except: None,
        layouts: &[Layout::Json],
        answers: Pattern::ALL,
    }),
};
