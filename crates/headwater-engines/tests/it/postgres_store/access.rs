//! The way in.

use std::sync::Arc;

use headwater_engines::postgres::Store;
use headwater_model::Secret;
use headwater_model::file::StoreSection;
use headwater_testkit::Postgres;

use super::server;
use crate::store_tls;

fn open(server: &Postgres, host: &str, more: &str) -> Arc<Store> {
    let url = format!("postgres://keeper:pw@{host}:{}/postgres?{more}", server.port());
    let section = StoreSection {
        name: "reports".into(),
        url: Secret::new(url),
        settings: Default::default(),
        source: None,
    };
    Arc::new(Store::new(&section).unwrap())
}

#[tokio::test]
async fn certificates_are_checked() {
    let server = Postgres::builder().ssl().hba("hostssl all all 127.0.0.1/32 scram-sha-256").start();
    server.psql("CREATE ROLE keeper LOGIN PASSWORD 'pw'; CREATE SCHEMA headwater AUTHORIZATION keeper");
    let authority = server.ca().unwrap().display().to_string();
    store_tls::certificates_are_checked(&authority, |host, more| open(&server, host, more)).await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_it_is_asked_for() {
    let store = open(server(), "localhost", "sslmode=require");
    store_tls::a_server_without_tls_is_refused_where_it_is_asked_for(&*store).await;
}
