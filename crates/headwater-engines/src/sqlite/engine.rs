//! What SQLite says of itself.

use headwater_model::{Layout, Promise};

use crate::engine::{AsSource, AsStore, Engine, Pattern};

pub const ENGINE: Engine = Engine {
    name: "SQLite",
    stands_for: "the embedded source and store",
    schemes: &["sqlite"],
    feature: "sqlite",
    built_in: cfg!(feature = "sqlite"),
    page: "sqlite.md",
    source: Some(AsSource { follows: "triggers", answers: Pattern::ALL }),
    store: Some(AsStore {
        promise: Promise::Transaction,
        except: None,
        layouts: &[Layout::Json],
        answers: Pattern::ALL,
    }),
};
