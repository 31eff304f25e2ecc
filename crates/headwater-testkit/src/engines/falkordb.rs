//! FalkorDB: a Redis server with the graph module, both out of one package. `cargo xtask test` puts them into
//! `target/falkordb`, or says that it cannot.

use std::path::PathBuf;

use super::redis::{Redis, RedisBuilder};

/// Set where it cannot be had: its tests say that they were skipped.
const WITHOUT: &str = "HEADWATER_WITHOUT_FALKORDB";

/// Starts servers with the graph module; they are [`Redis`] in all else.
#[derive(Debug)]
pub struct FalkorDb;

impl FalkorDb {
    /// `None` where there is none, and the test has to be skipped.
    #[track_caller]
    pub fn builder() -> Option<RedisBuilder> {
        if std::env::var_os(WITHOUT).is_some() {
            eprintln!("skipped: {WITHOUT} is set");
            return None;
        }
        let home = home();
        let module = home.join("falkordb.so");
        let module = module.to_str().expect("a path that is text");
        Some(Redis::builder().program(home.join("redis-server")).arg("loadmodule", module))
    }

    #[track_caller]
    pub fn start() -> Option<Redis> {
        Some(FalkorDb::builder()?.start())
    }

    /// The URL of a graph on a server.
    pub fn url(server: &Redis, graph: &str) -> String {
        format!("{}/{graph}", server.url().replacen("redis://", "falkordb://", 1))
    }
}

/// Beside the program that runs: in the target folder.
#[track_caller]
fn home() -> PathBuf {
    let program = std::env::current_exe().expect("the path of the running test");
    let homes = program.ancestors().map(|folder| folder.join("falkordb"));
    let found = homes.into_iter().find(|home| home.join("falkordb.so").is_file());
    found.expect("FalkorDB is not installed: run `cargo xtask test`")
}
