//! What a store whose URL has `sslmode` does with its server's certificate. `open` is given a host and parameters of the URL; the
//! server takes no connection in the clear.

use std::sync::Arc;

use headwater_model::{Epoch, Error, ErrorKind, Store, Value};
use headwater_testkit::{Certificate, Folder};

use crate::store_promises::{json, put, step, view};

#[track_caller]
fn assert_misconfigured(error: &Error, remedy: &str) {
    let told = format!("{error:?} | {}", error.remedy().unwrap_or("no remedy"));
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{told}");
    assert!(error.remedy().is_some_and(|text| text.contains(remedy)), "\"{remedy}\" is not in: {told}");
}

pub async fn certificates_are_checked(authority: &str, open: impl Fn(&str, &str) -> Arc<dyn Store>) {
    let books = view("books");
    let verified = format!("sslmode=verify-full&sslrootcert={authority}");
    let store = open("localhost", &verified);
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    step(&*store, 1, 0, vec![put(&books, 1, &[("id", Value::Int(1))])]).await;
    assert_eq!(json(&*store, &books, 1).await.as_deref(), Some(r#"{"id":1}"#));
    // Encrypted, whoever is at the other end.
    assert!(open("127.0.0.1", "sslmode=require").held().await.unwrap().is_some());

    let elsewhere = Folder::new("authority");
    let another = Certificate::make(elsewhere.path()).authority;
    let another = format!("sslmode=verify-full&sslrootcert={}", another.display());
    // An authority that did not sign it, none but the usual ones, and a name that is not in the certificate.
    for (host, more) in
        [("localhost", &*another), ("localhost", "sslmode=verify-full"), ("127.0.0.1", &verified)]
    {
        let error = open(host, more).held().await.unwrap_err();
        assert_misconfigured(&error, "sslrootcert");
    }
    let error = open("localhost", "sslmode=verify-full&sslrootcert=/nowhere.pem").held().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
    assert!(error.to_string().contains("cannot read /nowhere.pem"), "{error:?}");
    let error = open("localhost", "sslmode=disable").held().await.unwrap_err();
    let told = format!("{error} | {}", error.remedy().unwrap_or("no remedy"));
    assert_eq!(error.kind(), ErrorKind::Denied, "{told}");
    assert!(told.contains("no encryption") || told.contains("sslmode=verify-full"), "{told}");
}

/// `open` leads to a server that has no certificate.
pub async fn a_server_without_tls_is_refused_where_it_is_asked_for(store: &dyn Store) {
    let error = store.held().await.unwrap_err();
    assert_misconfigured(&error, "sslmode=disable");
}
