//! What MariaDB and MySQL say of themselves.

use headwater_model::{Layout, Promise};

use crate::engine::{AsSource, AsStore, Engine, Pattern};

pub const ENGINE: Engine = Engine {
    name: "MariaDB, MySQL",
    stands_for: "RDS, Aurora MySQL",
    schemes: &["mysql", "mariadb"],
    feature: "mysql",
    built_in: cfg!(feature = "mysql"),
    page: "mysql.md",
    source: Some(AsSource { follows: "row-based binary log", answers: Pattern::ALL }),
    store: Some(AsStore {
        promise: Promise::Transaction,
        except: None,
        layouts: &[Layout::Hash, Layout::Json],
        answers: Pattern::ALL,
    }),
};
