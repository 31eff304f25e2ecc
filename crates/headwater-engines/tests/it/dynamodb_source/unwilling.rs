//! What the service refuses, put between the source and the real one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::{ScalarAttributeType, StreamViewType};
use headwater_model::ErrorKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const COLUMNS: &[(&str, &[(&str, &str)])] = &[("c", &[("v", "integer")])];

/// Answers an operation of the streams with an error so many times, and hands everything else on.
#[derive(Default)]
struct Fault {
    /// The operation and the error.
    what: Mutex<(&'static str, &'static str)>,
    times: AtomicU32,
}

impl Fault {
    fn set(&self, operation: &'static str, error: &'static str, times: u32) {
        *self.what.lock().unwrap() = (operation, error);
        self.times.store(times, Ordering::SeqCst);
    }

    /// The error for a request, if it is to have one.
    fn of(&self, head: &str) -> Option<&'static str> {
        let (operation, error) = *self.what.lock().unwrap();
        let head = head.to_ascii_lowercase();
        let is_it = !operation.is_empty() && head.contains(&format!(".{}", operation.to_ascii_lowercase()));
        let one = || self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        (is_it && one().is_ok()).then_some(error)
    }
}

async fn between(fault: Arc<Fault>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let fault = fault.clone();
            tokio::spawn(async move { serve(client, &fault).await });
        }
    });
    format!("http://{address}")
}

/// Requests of one connection, one after the other. Any failure ends it, and the source connects again.
async fn serve(mut client: TcpStream, fault: &Fault) -> Option<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server().port())).await.ok()?;
    loop {
        let (head, body) = message(&mut client).await?;
        if let Some(error) = fault.of(&head) {
            let said =
                format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{error}","message":"as told"}}"#);
            let answer = format!(
                "HTTP/1.1 400 Bad Request\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{said}",
                said.len()
            );
            client.write_all(answer.as_bytes()).await.ok()?;
            continue;
        }
        server.write_all(head.as_bytes()).await.ok()?;
        server.write_all(&body).await.ok()?;
        let (head, body) = message(&mut server).await?;
        client.write_all(head.as_bytes()).await.ok()?;
        client.write_all(&body).await.ok()?;
    }
}

/// The head with its empty line, and as many bytes as it says.
async fn message(from: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_trimmed_is_a_gap_and_an_iterator_that_ran_out_is_asked_for_anew() {
    let account = Account::new();
    let table = account.table("c", ScalarAttributeType::S, None).await;
    let fault = Arc::new(Fault::default());
    let endpoint = between(fault.clone()).await;
    let mut section = account.section(COLUMNS);
    section.settings.insert("streams_endpoint".into(), Setting::Text(Secret::new(endpoint)));
    let mut log = Log::of(headwater_engines::source(&section).unwrap(), &[&table], None).await;
    account.put(&table, &[("id", text("a")), ("v", number(1))]).await;
    assert_eq!(log.changes().await.len(), 1);

    fault.set("GetRecords", "ExpiredIteratorException", 1);
    account.put(&table, &[("id", text("a")), ("v", number(2))]).await;
    assert_eq!(log.changes().await.len(), 1, "neither lost nor twice");

    fault.set("GetRecords", "ProvisionedThroughputExceededException", 2);
    account.put(&table, &[("id", text("a")), ("v", number(3))]).await;
    assert_eq!(log.changes().await.len(), 1, "throttled: asked again");

    fault.set("GetRecords", "ExpiredTokenException", 1);
    let denied = log.end().await;
    assert_eq!(denied.kind(), ErrorKind::Denied, "{denied}");
    assert!(denied.remedy().unwrap().contains("credentials"), "{denied}");

    let after = log.last.clone();
    let mut log = Log::of(log.source, &[&table], after.as_ref()).await;
    fault.set("GetRecords", "TrimmedDataAccessException", 1);
    let gap = log.end().await;
    assert_eq!(gap.kind(), ErrorKind::OutOfStep, "{gap}");
    assert!(gap.to_string().contains(&*table) && gap.to_string().contains("24 hours"), "{gap}");

    fault.set("GetShardIterator", "TrimmedDataAccessException", 1);
    let gap = match log.source.follow(after.as_ref()).await {
        Err(gap) => gap,
        Ok(mut follow) => loop {
            if let Err(gap) = follow.next().await {
                break gap;
            }
        },
    };
    assert_eq!(gap.kind(), ErrorKind::OutOfStep, "{gap}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_without_news_is_asked_anew_from_its_join_and_a_gap_once_that_cannot_be_told() {
    let account = Account::new();
    let table = account.table("c", ScalarAttributeType::S, None).await;
    account.put(&table, &[("id", text("a")), ("v", number(1))]).await;
    let fault = Arc::new(Fault::default());
    let endpoint = between(fault.clone()).await;
    let mut section = account.section(COLUMNS);
    section.settings.insert("streams_endpoint".into(), Setting::Text(Secret::new(endpoint)));
    let source = headwater_engines::source(&section).unwrap();
    let mut log = Log::of(source.clone(), &[&table], None).await;
    assert_eq!(log.changes().await, []);
    fault.set("GetRecords", "ExpiredIteratorException", 1);
    assert_eq!(log.changes().await, [], "what lay there before is not told");
    let after = log.last.clone();

    // Where it went on last, and then where it was joined.
    fault.set("GetRecords", "ExpiredIteratorException", 2);
    let gap = log.end().await;
    assert_eq!(gap.kind(), ErrorKind::OutOfStep, "{gap}");
    assert!(gap.to_string().contains(&*table) && gap.to_string().contains("not known any more"), "{gap}");

    // Otherwise it is as good as on the first day.
    account.put(&table, &[("id", text("a")), ("v", number(2))]).await;
    let mut log = Log::of(source, &[&table], after.as_ref()).await;
    assert_eq!(log.changes().await.len(), 1);
    fault.set("GetRecords", "ExpiredIteratorException", 2);
    assert_eq!(log.changes().await, [], "it has a number by now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_named_with_the_command_that_makes_it() {
    let account = Account::new();
    let table = account.bare("c", ScalarAttributeType::S, None).await;
    let mut section = account.section(COLUMNS);
    section.settings.insert("create".into(), Setting::Bool(false));
    let source = headwater_engines::source(&section).unwrap();
    let lineage = source.lineage(None).await.unwrap();
    assert!(lineage.system.ends_with("/none"), "{}", lineage.system);
    let error = source.prepare(&[name(&table)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    let remedy = error.remedy().unwrap();
    assert!(remedy.contains("create-table") && remedy.contains(&account.state_table()), "{remedy}");

    // With leave, the table and the stream are made.
    let willing = account.source(COLUMNS);
    assert_eq!(willing.prepare(&[name(&table)]).await.unwrap(), [name(&table)]);
    let other = account.bare("d", ScalarAttributeType::S, None).await;
    account.stream(&other, Some(StreamViewType::NewImage)).await;
    section.settings.insert("columns".into(), account.section(&[("d", &[])]).settings["columns"].clone());
    let source = headwater_engines::source(&section).unwrap();
    let error = source.prepare(&[name(&other)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.remedy().unwrap().contains("StreamEnabled=false"), "{error}");
    let error = source.prepare(&[name(&table)]).await.unwrap_err();
    assert!(error.remedy().unwrap().contains("[source.columns]"), "{error}");
    let error = source.prepare(&[name("nowhere")]).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no table nowhere");
}
