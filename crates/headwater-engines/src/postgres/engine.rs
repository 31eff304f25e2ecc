//! What PostgreSQL says of itself.

use headwater_model::{Layout, Promise};

use crate::engine::{AsSource, AsStore, Engine, Pattern};

pub const ENGINE: Engine = Engine {
    name: "PostgreSQL",
    stands_for: "RDS, Aurora PostgreSQL",
    schemes: &["postgres", "postgresql"],
    feature: "postgres",
    built_in: cfg!(feature = "postgres"),
    page: "postgresql.md",
    source: Some(AsSource { follows: "logical replication", answers: Pattern::ALL }),
    store: Some(AsStore {
        promise: Promise::Transaction,
        except: None,
        layouts: &[Layout::Hash, Layout::Json],
        answers: Pattern::ALL,
    }),
};
