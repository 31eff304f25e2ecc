//! Probes: alive at once, ready when everything can be answered, and why not before.

use headwater_testkit::Postgres;

use super::client::Client;
use super::{SHOP, open_shop, problem};
use crate::service::Service;

#[tokio::test(flavor = "multi_thread")]
async fn not_ready_while_a_view_is_filled_and_ready_after_it() {
    let slowly = "[backfill]\nchunk_rows = 1\nrate = \"20/s\"\n";
    let service = Service::new(
        "filling",
        &format!("{SHOP}source = false\n[access.any_book]\nget = \"book\"\n{slowly}"),
    );
    open_shop(&service);
    service.start();
    let client = Client::of(&service).await;
    assert_eq!(client.get("/livez").expect(200).text(), "alive\n");
    service
        .eventually("it says what is not filled", async || {
            let response = client.get("/readyz").expect(503);
            let said = response.text();
            let only_one = said.contains("`reviews_of_book`") && !said.contains("`any_book`");
            if only_one && said.contains("has not filled view `review`") { Ok(()) } else { Err(said.into()) }
        })
        .await;
    let json = client.with("Accept", "application/json").get("/readyz").expect(503).json();
    assert_eq!(json["ready"], false);
    assert!(json["reasons"][0].is_string(), "{json}");
    problem(&client.get("/v1/reviews_of_book?book_id=1"), 503, "unavailable");
    let answered = client.get("/v1/any_book?id=1").expect(200);
    assert_eq!(answered.header("headwater-store"), Some("source"), "the source, while stores cannot");

    service
        .eventually("ready", async || match client.get("/readyz") {
            ready if ready.status == 200 => Ok(()),
            other => Err(other.text().into()),
        })
        .await;
    client.get("/v1/reviews_of_book?book_id=1").expect(200);
    let status = client.get("/status.json").expect(200).json();
    assert_eq!(status["stores"].as_array().map(Vec::len), Some(2), "{status}");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn alive_while_the_source_is_away() {
    let postgres = Postgres::start();
    let sql = postgres.connect().await;
    sql.batch_execute("CREATE TABLE items (id int PRIMARY KEY)").await.unwrap();
    let url = postgres.url();
    postgres.stop().await;
    let service = Service::new(
        "away",
        &format!(
            "[source]\nurl = \"{url}\"\n[stores]\nmemory = {{ url = \"memory:\" }}\n\
             [views.item]\nfrom = \"items\"\n[access.item]\nget = \"item\"\n"
        ),
    );
    service.start();
    let client = Client::of(&service).await;
    client.get("/livez").expect(200);
    service
        .eventually("it says that the source is away", async || {
            let said = client.get("/readyz").expect(503).text().to_owned();
            if said.contains("the source cannot be looked at yet") { Ok(()) } else { Err(said) }
        })
        .await;
    let refused = client.get("/v1/item?id=1");
    problem(&refused, 503, "unavailable");
    assert!(refused.header("retry-after").is_some());
    problem(&client.get("/openapi.json"), 503, "unavailable");
    service.stop();
}
