//! What MariaDB and MySQL say of themselves.

use crate::engine::{AsSource, Engine, Pattern};

pub const ENGINE: Engine = Engine {
    name: "MariaDB, MySQL",
    stands_for: "RDS, Aurora MySQL",
    schemes: &["mysql", "mariadb"],
    feature: "mysql",
    built_in: cfg!(feature = "mysql"),
    page: "mysql.md",
    source: Some(AsSource { follows: "row-based binary log", answers: Pattern::ALL }),
    store: None,
};
