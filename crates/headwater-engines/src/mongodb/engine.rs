//! What MongoDB says of itself.

use headwater_model::{Layout, Promise};

use crate::engine::{AsStore, Engine, Pattern};

pub const ENGINE: Engine = Engine {
    name: "MongoDB",
    stands_for: "DocumentDB",
    schemes: &["mongodb", "mongodb+srv"],
    feature: "mongodb",
    built_in: cfg!(feature = "mongodb"),
    page: "mongodb.md",
    source: None,
    store: Some(AsStore {
        promise: Promise::Key,
        except: None,
        layouts: &[Layout::Hash, Layout::Json],
        answers: Pattern::ALL,
    }),
};
