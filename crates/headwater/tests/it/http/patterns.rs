//! What access patterns answer, and how they refuse.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headwater_testkit::{Folder, Postgres, Redis};
use serde_json::{Value as Json, json};

use super::client::{Client, encode};
use super::{problem, shop};
use crate::service::{PATIENCE, Service};

#[tokio::test(flavor = "multi_thread")]
async fn a_get_is_the_document_and_says_where_it_comes_from() {
    let (service, _db, client) = shop("get", "").await;
    let found = client.get("/v1/book_page?id=7").expect(200);
    assert_eq!(found.header("content-type"), Some("application/json"));
    assert_eq!(found.header("cache-control"), Some("no-store"));
    assert_eq!(found.header("headwater-store"), Some("memory"));
    assert!(found.header("headwater-position").is_some_and(|position| position.contains('@')), "{found:?}");
    assert!(found.header("headwater-age-ms").is_some_and(|age| age.parse::<u64>().is_ok()));
    let json = found.json();
    assert_eq!((&json["title"], &json["author"]["name"]), (&json!("Book 7"), &json!("Bo")));
    assert_eq!(json["reviews"].as_array().map(Vec::len), Some(7));
    assert!(found.text().contains("9007199254740993"), "an integer beyond a double: {}", found.text());

    let head = client.ask("HEAD", "/v1/book_page?id=7").expect(200);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-length"), Some(&*found.body.len().to_string()));

    let none = client.get("/v1/book_page?id=77");
    problem(&none, 404, "no-document");
    assert_eq!(none.header("headwater-store"), Some("memory"), "nothing, as of a moment");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_to_the_end_and_back() {
    let (service, db, client) = shop("pages", "").await;
    db.execute_batch(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 92)
         INSERT INTO reviews SELECT 1000 + i, 5, i % 5 FROM n",
    )
    .unwrap();
    let expected: Vec<(i64, i64)> = {
        let mut query =
            db.prepare("SELECT stars, id FROM reviews WHERE book_id = 5 ORDER BY stars, id").unwrap();
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    let client = &client;
    let all = async |reverse: bool, limit: usize| {
        let (mut found, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
        loop {
            let mut target = format!("/v1/reviews_of_book?book_id=5&limit={limit}&reverse={reverse}");
            if let Some(cursor) = &cursor {
                target.push_str(&format!("&cursor={}", encode(cursor)));
            }
            let page = client.get(&target).expect(200).json();
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            let own = |name: &str, item: &serde_json::Value| item[name].as_i64().unwrap();
            found.extend(items.iter().map(|item| (own("stars", item), own("id", item))));
            pages += 1;
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return (found, pages),
            }
        }
    };
    service
        .eventually("the store has them all", async || {
            let (found, _) = all(false, 50).await;
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    let (found, pages) = all(false, 7).await;
    assert_eq!(found, expected);
    assert!(pages > 10, "{pages} pages");
    let (mut back, _) = all(true, 9).await;
    back.reverse();
    assert_eq!(back, expected);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_name_what_is_wrong_and_what_to_do() {
    let (service, _db, client) = shop("mistakes", "").await;
    let wrong = problem(&client.get("/v1/book_pag?id=1"), 404, "unknown-pattern");
    assert_eq!(wrong["remedy"], "did you mean `book_page`?");
    let wrong = problem(&client.get("/v1/book_page?idd=1"), 400, "bad-parameter");
    assert!(["id", "idd"].contains(&wrong["parameter"].as_str().unwrap()), "{wrong}");
    let wrong = problem(&client.get("/v1/book_page"), 400, "bad-parameter");
    assert_eq!(wrong["parameter"], "id");
    for (target, name) in [
        ("/v1/book_page?id=1&id=2", "id"),
        ("/v1/book_page?id=%ff", "id"),
        ("/v1/reviews_of_book?book_id=1&limit=0", "limit"),
        ("/v1/reviews_of_book?book_id=1&limit=51", "limit"),
        ("/v1/reviews_of_book?book_id=1&cursor=abc", "cursor"),
        ("/v1/reviews_of_book?book_id=1&reverse=maybe", "reverse"),
    ] {
        let wrong = problem(&client.get(target), 400, "bad-parameter");
        assert_eq!(wrong["parameter"], name, "{target}");
    }
    let page = client.get("/v1/reviews_of_book?book_id=1&limit=2").expect(200).json();
    let next = encode(page["next"].as_str().unwrap());
    let other = client.get(&format!("/v1/reviews_of_book?book_id=2&limit=2&cursor={next}"));
    assert_eq!(problem(&other, 400, "bad-parameter")["parameter"], "cursor");

    for (header, value) in [
        ("Headwater-After", "yesterday"),
        ("Headwater-Within", "soon"),
        ("Headwater-Within", "31s"),
        ("Headwater-Within", "-1s"),
    ] {
        let wrong = problem(&client.with(header, value).get("/v1/book_page?id=1"), 400, "bad-parameter");
        assert_eq!(wrong["parameter"], header, "{wrong}");
    }
    let other = client.with("Headwater-After", "feedfacefeedface@12").get("/v1/book_page?id=1");
    problem(&other, 409, "other-history");

    let refused = client.ask("DELETE", "/v1/book_page?id=1");
    problem(&refused, 405, "method-not-allowed");
    assert!(refused.header("allow").is_some_and(|allow| allow.contains("GET")), "{refused:?}");
    problem(&client.with("Accept", "text/html").get("/v1/book_page?id=1"), 406, "not-acceptable");
    problem(&client.get("/v2"), 404, "no-path");
    problem(&client.get("/v1/"), 404, "no-path");

    // Each `type` is served, and says what it means.
    assert!(client.get("/problems/behind").expect(200).text().contains("Headwater-After"));
    let all = client.get("/problems").expect(200);
    assert!(all.text().lines().filter(|line| line.starts_with("/problems/")).count() >= 14);
    problem(&client.get("/problems/nothing"), 404, "no-path");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn from_postgres_by_redis_numbers_are_exact_and_the_source_stands_in() {
    let (postgres, redis, derived) = (Postgres::start(), Redis::start(), Folder::new("derived"));
    let sql = postgres.connect().await;
    sql.batch_execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, price numeric, ratio float8, at timestamptz, note text, seen boolean);
         INSERT INTO items VALUES
             (9223372036854775807, 12345678901234567890.123456789, 'NaN', '2026-01-02 03:04:05.678901+02', 'é\"', true),
             (-1, NULL, 1e300, 'infinity', NULL, NULL);",
    )
    .await
    .unwrap();
    let file = format!(
        "[source]\nurl = \"{}\"\n[stores]\nnear = {{ url = \"{}\" }}\nlocal = {{ url = \"sqlite:{}\" }}\n\
         [views.item]\nfrom = \"items\"\nstore = [\"near\", \"local\"]\n[access.item]\nget = \"item\"\n",
        postgres.url(),
        redis.url(),
        derived.join("derived.db").display()
    );
    let service = Service::new("exact", &file);
    service.start();
    let client = Client::of(&service).await;
    service.healthy().await;
    let want: String =
        sql.query_one("SELECT to_jsonb(i)::text FROM items i WHERE id > 0", &[]).await.unwrap().get(0);
    let want: serde_json::Value = serde_json::from_str(&want).unwrap();
    let target = "/v1/item?id=9223372036854775807";
    service
        .eventually("Redis answers", async || {
            let found = client.get(target).expect(200);
            let (store, json) = (found.header("headwater-store").unwrap().to_owned(), found.json());
            assert_eq!(json["price"].to_string(), "12345678901234567890.123456789", "{json}");
            assert_eq!(json["ratio"], want["ratio"]);
            assert_eq!(json["note"], want["note"]);
            if store == "near" { Ok(()) } else { Err(store) }
        })
        .await;
    let other = client.get("/v1/item?id=-1").expect(200).json();
    assert_eq!((&other["price"], &other["note"]), (&json!(null), &json!(null)));

    redis.kill();
    let stands_in = client.get(target).expect(200);
    assert_eq!(stands_in.header("headwater-store"), Some("local"), "the next store, at once");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn days_of_a_place_are_those_of_sql_with_and_without_points() {
    let postgres = Postgres::start();
    let sql = postgres.connect().await;
    // Over a change of clocks, and with days on which nothing was measured.
    sql.batch_execute(
        "CREATE TABLE prices (id bigint PRIMARY KEY, at timestamptz NOT NULL, price numeric NOT NULL);
         INSERT INTO prices
             SELECT i, '2024-10-20T00:00:00Z'::timestamptz + make_interval(mins => (i * 7919) % 20000), i % 97 + 0.25
             FROM generate_series(1, 400) i;
         DELETE FROM prices WHERE at >= '2024-10-23T10:00:00Z' AND at < '2024-10-25T23:30:00Z';",
    )
    .await
    .unwrap();
    let file = format!(
        "[source]\nurl = \"{}\"\n[stores]\nmemory = {{ url = \"memory:\" }}\n\
         [views.price]\nfrom = \"prices\"\nstore = \"memory\"\nseries = {{ time = \"at\", fields = [\"price\"] }}\n\
         [access.by_day]\nwindow = \"price\"\nevery = \"1d\"\nzone = \"Europe/Vienna\"\ngaps = \"null\"\n\
         figures = {{ n = \"count(*)\", high = \"max(price)\" }}\n",
        postgres.url(),
    );
    let service = Service::new("zones", &file);
    service.start();
    let client = Client::of(&service).await;
    service.healthy().await;
    let rows = sql
        .query(
            "SELECT to_char(day AT TIME ZONE 'Europe/Vienna' AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS'),
                    count(price), max(price)::text
             FROM generate_series('2024-10-18'::timestamp, '2024-11-04', '1 day') day
             LEFT JOIN prices ON (at AT TIME ZONE 'Europe/Vienna')::date = day::date
             GROUP BY day ORDER BY day",
            &[],
        )
        .await
        .unwrap();
    let expected: Vec<(String, i64, Option<String>)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert!(expected.iter().any(|(_, n, _)| *n == 0) && expected.iter().any(|(_, n, _)| *n > 10));
    let target = "/v1/by_day?from=2024-10-17T22:00:00Z&to=2024-11-04T23:00:00Z";
    let found = client.get(target).expect(200).json();
    let found: Vec<(String, i64, Option<String>)> = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let start = item["at"].as_str().unwrap()[..19].to_owned();
            let high = (!item["high"].is_null()).then(|| item["high"].to_string());
            (start, item["n"].as_i64().unwrap(), high)
        })
        .collect();
    assert_eq!(found, expected);
    let wrong = problem(&client.get(&format!("{target}&reverse=true")), 400, "bad-parameter");
    assert_eq!(wrong["parameter"], "reverse");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_an_item_for_each_key_in_their_order() {
    let (service, _db, client) = shop("batch", "").await;
    let answer = client.get("/v1/book_page:batchGet?id=9&id=777&id=1&id=9").expect(200);
    let json = answer.json();
    let titles: Vec<_> =
        json["items"].as_array().unwrap().iter().map(|item| item["title"].as_str()).collect();
    assert_eq!(titles, [Some("Book 9"), None, Some("Book 1"), Some("Book 9")], "{json}");
    assert!(json["items"][1].is_null() && json["next"].is_null(), "{json}");
    assert!(answer.text().contains("9007199254740993"), "{json}");
    assert_eq!(answer.header("headwater-store"), Some("memory"));
    assert!(answer.header("headwater-position").is_some());
    let one = client.get("/v1/book_page?id=9").expect(200);
    assert_eq!(json["items"][0], one.json());
    let position = one.header("headwater-position").unwrap();
    client.with("Headwater-After", position).get("/v1/book_page%3AbatchGet?id=3").expect(200);

    problem(&client.get("/v1/book_page:batchGet"), 400, "bad-parameter");
    problem(&client.get("/v1/book_page:batchGet?id=1&id=x"), 400, "bad-parameter");
    problem(&client.get("/v1/book_page:batchGet?id=1&limit=2"), 400, "bad-parameter");
    let many: Vec<String> = (0..101).map(|id| format!("id={id}")).collect();
    problem(&client.get(&format!("/v1/book_page:batchGet?{}", many.join("&"))), 400, "bad-parameter");
    let most = client.get(&format!("/v1/book_page:batchGet?{}", many[..100].join("&"))).expect(200);
    assert_eq!(most.json()["items"].as_array().unwrap().len(), 100);
    problem(&client.get("/v1/reviews_of_book:batchGet?book_id=1"), 422, "too-much");
    problem(&client.get("/v1/book_pge:batchGet?id=1"), 404, "unknown-pattern");
    let document = client.get("/openapi.json").expect(200).json();
    let ids = &document["paths"]["/v1/book_page:batchGet"]["get"]["parameters"][0]["schema"];
    assert_eq!((&ids["type"], &ids["maxItems"]), (&"array".into(), &100.into()), "{document}");
    assert!(document["paths"].get("/v1/reviews_of_book:batchGet").is_none());
    service.stop();
}

/// What is taken from one book is given to another in the same transaction: whoever reads both sees the same sum.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_shows_one_moment() {
    let patterns = "[access.here]\nget = \"book\"\nstore = \"memory\"\n[access.there]\nget = \"book\"\nstore = \"local\"\n";
    let (service, db, client) = shop("batch-moment", patterns).await;
    let sum = |json: &Json| (0..2).map(|item| json["items"][item]["copies"].as_i64().unwrap()).sum::<i64>();
    db.execute_batch("UPDATE books SET copies = 1000").unwrap();
    for pattern in ["here", "there"] {
        let read = || client.get(&format!("/v1/{pattern}:batchGet?id=1&id=30")).expect(200).json();
        let settled = async || if sum(&read()) == 2000 { Ok(()) } else { Err(read().to_string()) };
        service.eventually("the copies are counted", settled).await;
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = &done;
        scope.spawn(move || {
            for n in 0.. {
                if writing.load(Ordering::SeqCst) {
                    break;
                }
                let by = 1 + n % 7;
                db.execute_batch(&format!(
                    "BEGIN IMMEDIATE; UPDATE books SET copies = copies - {by} WHERE id = 1;
                     UPDATE books SET copies = copies + {by} WHERE id = 30; COMMIT"
                ))
                .unwrap();
                // The log is read between two writes.
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for pattern in ["here", "there"] {
                let (mut seen, until) = (BTreeSet::new(), Instant::now() + PATIENCE);
                // Until many moments were seen.
                while seen.len() < 30 {
                    let json = client.get(&format!("/v1/{pattern}:batchGet?id=1&id=30")).expect(200).json();
                    assert_eq!(sum(&json), 2000, "{pattern}: {json}");
                    seen.insert(json["items"][0]["copies"].as_i64());
                    assert!(Instant::now() < until, "{pattern}: few moments: {seen:?}");
                }
            }
        }));
        done.store(true, Ordering::SeqCst);
        if let Err(panic) = looked {
            std::panic::resume_unwind(panic);
        }
    });
    service.stop();
}
