//! Servers that ask who is there, speak version 2, or forget.

use headwater_model::{ErrorKind, Severity, Store as _, ViewChange};

use super::unwilling::Unwilling;
use super::*;

#[tokio::test]
async fn a_user_of_the_database_is_enough_and_others_are_told() {
    let Some(server) = InfluxDb::start_closed() else { return };
    server.ask("", "CREATE USER admin WITH PASSWORD 'root' WITH ALL PRIVILEGES");
    let admin = |statement: &str| {
        let answer = server.ask_as("admin", "root", statement);
        assert!(answer["results"][0]["error"].is_null(), "{answer}");
    };
    admin("CREATE DATABASE shop");
    admin("CREATE USER headwater WITH PASSWORD 'hush'");
    admin("GRANT ALL ON shop TO headwater");
    let url = |login: &str| server.url("shop").replacen("127.0.0.1", &format!("{login}@127.0.0.1"), 1);
    let store = Store::new(&section(&url("headwater:hush"), &[])).unwrap();
    store.inspect().await.unwrap();
    store.claim(Epoch(1)).await.unwrap();
    let view = prices();
    step(&store, 1, 0, vec![put(&view, 1, point(1, 0, "a", "1"))]).await.unwrap();
    // What only an administrator may drop is emptied in another way.
    let clear = ViewChange::Clear { view: view.clone() };
    step(&store, 1, 1, vec![clear, put(&view, 2, point(2, 0, "b", "1"))]).await.unwrap();
    assert_eq!(store.rows(&view).await.unwrap(), 1);
    assert_eq!(window(&store, &view, "a").await.unwrap(), Vec::<String>::new());
    for login in ["headwater:wrong", "nobody:hush"] {
        let store = Store::new(&section(&url(login), &[])).unwrap();
        let error = store.inspect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        assert!(error.remedy().is_some() && !format!("{error:?}").contains("hush"), "{error:?}");
    }
}

/// InfluxDB 1.6 has no version 2 of the API: what goes there is looked at on its way, and answered by version 1.
#[tokio::test]
async fn with_an_organization_points_go_by_version_2() {
    let Some(server) = server() else { return };
    let database = database(server);
    let proxy = Unwilling::to(server.port()).await;
    let text = |text: &str| Setting::Text(Secret::new(text));
    let settings = [("org", text("shop")), ("token", text("hush")), ("gzip", Setting::Bool(true))];
    let url = format!("influx://127.0.0.1:{}/{database}", proxy.port);
    let store = Store::new(&section(&url, &settings)).unwrap();
    store.claim(Epoch(1)).await.unwrap();
    let view = prices();
    step(&store, 1, 0, vec![put(&view, 1, point(1, 0, "a", "1"))]).await.unwrap();
    assert_eq!(window(&store, &view, "a").await.unwrap(), ["1"]);
    let heard = proxy.heard();
    let writes: Vec<&String> = heard.iter().filter(|head| head.starts_with("POST /api/v2/write?")).collect();
    assert!(!writes.is_empty(), "{heard:?}");
    for head in writes {
        let line = format!("POST /api/v2/write?org=shop&bucket={database}&precision=ns HTTP/1.1\r\n");
        assert!(head.starts_with(&line), "{head}");
        assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    }
    assert!(heard.iter().all(|head| head.contains("authorization: Token hush\r\n")), "{heard:?}");
    assert!(heard.iter().all(|head| !head.starts_with("POST /write?")), "{heard:?}");
}

#[tokio::test]
async fn a_database_that_forgets_is_a_risk_and_a_missing_one_is_created_where_that_is_said() {
    let Some(server) = server() else { return };
    server.ask("", "CREATE DATABASE forgetful WITH DURATION 30d");
    let facts = store(server, "forgetful").inspect().await.unwrap();
    let risk = facts.risks.first().expect("a risk");
    assert!(risk.severity == Severity::Error && risk.what.contains("720h0m0s"), "{risk:?}");
    server.ask("", risk.remedy.split(';').next().unwrap());
    assert!(store(server, "forgetful").inspect().await.unwrap().risks.is_empty());
    let missing = store(server, "missing");
    assert_eq!(missing.held().await.unwrap(), None);
    let error = missing.claim(Epoch(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
    assert!(error.remedy().unwrap().contains("create = true"), "{error:?}");
    let create = [("create", Setting::Bool(true))];
    let store = Store::new(&section(&server.url("missing"), &create)).unwrap();
    assert_eq!(store.claim(Epoch(1)).await.unwrap(), None);
    assert!(store.inspect().await.unwrap().risks.is_empty());
}
