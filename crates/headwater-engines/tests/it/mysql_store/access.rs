//! The way in.

use headwater_testkit::Flavour;

use super::*;
use crate::store_tls;

of_both!(certificates_are_checked, a_server_without_tls_is_refused_where_it_is_asked_for);

fn open(server: &MariaDb, host: &str, more: &str) -> Arc<Store> {
    let url = format!("mysql://keeper:pw@{host}:{}/app?{more}", server.port());
    let section = StoreSection {
        name: "reports".into(),
        url: Secret::new(url),
        settings: Default::default(),
        source: None,
    };
    Arc::new(Store::new(&section).unwrap())
}

fn make_keeper(server: &MariaDb) {
    server.sql("CREATE USER keeper@'%' IDENTIFIED BY 'pw'; GRANT ALL ON app.* TO keeper@'%'");
}

async fn certificates_are_checked(flavour: Flavour) {
    let server = flavour.builder().tls_only().start();
    make_keeper(&server);
    let authority = server.ca().unwrap().display().to_string();
    store_tls::certificates_are_checked(&authority, |host, more| open(&server, host, more)).await;
}

async fn a_server_without_tls_is_refused_where_it_is_asked_for(flavour: Flavour) {
    // MySQL makes itself a certificate, unless it is told not to.
    let server = match flavour {
        Flavour::MariaDb => flavour.start(),
        Flavour::MySql => flavour.builder().arg("tls-version", "").start(),
    };
    make_keeper(&server);
    let store = open(&server, "localhost", "sslmode=require");
    store_tls::a_server_without_tls_is_refused_where_it_is_asked_for(&*store).await;
}
