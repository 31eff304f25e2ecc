//! Each engine's own way of taking many rows. What is sent is made before the clock starts, where a tool reads it from a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use headwater_testkit::{Folder, InfluxDb, MariaDb, MongoDb, Postgres, Redis};
use serde_json::json;

use super::rows::{Rows, filler, nanoseconds};

/// Requests that are under way at once, where one alone waits most of the time.
const PARALLEL: usize = 8;

/// `redis-cli --pipe`, an HSET per row.
pub fn redis(server: &Redis, rows: &Rows) -> anyhow::Result<Duration> {
    let folder = Folder::new("bulk");
    let path = folder.join("commands.resp");
    let mut out = std::io::BufWriter::new(File::create(&path)?);
    let mut failed = None;
    rows.each(|aid, bid, balance| {
        let words = [
            "HSET".to_owned(),
            format!("account:{aid}"),
            "aid".into(),
            aid.to_string(),
            "bid".into(),
            bid.to_string(),
            "balance".into(),
            balance.to_string(),
            "filler".into(),
            filler().into(),
        ];
        let mut command = format!("*{}\r\n", words.len());
        for word in &words {
            let _ = write!(command, "${}\r\n{word}\r\n", word.len());
        }
        failed = failed.take().or(out.write_all(command.as_bytes()).err());
    });
    failed.map_or(Ok(()), Err)?;
    out.flush()?;
    let started = Instant::now();
    let output =
        server.tool().arg("--pipe").stdin(File::open(&path)?).output().context("redis-cli --pipe")?;
    let took = started.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(text.contains(&format!("errors: 0, replies: {}", rows.count)), "{text}");
    Ok(took)
}

/// Rows with tabs between their cells.
fn tabbed(rows: &Rows, folder: &Folder) -> anyhow::Result<std::path::PathBuf> {
    let path = folder.join("rows.tsv");
    let mut text = String::new();
    rows.each(|aid, bid, balance| {
        let _ = writeln!(text, "{aid}\t{aid}\t{bid}\t{balance}\t{}", filler());
    });
    std::fs::write(&path, text)?;
    Ok(path)
}

/// COPY into a table like a view's.
pub fn postgres(server: &Postgres, rows: &Rows) -> anyhow::Result<Duration> {
    let folder = Folder::new("bulk");
    let path = tabbed(rows, &folder)?;
    server.psql(
        "CREATE TABLE bulk (key text COLLATE \"C\" PRIMARY KEY, aid bigint, bid bigint, balance bigint, filler text)",
    );
    let mut command = server.tool("psql");
    command.args(["-c", "COPY bulk FROM STDIN"]).stdin(File::open(&path)?);
    timed(command, "COPY")
}

/// LOAD DATA LOCAL into a table like a view's.
pub fn mariadb(server: &MariaDb, rows: &Rows) -> anyhow::Result<Duration> {
    let folder = Folder::new("bulk");
    let path = tabbed(rows, &folder)?;
    server.sql(
        "CREATE TABLE bulk (k VARBINARY(3072) PRIMARY KEY, aid BIGINT, bid BIGINT, balance BIGINT, \
         filler LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin) ENGINE = InnoDB",
    );
    let mut command = Command::new("mariadb");
    let load = format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE bulk CHARACTER SET utf8mb4", path.display());
    command
        .args([
            "--no-defaults",
            "--local-infile=1",
            "-h",
            "127.0.0.1",
            "-u",
            "root",
            "-D",
            "app",
            "-e",
            &load,
        ])
        .args(["-P", &server.port().to_string()]);
    let took = timed(command, "LOAD DATA")?;
    ensure!(server.sql("SELECT COUNT(*) FROM bulk") == rows.count.to_string(), "not all rows were loaded");
    Ok(took)
}

fn timed(mut command: Command, what: &str) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().context("start the client")?;
    let took = started.elapsed();
    ensure!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(took)
}

/// BatchWriteItem, 25 items each, several under way.
pub fn dynamodb(port: u16, rows: &Rows) -> anyhow::Result<Duration> {
    let mut server = Http::open(port)?;
    server.dynamodb(
        "CreateTable",
        &json!({
            "TableName": "bulk", "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{ "AttributeName": "k", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "k", "KeyType": "HASH" }],
        })
        .to_string(),
    )?;
    let (mut requests, mut items) = (Vec::new(), Vec::new());
    rows.each(|aid, bid, balance| {
        items.push(json!({ "PutRequest": { "Item": {
            "k": { "S": aid.to_string() }, "aid": { "N": aid.to_string() }, "bid": { "N": bid.to_string() },
            "balance": { "N": balance.to_string() }, "filler": { "S": filler() },
        } } }));
        if items.len() == 25 {
            requests.push(json!({ "RequestItems": { "bulk": std::mem::take(&mut items) } }).to_string());
        }
    });
    if !items.is_empty() {
        requests.push(json!({ "RequestItems": { "bulk": items } }).to_string());
    }
    let started = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (requests.chunks(requests.len().div_ceil(PARALLEL)))
            .map(|requests| {
                scope.spawn(move || -> anyhow::Result<()> {
                    let mut server = Http::open(port)?;
                    for request in requests {
                        let answer = server.dynamodb("BatchWriteItem", request)?;
                        ensure!(answer.contains("\"UnprocessedItems\":{}"), "{answer}");
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker ends"))
    })?;
    Ok(started.elapsed())
}

/// One connection that stays open.
struct Http {
    stream: BufReader<TcpStream>,
}

impl Http {
    fn open(port: u16) -> anyhow::Result<Http> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Http { stream: BufReader::new(stream) })
    }

    /// The local server takes any signature.
    fn dynamodb(&mut self, action: &str, body: &str) -> anyhow::Result<String> {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.0\r\n\
             X-Amz-Target: DynamoDB_20120810.{action}\r\nX-Amz-Date: 20260101T000000Z\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
             SignedHeaders=host, Signature=0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (String::new(), 0);
        self.stream.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse()?
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        let answer = String::from_utf8(answer)?;
        ensure!(status.contains(" 200 "), "{status}{answer}");
        Ok(answer)
    }
}

/// mongoimport, of a JSON document per line.
pub fn mongodb(server: &MongoDb, rows: &Rows) -> anyhow::Result<Duration> {
    let mut lines = String::new();
    rows.each(|aid, bid, balance| {
        let _ = writeln!(
            lines,
            "{{\"_id\":\"{aid}\",\"aid\":{aid},\"bid\":{bid},\"balance\":{balance},\"filler\":\"{}\"}}",
            filler()
        );
    });
    let folder = Folder::new("bulk");
    let file = folder.path().join("rows.json");
    std::fs::write(&file, lines)?;
    let started = Instant::now();
    server.import("bench", "bulk", &file);
    Ok(started.elapsed())
}

/// The line protocol, as many lines to a request as its documentation recommends.
pub fn influxdb(server: &InfluxDb, rows: &Rows) -> anyhow::Result<Duration> {
    let (mut requests, mut lines, mut count) = (Vec::new(), String::new(), 0);
    rows.each(|aid, bid, balance| {
        let _ = writeln!(
            lines,
            "bulk,bid={bid} aid={aid}i,balance={balance}i,filler=\"{}\" {}",
            filler(),
            nanoseconds(aid)
        );
        count += 1;
        if count == 5000 {
            requests.push(std::mem::take(&mut lines));
            count = 0;
        }
    });
    requests.push(lines);
    let started = Instant::now();
    for lines in requests.iter().filter(|lines| !lines.is_empty()) {
        let answer = server.write("bench", lines);
        ensure!(answer.contains(" 204 "), "{answer}");
    }
    Ok(started.elapsed())
}

/// UNWIND of a thousand rows to a statement, all of them pipelined.
pub fn falkordb(server: &Redis, rows: &Rows) -> anyhow::Result<Duration> {
    let (mut statements, mut items) = (Vec::new(), Vec::new());
    let statement = |items: &mut Vec<String>| {
        format!(
            "UNWIND [{}] AS row CREATE (:Bulk {{key: row[0], aid: row[1], bid: row[2], balance: row[3], filler: row[4]}})",
            std::mem::take(items).join(",")
        )
    };
    rows.each(|aid, bid, balance| {
        items.push(format!("['{aid}',{aid},{bid},{balance},'{}']", filler()));
        if items.len() == 1000 {
            statements.push(statement(&mut items));
        }
    });
    if !items.is_empty() {
        statements.push(statement(&mut items));
    }
    let mut connection = redis::Client::open(server.url())?.get_connection()?;
    redis::cmd("GRAPH.QUERY")
        .arg("bulk")
        .arg("CREATE INDEX FOR (b:Bulk) ON (b.key)")
        .exec(&mut connection)?;
    let started = Instant::now();
    for statements in statements.chunks(16) {
        let mut pipe = redis::pipe();
        for statement in statements {
            pipe.cmd("GRAPH.QUERY").arg("bulk").arg(statement).ignore();
        }
        pipe.exec(&mut connection)?;
    }
    Ok(started.elapsed())
}
