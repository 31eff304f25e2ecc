//! MariaDB and MySQL as a store, with a user that may do what it needs in its database and nothing else: the contract first, then what only
//! this engine can do wrong.

mod access;
mod contract;
mod places;
mod tables;
mod takeover;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use headwater_engines::mysql::Store;
use headwater_model::file::StoreSection;
use headwater_model::{Secret, View};
use headwater_testkit::{Flavour, MariaDb};

use crate::store_promises::view;

/// One server of each for all of them. It ends with the process.
pub fn server(flavour: Flavour) -> &'static MariaDb {
    static MARIADB: OnceLock<MariaDb> = OnceLock::new();
    static MYSQL: OnceLock<MariaDb> = OnceLock::new();
    let server = match flavour {
        Flavour::MariaDb => &MARIADB,
        Flavour::MySql => &MYSQL,
    };
    server.get_or_init(|| {
        let server = flavour.start();
        server.sql("CREATE USER keeper@'%'");
        server
    })
}

/// A database that no other test uses, with what the documentation grants.
fn database(flavour: Flavour) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("models{}", COUNT.fetch_add(1, Ordering::SeqCst));
    make(flavour, &name);
    name
}

fn make(flavour: Flavour, name: &str) {
    server(flavour).sql(&format!(
        "CREATE DATABASE {name} CHARACTER SET utf8mb4;
         GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER ON {name}.* TO keeper@'%'"
    ));
}

fn section(flavour: Flavour, database: &str) -> StoreSection {
    StoreSection {
        name: "reports".into(),
        url: Secret::new(server(flavour).url_of(database).replace("root@", "keeper@")),
        settings: Default::default(),
        source: None,
    }
}

fn store(flavour: Flavour, database: &str) -> Arc<Store> {
    Arc::new(Store::new(&section(flavour, database)).unwrap())
}

fn flat(name: &str) -> Arc<View> {
    Arc::new(View { layout: Some(headwater_model::Layout::Hash), ..(*view(name)).clone() })
}
