//! What Redis says of itself.

use headwater_model::{Layout, Promise};

use crate::engine::{AsStore, Engine, Pattern};

pub const ENGINE: Engine = Engine {
    name: "Redis, Valkey",
    stands_for: "ElastiCache, MemoryDB",
    schemes: &["redis", "rediss", "redis+unix", "valkey", "valkeys"],
    feature: "redis",
    built_in: cfg!(feature = "redis"),
    page: "redis.md",
    source: None,
    store: Some(AsStore {
        promise: Promise::Transaction,
        except: Some("`key` in a cluster without a hash tag"),
        layouts: &[Layout::Hash, Layout::Json],
        answers: Pattern::ALL,
    }),
};
