//! Clients as people use them, unmodified.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::site::Shop;

/// What `cargo xtask test` installs for us.
fn installed(name: &str) -> PathBuf {
    // The program under test lies in `target/PROFILE`.
    let target = Path::new(env!("CARGO_BIN_EXE_headwater")).ancestors().nth(2).unwrap();
    let path = target.join(name);
    assert!(path.exists(), "{} is missing: `cargo xtask test` makes it", path.display());
    path
}

#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}{err}");
    out.into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_benchmark_runs_to_its_end() {
    let shop = Shop::in_memory().await;
    for command in [&["GET", "book:1"][..], &["HGETALL", "whole:1"], &["PING"]] {
        for pipeline in ["1", "16", "64"] {
            let port = shop.port.to_string();
            let said = output(
                Command::new("redis-benchmark")
                    .args(["-p", &port, "-n", "20000", "-c", "20", "-P", pipeline, "-q"])
                    .args(command),
            );
            assert!(said.contains("requests per second"), "{said}");
            assert!(!said.contains("rror"), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_py_reads_over_both_protocols() {
    let shop = Shop::in_memory().await;
    const PROGRAM: &str = r#"
import json, sys, redis
for protocol in (2, 3):
    r = redis.Redis(port=int(sys.argv[1]), protocol=protocol, decode_responses=True, client_name="test")
    assert r.ping()
    assert json.loads(r.get("book:2"))["title"] == "Ulysses"
    assert r.hgetall("book:2") == {"id": "2", "title": "Ulysses", "note": "é\n:", "price": "19"}
    assert r.hmget("book:1", "id", "note") == ["1", None]
    assert r.mget("book:9", "book:3")[0] is None
    assert r.exists("book:1", "book:9") == 1
    assert r.ttl("book:1") == -1 and r.type("best") == "zset"
    best = [(member, score) for member, score in r.zrange("best", 0, 1, desc=True, withscores=True)]
    assert best == [("1", 9.0), ("3", 8.0)], best
    assert r.zscore("best", "1") == 9.0
    assert sorted(r.scan_iter("book:*", count=2)) == ["book:1", "book:2", "book:3"]
    with r.pipeline(transaction=False) as pipe:
        pipe.get("book:1").hget("book:2", "title").zcard("best")
        assert pipe.execute()[1:] == ["Ulysses", 3]
    try:
        r.set("book:1", "x")
        assert False
    except redis.exceptions.ReadOnlyError as error:
        assert "write to the source" in str(error)
    assert r.info()["redis_mode"] == "standalone"
    assert r.client_getname() == "test"
    r.close()
print("fine")
"#;
    let said =
        output(Command::new(installed("python/bin/python")).args(["-c", PROGRAM, &shop.port.to_string()]));
    assert_eq!(said, "fine\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn ioredis_reads_and_pipelines() {
    let shop = Shop::in_memory().await;
    const PROGRAM: &str = r#"
const Redis = require("ioredis");
const assert = require("assert");
(async () => {
  const r = new Redis(Number(process.argv[1]), "127.0.0.1", { enableAutoPipelining: true });
  assert.equal(JSON.parse(await r.get("book:2")).title, "Ulysses");
  assert.deepEqual(await r.hgetall("book:2"), { id: "2", title: "Ulysses", note: "é\n:", price: "19" });
  const many = await Promise.all(Array.from({ length: 500 }, (_, i) => r.hget("book:" + (1 + i % 3), "id")));
  assert.deepEqual(many.slice(0, 4), ["1", "2", "3", "1"]);
  assert.deepEqual(await r.zrevrange("best", 0, 0, "WITHSCORES"), ["1", "9"]);
  const keys = [];
  for await (const page of r.scanStream({ match: "page:*" })) keys.push(...page);
  assert.equal(keys.length, 3);
  await assert.rejects(r.set("book:1", "x"), /READONLY/);
  await r.quit();
  console.log("fine");
})().catch((error) => { console.error(error); process.exit(1); });
"#;
    let said = output(Command::new("node").env("NODE_PATH", installed("node/node_modules")).args([
        "-e",
        PROGRAM,
        &shop.port.to_string(),
    ]));
    assert_eq!(said, "fine\n");
}
