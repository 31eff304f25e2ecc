//! The page, from the program as it runs: what it holds, what it keeps browsers from, and who may act.

use super::{SHOP, open_shop, problem, shop};
use crate::http::client::Client;
use crate::service::Service;

/// Headings, landmarks and tables that people and screen readers find their way by.
const STRUCTURE: &[&str] = &[
    "<html lang=\"en\">",
    "<h1>Headwater</h1>",
    "<nav aria-label=\"Sections\">",
    "<main id=\"live\"",
    "id=\"summary\" role=\"status\" aria-live=\"polite\"",
    "<h2 id=\"flow-heading\">",
    "<h2 id=\"patterns-heading\">",
    "<h2 id=\"backfill-heading\">",
    "<h2 id=\"quarantine-heading\">",
    "<h2 id=\"incidents-heading\">",
    "role=\"img\" aria-labelledby=\"wide-title wide-words\"",
    "<th role=\"columnheader\" scope=\"col\">",
    "<noscript><meta http-equiv=\"refresh\"",
    "name=\"viewport\"",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_flow_and_loads_nothing_from_elsewhere() {
    let (service, _db, client) = shop("page", "stale = \"5s\"\np99 = \"30s\"\nrate = \"1000/s\"\n").await;
    let response = client.get("/").expect(200);
    assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    let policy = response.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "script-src 'self'", "form-action 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = response.text();
    for part in STRUCTURE {
        assert!(page.contains(part), "no {part} in\n{page}");
    }
    assert!(!page.contains("//"), "an address of another site, or a comment:\n{page}");
    for (path, kind) in [("/dashboard/style.css", "text/css"), ("/dashboard/script.js", "text/javascript")] {
        assert!(page.contains(&format!("\"{path}\"")));
        assert!(client.get(path).expect(200).header("content-type").unwrap().starts_with(kind));
    }

    for _ in 0..30 {
        client.get("/v1/reviews_of_book?book_id=1").expect(200);
    }
    service
        .eventually("the reads are on the page", async || {
            let live = client.get("/dashboard/live").expect(200);
            let live = live.text();
            let parts = [
                "are in step",
                "p99 ",
                "within 30 s",
                "within 5 s",
                "of 1,000 expected",
                "source: leading",
                "No row is in quarantine",
            ];
            match parts.iter().find(|part| !live.contains(**part)) {
                None => Ok(()),
                Some(part) => Err(format!("no {part} in\n{live}")),
            }
        })
        .await;
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_signs_in_with_a_token_as_its_password() {
    let service = Service::new_unread("page-tokens", &format!("{SHOP}{TOKENS}"));
    std::fs::write(service.path("viewer"), "viewer-viewer-viewer").unwrap();
    std::fs::write(service.path("operator"), "operator-operator").unwrap();
    open_shop(&service);
    service.start();
    let client = Client::of(&service).await;
    let asked = client.get("/");
    problem(&asked, 401, "unauthenticated");
    assert_eq!(
        asked.headers("www-authenticate"),
        ["Bearer realm=\"headwater\"", "Basic realm=\"headwater\", charset=\"UTF-8\""]
    );
    assert_eq!(
        client.get("/metrics").expect(401).headers("www-authenticate").len(),
        1,
        "programs are not asked"
    );
    problem(&client.get("/dashboard/live"), 401, "unauthenticated");
    // anything:viewer-viewer-viewer, and operator:operator-operator
    let viewer = client.with("Authorization", "Basic YW55dGhpbmc6dmlld2VyLXZpZXdlci12aWV3ZXI=");
    let operator = client.with("Authorization", "Basic b3BlcmF0b3I6b3BlcmF0b3Itb3BlcmF0b3I=");
    assert!(viewer.get("/").expect(200).text().contains("Headwater"));
    problem(&viewer.ask("POST", "/dashboard/quarantine/1/discard"), 403, "forbidden");
    let foreign = operator.with("Origin", "http://evil.example");
    problem(&foreign.ask("POST", "/dashboard/quarantine/1/discard"), 403, "forbidden");
    service.healthy().await;
    let own = operator.with("Origin", &format!("http://{}", client.address));
    let done = own.ask("POST", "/dashboard/quarantine/1/discard").expect(303);
    assert_eq!(done.header("location"), Some("/#quarantine"));
    problem(&operator.get("/dashboard/quarantine/1/discard"), 405, "method-not-allowed");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_row_is_listed_until_it_is_discarded() {
    let small = SHOP.replace("{ url = \"memory:\" }", "{ url = \"memory:\", bytes_max = \"1MiB\" }");
    assert_ne!(small, SHOP);
    let service = Service::new("page-quarantine", &small);
    let db = open_shop(&service);
    service.start();
    let client = Client::of(&service).await;
    service.healthy().await;
    db.execute_batch("UPDATE books SET title = printf('<b>%.*c', 3000000, 'x') WHERE id = 7").unwrap();
    service
        .eventually("the row is listed", async || {
            let live = client.get("/dashboard/live").expect(200);
            let parts =
                ["<code>7</code>", "/discard\"", "Rows are in quarantine.", "store memory: quarantined"];
            match parts.iter().find(|part| !live.text().contains(**part)) {
                None => Ok(()),
                Some(part) => Err(format!("no {part} in\n{}", live.text())),
            }
        })
        .await;
    let live = client.get("/dashboard/live").expect(200);
    let form = |what: &str| -> String {
        let (before, _) = live.text().split_once(&format!("/{what}\"")).unwrap();
        format!("{}/{what}", before.rsplit_once("action=\"").unwrap().1)
    };
    let again = client.ask("POST", &form("retry")).expect(503);
    assert!(again.text().contains("refused again"), "{}", again.text());
    client.ask("POST", &form("discard")).expect(303);
    client.ask("POST", &form("discard")).expect(303);
    let live = client.get("/dashboard/live").expect(200);
    assert!(live.text().contains("No row is in quarantine"), "{}", live.text());
    let status = client.get("/status.json").expect(200).json();
    let counts: Vec<_> =
        status["stores"].as_array().unwrap().iter().map(|store| &store["quarantined_rows"]).collect();
    assert_eq!(counts, [0, 0], "{status}");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_row_is_taken_once_there_is_room_and_somebody_says_so() {
    let small = SHOP.replace("{ url = \"memory:\" }", "{ url = \"memory:\", bytes_max = \"1MiB\" }");
    let service = Service::new("page-retry", &small);
    let db = open_shop(&service);
    service.start();
    let client = Client::of(&service).await;
    service.healthy().await;
    let large = |id: u32| format!("UPDATE books SET title = printf('%.*c', 600000, 'x') WHERE id = {id};");
    db.execute_batch(&large(6)).unwrap();
    db.execute_batch(&large(7)).unwrap();
    let refused = service
        .eventually("the second is refused", async || {
            let live = client.get("/dashboard/live").expect(200);
            let before = live.text().split_once("/retry\"").map(|(before, _)| before.to_owned());
            before.ok_or_else(|| live.text().to_owned())
        })
        .await;
    assert!(refused.contains("<code>7</code>"), "{refused}");
    let retry = format!("{}/retry", refused.rsplit_once("action=\"").unwrap().1);
    db.execute_batch("UPDATE books SET title = 'short' WHERE id = 6").unwrap();
    service
        .eventually("there is room", async || {
            let again = client.ask("POST", &retry);
            if again.status == 303 { Ok(()) } else { Err(again.text().to_owned()) }
        })
        .await;
    let live = client.get("/dashboard/live").expect(200);
    assert!(live.text().contains("No row is in quarantine"), "{}", live.text());
    service.command(&["verify"]).expect(0);
    service.stop();
}

const TOKENS: &str = "[serve]\nlisten = \"127.0.0.1:0\"\n[serve.tokens]\n\
                      people = { role = \"viewer\", token_file = \"viewer\" }\n\
                      operators = { role = \"operator\", token_file = \"operator\" }\n";
