//! From DynamoDB tables into the embedded store: written by `init`, through kills, a stream that was off, and the loss of what
//! Headwater keeps there. What should be there is a plain scan of the table.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater_testkit::{Chance, DynamoDb};
use serde_json::{Value as Json, json};

use crate::service::Service;
use crate::support::Site;

const TABLE: &str = "shop_orders";

fn make(dynamodb: &DynamoDb) {
    dynamodb.ask(
        "CreateTable",
        &json!({
            "TableName": TABLE, "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                { "AttributeName": "customer", "AttributeType": "S" }, { "AttributeName": "n", "AttributeType": "N" }
            ],
            "KeySchema": [
                { "AttributeName": "customer", "KeyType": "HASH" }, { "AttributeName": "n", "KeyType": "RANGE" }
            ]
        }),
    );
}

fn put(dynamodb: &DynamoDb, n: usize, total: &str) {
    let customer = format!("c{}", n % 13);
    let item = json!({ "customer": { "S": customer }, "n": { "N": n.to_string() }, "total": { "N": total } });
    dynamodb.ask("PutItem", &json!({ "TableName": TABLE, "Item": item }));
}

fn delete(dynamodb: &DynamoDb, n: usize) {
    let key = json!({ "customer": { "S": format!("c{}", n % 13) }, "n": { "N": n.to_string() } });
    dynamodb.ask("DeleteItem", &json!({ "TableName": TABLE, "Key": key }));
}

fn stream(dynamodb: &DynamoDb, on: bool) {
    let mut stream = json!({ "StreamEnabled": on });
    if on {
        stream["StreamViewType"] = json!("NEW_AND_OLD_IMAGES");
    }
    dynamodb.ask("UpdateTable", &json!({ "TableName": TABLE, "StreamSpecification": stream }));
}

fn expected(dynamodb: &DynamoDb) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut ask = json!({ "TableName": TABLE, "ConsistentRead": true });
    loop {
        let mut page = dynamodb.ask("Scan", &ask);
        for item in page["Items"].as_array().unwrap() {
            let text = |name: &str, kind: &str| item[name][kind].as_str().unwrap().to_owned();
            all.insert(format!("{}:{}", text("customer", "S"), text("n", "N")), text("total", "N"));
        }
        match page["LastEvaluatedKey"].take() {
            Json::Null => return all,
            last => ask["ExclusiveStartKey"] = last,
        }
    }
}

fn found(store: PathBuf) -> rusqlite::Result<BTreeMap<String, String>> {
    let db = rusqlite::Connection::open_with_flags(store, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(10))?;
    let mut query = db.prepare("SELECT key, document -> 'total' FROM shop_order")?;
    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

async fn equal(service: &Service, dynamodb: &DynamoDb, what: &str) {
    service
        .eventually(what, async || {
            let expected = expected(dynamodb);
            match found(service.path("derived.db")) {
                Ok(found) if found == expected => Ok(()),
                Ok(found) => Err(format!("{} documents for {} items", found.len(), expected.len())),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
}

/// Once the view is complete: until then there is nothing to compare.
async fn verified(service: &Service) {
    service
        .eventually("the store is verified", async || {
            let ran = service.command(&["verify", "--rate", "full", "--json"]);
            if ran.code == 0 { Ok(()) } else { Err(format!("{}{}", ran.stdout, ran.stderr)) }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_follow_through_kills_a_stream_that_was_off_and_lost_positions() {
    let dynamodb = DynamoDb::start();
    make(&dynamodb);
    for n in 0..300 {
        put(&dynamodb, n, "1.25");
    }
    let endpoint = dynamodb.endpoint();
    let site = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        .into_iter()
        .fold(Site::new("dynamodb-init").env("AWS_ENDPOINT_URL", &endpoint), |site, name| {
            site.env(name, "local")
        });
    site.run(&["init", "dynamodb://us-east-1/shop_"]).expect(0);
    let written = site.read("headwater.toml");
    assert!(
        written.contains("shop_orders = { customer = \"text\", n = \"number\", total = \"number\" }"),
        "{written}"
    );
    assert!(written.contains("StreamViewType=NEW_AND_OLD_IMAGES"), "{written}");
    site.run(&["check"]).expect(1).says(&["shop_orders", "has no stream", "aws dynamodb update-table"]);
    site.write("headwater.toml", &written.replace("shop_orders = {", "other = {"));
    site.run(&["check"]).expect(1).says(&["does not declare the columns", "[source.columns]"]);

    let settings = format!(
        "endpoint = \"{endpoint}\"\naccess_key_id = \"local\"\nsecret_access_key = \"local\"\ncreate = true\n\
         settle_ms = 200\npoll_ms = 50\nlease_ms = 1000\n"
    );
    let file = written.replacen("[source]\n", &format!("[source]\n{settings}"), 1)
        + "\n[backfill]\nchunk_rows = 50\n[doctor.limits]\n\"HW5011.share\" = 0.01\n\"HW5011.from_units\" = 0.001\n";
    let service = Service::new("dynamodb-source", &file);
    service.start();
    for n in 0..60 {
        put(&dynamodb, n * 3, "2");
        delete(&dynamodb, n * 5);
    }
    equal(&service, &dynamodb, "what was there, and what was written meanwhile").await;
    let hot = || service.command(&["doctor", "--store", "source", "--check", "HW5011"]).expect(0).stdout;
    let told = hot();
    assert!(told.contains("table shop_orders: the key c") && told.contains("KEY#0"), "{told}");

    service.kill();
    let told = hot();
    assert!(told.contains("skipped  HW5011: no instance runs"), "{told}");
    for n in 280..330 {
        put(&dynamodb, n, "-0.5");
    }
    delete(&dynamodb, 1);
    service.start();
    equal(&service, &dynamodb, "what was written while it was dead").await;
    verified(&service).await;

    // Nobody tells of what happens while the stream is off.
    service.kill();
    stream(&dynamodb, false);
    put(&dynamodb, 2, "77");
    delete(&dynamodb, 4);
    stream(&dynamodb, true);
    put(&dynamodb, 900, "9");
    service.start();
    equal(&service, &dynamodb, "a table whose stream was off is read again").await;

    service.kill();
    dynamodb.ask("DeleteTable", &json!({ "TableName": "shop_.headwater-source" }));
    delete(&dynamodb, 2);
    put(&dynamodb, 901, "10");
    service.start();
    equal(&service, &dynamodb, "everything is read again").await;
    verified(&service).await;
}

fn file(dynamodb: &DynamoDb) -> String {
    format!(
        "[source]\nurl = \"dynamodb://us-east-1/shop_\"\nendpoint = \"{}\"\naccess_key_id = \"local\"\n\
         secret_access_key = \"local\"\ncreate = true\nsettle_ms = 100\npoll_ms = 50\nlease_ms = 1000\n\
         timeout_seconds = 300\ncolumns.{TABLE} = {{ customer = \"text\", n = \"number\", total = \"number\" }}\n\
         [stores]\nlocal = {{ url = \"sqlite:derived.db\" }}\n[backfill]\nchunk_rows = 40\n\
         [views.shop_order]\nfrom = \"{TABLE}\"\n",
        dynamodb.endpoint()
    )
}

/// Every key once more, with the number of the round.
fn round(dynamodb: &DynamoDb, keys: usize, round: usize) {
    let put = |n: usize| {
        let item = json!({
            "customer": { "S": format!("c{}", n % 13) }, "n": { "N": n.to_string() }, "total": { "N": round.to_string() }
        });
        json!({ "PutRequest": { "Item": item } })
    };
    for first in (0..keys).step_by(25) {
        let puts: Vec<Json> = (first..keys.min(first + 25)).map(put).collect();
        dynamodb.ask("BatchWriteItem", &json!({ "RequestItems": { TABLE: puts } }));
    }
}

/// Looks as often as it can until told to end; how many times the store showed something, or which key went back.
fn never_back(store: PathBuf, over: &AtomicBool) -> Result<u64, String> {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let mut looks = 0;
    while !over.load(Ordering::Relaxed) {
        // Until the store is there.
        let found = found(store.clone()).unwrap_or_default();
        looks += u64::from(!found.is_empty());
        for (key, version) in found {
            let version = version.parse().map_err(|_| format!("{key} is {version}"))?;
            let known = newest.entry(key.clone()).or_default();
            if version < *known {
                return Err(format!("{key} went back from {known} to {version}"));
            }
            *known = version;
        }
    }
    Ok(looks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_goes_back_although_headwater_is_killed_as_soon_as_it_has_begun() {
    const KEYS: usize = 100;
    const ROUNDS: usize = 60;
    let mut chance = Chance::from_env(5);
    let dynamodb = DynamoDb::start();
    make(&dynamodb);
    stream(&dynamodb, true);
    // More than an answer of a stream has; the table shows what it comes to.
    for at in 0..ROUNDS {
        round(&dynamodb, KEYS, at);
    }
    let service = Service::new("dynamodb-joined", &file(&dynamodb));
    let over = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (store, over) = (service.path("derived.db"), Arc::clone(&over));
        move || never_back(store, &over)
    });
    service.start();
    for life in 0..8 {
        match life % 2 {
            0 => equal(&service, &dynamodb, "what the table shows").await,
            _ => tokio::time::sleep(Duration::from_millis(chance.below(1500))).await,
        }
        service.kill();
        // In the first lives nothing comes by.
        if life > 3 {
            round(&dynamodb, KEYS, ROUNDS + life);
        }
        service.start();
    }
    equal(&service, &dynamodb, "what the table shows in the end").await;
    verified(&service).await;
    over.store(true, Ordering::Relaxed);
    let looks =
        reader.join().unwrap().unwrap_or_else(|violation| panic!("{violation}\n{}", service.log_tail()));
    assert!(looks > 0, "the reader saw something");
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_no_answer_of_a_source_that_hangs() {
    let dynamodb = DynamoDb::start();
    make(&dynamodb);
    stream(&dynamodb, true);
    dynamodb.pause();
    let service = Service::new("dynamodb-hangs", &file(&dynamodb));
    service.start();
    // It listens, and looks at its source for minutes.
    service.url().await;
    service.stop();
    dynamodb.resume();
}
