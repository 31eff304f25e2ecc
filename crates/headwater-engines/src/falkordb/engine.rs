//! What FalkorDB says of itself.

use headwater_model::{Layout, Promise};

use crate::engine::{AsStore, Engine, Pattern};

pub const ENGINE: Engine = Engine {
    name: "FalkorDB",
    stands_for: "Neptune (openCypher)",
    schemes: &["falkordb", "falkordbs"],
    feature: "falkordb",
    built_in: cfg!(feature = "falkordb"),
    page: "falkordb.md",
    source: None,
    store: Some(AsStore {
        promise: Promise::Transaction,
        except: None,
        layouts: &[Layout::Json],
        answers: Pattern::ALL,
    }),
};
