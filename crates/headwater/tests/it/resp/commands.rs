//! What each command says, over both versions of the protocol, from every embedded store.

use std::collections::{BTreeMap, BTreeSet};

use headwater_testkit::Redis;

use super::site::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_strings_and_hashes() {
    let shop = Shop::in_memory().await;
    let json = r#"{"id":1,"title":"Der \"Zauberberg\"","note":null,"price":24.5}"#;
    assert_eq!(shop.cli(&["GET", "book:1"]), json);
    assert_eq!(shop.cli(&["STRLEN", "book:1"]), json.len().to_string());
    assert_eq!(shop.cli(&["HGETALL", "book:1"]), "id\n1\ntitle\nDer \"Zauberberg\"\nprice\n24.5");
    assert_eq!(shop.cli(&["HGET", "book:2", "note"]), "é\n:");
    assert_eq!(shop.cli(&["HGET", "book:1", "note"]), "");
    assert_eq!(
        shop.cli_with(&["--json"], &["HMGET", "book:3", "note", "title", "nope"]),
        r#"["","Nothing",null]"#
    );
    assert_eq!(shop.cli(&["HKEYS", "book:1"]), "id\ntitle\nprice");
    assert_eq!(shop.cli(&["HVALS", "book:2"]), "2\nUlysses\né\n:\n19");
    assert_eq!(shop.cli(&["HLEN", "book:1"]), "3");
    assert_eq!(shop.cli(&["HEXISTS", "book:1", "title"]), "1");
    assert_eq!(shop.cli(&["HEXISTS", "book:1", "note"]), "0");
    assert_eq!(
        shop.cli(&["HGET", "whole:1", "parts"]),
        r#"[{"id":1,"book_id":1,"name":"cover"},{"id":2,"book_id":1,"name":"spine"}]"#
    );
    assert_eq!(shop.cli(&["HGETALL", "book:9"]), "");
    assert_eq!(
        shop.cli_with(&["--json"], &["MGET", "book:1", "nope:1", "page:a%3Ab:1", "book:9", "best"]),
        format!("[{},null,{},null,null]", quote(json), quote(r#"{"book":"a:b","no":1,"text":"first"}"#))
    );
    assert_eq!(
        shop.cli(&["EXISTS", "book:1", "book:1", "book:7", "page:%E:3", "best", "shopbest:x", "shopbest:z"]),
        "5"
    );
    assert_eq!(shop.cli(&["TYPE", "book:1"]), "hash");
    assert_eq!(shop.cli(&["TYPE", "whole:1"]), "string");
    assert_eq!(shop.cli(&["TYPE", "best"]), "zset");
    assert_eq!(shop.cli(&["TYPE", "book:7"]), "none");
    assert_eq!(shop.cli(&["TTL", "book:1"]), "-1");
    assert_eq!(shop.cli(&["PTTL", "book:7"]), "-2");
    // A text that is no key's own text names nothing, as it would in Redis.
    for name in ["book:01", "book:x", "book", "book:", "book:1:2", ":1", "", "page:100%:2", "book: 1"] {
        assert_eq!(shop.cli_with(&["--json"], &["GET", name]), "null", "{name}");
    }
    assert_eq!(shop.cli(&["GET", "page:100%25:2"]), r#"{"book":"100%","no":2,"text":"second"}"#);
    assert_eq!(
        shop.cli_with(&["-3", "--json"], &["HGETALL", "book:2"]),
        r#"{"id":"2","title":"Ulysses","note":"é\n:","price":"19"}"#
    );
}

fn quote(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rankings_are_sorted_sets() {
    let shop = Shop::in_memory().await;
    assert_eq!(shop.cli(&["ZREVRANGE", "best", "0", "-1", "WITHSCORES"]), "1\n9\n3\n8\n2\n7");
    assert_eq!(shop.cli(&["ZRANGE", "best", "0", "1"]), "2\n3");
    assert_eq!(shop.cli(&["ZRANGE", "best", "-2", "-1", "REV"]), "3\n2");
    assert_eq!(shop.cli(&["ZRANGE", "best", "5", "9"]), "");
    assert_eq!(shop.cli(&["ZRANGE", "shopbest:x", "0", "-1", "WITHSCORES"]), "3\n7\n2\n7\n1\n9");
    assert_eq!(shop.cli(&["ZRANGE", "best", "(7", "+inf", "BYSCORE"]), "3\n1");
    assert_eq!(shop.cli(&["ZRANGE", "best", "+inf", "8", "BYSCORE", "REV", "LIMIT", "1", "1"]), "3");
    assert_eq!(shop.cli(&["ZRANGEBYSCORE", "best", "7", "8"]), "2\n3");
    assert_eq!(shop.cli(&["ZCOUNT", "best", "8", "9"]), "2");
    assert_eq!(shop.cli(&["ZCARD", "best"]), "3");
    assert_eq!(shop.cli(&["ZCARD", "shopbest:y"]), "1");
    assert_eq!(shop.cli(&["ZCARD", "shopbest:z"]), "0");
    assert_eq!(shop.cli(&["ZSCORE", "shopbest:x", "1"]), "9");
    assert_eq!(shop.cli_with(&["--json"], &["ZMSCORE", "best", "1", "7", "2"]), "[9,null,7]");
    assert_eq!(shop.cli_with(&["-3", "--json"], &["ZRANGE", "best", "0", "0", "WITHSCORES"]), r#"[["2",7]]"#);
    assert_eq!(shop.cli(&["GET", "shopbest:x:1"]), r#"{"shop":"x","book":1,"score":9}"#);
    assert!(shop.cli(&["ZRANGE", "best", "0", "5000"]).starts_with("ERR more than 1000"));
    assert!(shop.cli(&["GET", "best"]).starts_with("WRONGTYPE"));
    assert!(shop.cli(&["ZRANGE", "book:1", "0", "1"]).starts_with("WRONGTYPE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_scanned() {
    let shop = Shop::in_memory().await;
    let mut db = shop.source();
    let transaction = db.transaction().unwrap();
    for id in 10..1_010 {
        transaction.execute("INSERT INTO book VALUES (?1, 'b' || ?1, NULL, 1)", [id]).unwrap();
    }
    transaction.commit().unwrap();
    shop.service
        .eventually("the rows are there", async || {
            let last = shop.cli(&["EXISTS", "book:1009", "whole:1009"]);
            if last == "2" { Ok(()) } else { Err(last) }
        })
        .await;
    let keys = |more: &[&str]| -> Vec<String> {
        let args: Vec<&str> = [&["--scan"], more].concat();
        shop.cli_with(&args, &[]).lines().map(str::to_owned).collect()
    };
    let all = keys(&[]);
    let distinct: BTreeSet<&String> = all.iter().collect();
    assert_eq!(all.len(), distinct.len());
    // Books twice, pages, the rankings' documents, and the name of the one ranking that is one.
    assert_eq!(all.len(), 2 * 1_003 + 3 + 3 + 4 + 1);
    shop.service
        .eventually("the documents are counted", async || {
            let size = shop.cli(&["DBSIZE"]);
            if size == (2 * 1_003 + 3 + 3 + 4).to_string() { Ok(()) } else { Err(size) }
        })
        .await;
    assert_eq!(keys(&["--pattern", "book:101*"]).len(), 1);
    assert_eq!(keys(&["--pattern", "*:1009"]).len(), 2);
    assert_eq!(keys(&["--pattern", "page:*"]), ["page:%E:3", "page:100%25:2", "page:a%3Ab:1"]);
    let (next, page): (u64, Vec<String>) = redis::cmd("SCAN")
        .arg(0)
        .arg("COUNT")
        .arg(3)
        .arg("TYPE")
        .arg("zset")
        .query(&mut shop.client())
        .unwrap();
    assert_eq!((next, page), (0, vec!["best".to_owned()]));
    // A cursor can be used again, and from another connection.
    let page = |cursor: u64| -> (u64, Vec<String>) {
        redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(100).query(&mut shop.client()).unwrap()
    };
    let first = page(0);
    assert_eq!(page(first.0).1, page(first.0).1);
    assert!(shop.cli(&["SCAN", "12345"]).starts_with("ERR this cursor is not known"));
    assert!(shop.cli(&["SCAN", "x"]).starts_with("ERR invalid cursor"));
    assert!(shop.cli(&["KEYS", "*"]).contains("use SCAN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said() {
    let shop = Shop::in_memory().await;
    for write in
        [&["SET", "book:1", "x"][..], &["DEL", "book:1"], &["hset", "book:1", "a", "b"], &["FLUSHALL"]]
    {
        let said = shop.cli(write);
        assert!(said.starts_with("READONLY Headwater serves reads; write to the source (SQLite"), "{said}");
    }
    assert_eq!(shop.cli(&["FOO", "a", "b"]), "ERR unknown command 'FOO', with args beginning with: 'a' 'b' ");
    assert_eq!(shop.cli(&["GET"]), "ERR wrong number of arguments for 'get' command");
    assert_eq!(shop.cli(&["GET", "a", "b"]), "ERR wrong number of arguments for 'get' command");
    assert!(shop.cli(&["MULTI"]).starts_with("ERR MULTI is not supported"));
    assert_eq!(shop.cli(&["SELECT", "1"]), "ERR DB index is out of range");
    assert_eq!(shop.cli(&["HELLO", "4"]), "NOPROTO unsupported protocol version");
    assert!(shop.cli(&["AUTH", "x"]).contains("no token is needed"));
    assert_eq!(shop.cli(&["ECHO", "a b"]), "a b");
    assert_eq!(shop.cli(&["PING"]), "PONG");
    assert!(shop.cli(&["INFO"]).contains("headwater_version:"));
    assert!(!shop.cli(&["INFO", "clients"]).contains("headwater_version:"));
    assert_eq!(shop.cli(&["CONFIG", "GET", "save"]), "");
    assert!(shop.cli(&["COMMAND", "COUNT"]).parse::<u32>().unwrap() > 30);
    assert!(shop.cli(&["COMMAND", "DOCS", "get"]).contains("Returns a document as JSON"));
    assert!(shop.cli(&["CLIENT", "INFO"]).contains("resp=2"));

    let mut raw = shop.raw();
    raw.send(b"CLIENT SETNAME me\r\nCLIENT GETNAME\r\nHELLO 3\r\n");
    raw.expect(b"+OK\r\n$2\r\nme\r\n%7\r\n$6\r\nserver\r\n");
    drop(raw);
    let mut raw = shop.raw();
    raw.send(b"GET book:9\r\nRESET\r\nQUIT\r\n");
    raw.expect(b"$-1\r\n+RESET\r\n+OK\r\n");
    assert!(raw.is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_where_one_is_configured() {
    let shop = Shop::new(
        "memory = { url = \"memory:\" }",
        "[serve.tokens]\nweb = { role = \"viewer\", token_file = \"token\" }",
    );
    std::fs::write(shop.service.path("token"), "0123456789abcdef\n").unwrap();
    shop.service.start();
    shop.service.healthy().await;
    assert_eq!(shop.cli(&["GET", "book:1"]), "NOAUTH Authentication required.");
    assert_eq!(shop.cli(&["SET", "a", "b"]), "NOAUTH Authentication required.");
    assert!(shop.cli(&["HELLO", "3"]).starts_with("NOAUTH"));
    assert!(shop.cli(&["AUTH", "wrong"]).starts_with("WRONGPASS"));
    let json = r#"{"id":3,"title":"Nothing","note":"","price":null}"#;
    for who in [&[][..], &["--user", "web"], &["--user", "default"]] {
        let options = [who, &["--no-auth-warning", "--pass", "0123456789abcdef"]].concat();
        assert_eq!(shop.cli_with(&options, &["GET", "book:3"]), json);
    }
    let mut raw = shop.raw();
    raw.send(b"HELLO 3 AUTH web 0123456789abcdef\r\n");
    assert_eq!(raw.line(), "%7");
    // Who has shown no token may send only what is needed to show one.
    let mut raw = shop.raw();
    raw.send(b"*11\r\n");
    assert!(raw.line().contains("invalid multibulk length"));
    assert!(raw.is_closed());
    // RESET forgets the token.
    let mut raw = shop.raw();
    raw.send(b"AUTH 0123456789abcdef\r\nPING\r\nRESET\r\nPING\r\n");
    raw.expect(b"+OK\r\n+PONG\r\n+RESET\r\n-NOAUTH Authentication required.\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_and_a_pipeline_give_the_same_replies() {
    let redis = Redis::start();
    let near = format!("near = {{ url = \"{}\" }}", redis.url());
    let mut seen = Vec::new();
    for store in ["memory = { url = \"memory:\" }", "local = { url = \"sqlite:derived.db\" }", &near] {
        let shop = Shop::start(store, "").await;
        for protocol in ["", "?protocol=resp3"] {
            let mut client = shop.client_of(protocol);
            let mut pipe = redis::pipe();
            for id in 1..=4 {
                pipe.cmd("GET").arg(format!("book:{id}"));
                pipe.cmd("HGETALL").arg(format!("whole:{id}"));
                pipe.cmd("HGET").arg(format!("book:{id}")).arg("title");
            }
            pipe.cmd("MGET").arg(&["book:1", "whole:2", "page:%E:3", "nope"]);
            pipe.cmd("ZREVRANGE").arg("shopbest:x").arg(0).arg(9);
            pipe.cmd("PING");
            pipe.cmd("GET").arg("book:3");
            let replies: Vec<redis::Value> = pipe.query(&mut client).unwrap();
            assert_eq!(replies.len(), 16);
            let one: BTreeMap<String, String> =
                redis::cmd("HGETALL").arg("book:2").query(&mut client).unwrap();
            assert_eq!(one["title"], "Ulysses");
            let plain: Vec<redis::Value> = replies.into_iter().map(flat).collect();
            seen.push(plain);
        }
    }
    assert!(seen.iter().all(|replies| *replies == seen[0]), "{seen:#?}");
}

/// A map as RESP2 gives it.
fn flat(value: redis::Value) -> redis::Value {
    match value {
        redis::Value::Map(pairs) => {
            redis::Value::Array(pairs.into_iter().flat_map(|(name, value)| [name, value]).collect())
        }
        other => other,
    }
}
