//! What DynamoDB says of itself.

use headwater_model::{Layout, Promise};

use crate::engine::{AsSource, AsStore, Engine, Pattern};

pub const ENGINE: Engine = Engine {
    name: "Amazon DynamoDB",
    stands_for: "DynamoDB",
    schemes: &["dynamodb"],
    feature: "dynamodb",
    built_in: cfg!(feature = "dynamodb"),
    page: "dynamodb.md",
    source: Some(AsSource { follows: "Streams, per key", answers: &[] }),
    store: Some(AsStore {
        promise: Promise::Key,
        except: None,
        layouts: &[Layout::Hash, Layout::Json],
        answers: Pattern::ALL,
    }),
};
