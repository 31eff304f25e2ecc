//! What Neptune says of itself.

use headwater_model::{Layout, Promise};

use crate::engine::{AsStore, Engine, Pattern};

pub const ENGINE: Engine = Engine {
    name: "Amazon Neptune",
    stands_for: "Neptune (openCypher)",
    schemes: &["neptune"],
    feature: "neptune",
    built_in: cfg!(feature = "neptune"),
    page: "neptune.md",
    source: None,
    store: Some(AsStore {
        promise: Promise::Transaction,
        except: None,
        layouts: &[Layout::Json],
        answers: Pattern::ALL,
    }),
};
