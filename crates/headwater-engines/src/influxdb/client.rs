//! Points to the server and statements back, over HTTP.
//!
//! Points go by `/write`, or by `/api/v2/write` where the store has an organization. Statements are InfluxQL at `/query`,
//! which InfluxDB 1.x and 2.x both answer.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use headwater_model::{Error, ErrorKind, Result};
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value as Json;

use super::config::{Config, Login};
use super::failure;
use crate::http::Connections;

/// Bytes and points of one request for writing; the server takes 25 MB by default, and works best with some thousand points.
const WRITE_BYTES_MAX: usize = 4 << 20;
const WRITE_POINTS_MAX: usize = 2_500;

/// Requests that are under way at once, where their order means nothing.
const TOGETHER: usize = 4;

/// What is said of statements behind one that failed.
const NOT_EXECUTED: &str = "not executed";

/// Statements in one request.
const STATEMENTS_MAX: usize = 500;

pub(super) struct Client {
    config: Config,
    connections: Connections,
    headers: Vec<(String, String)>,
}

/// What one statement gave: rows of columns, the first of which is the time in nanoseconds.
pub(super) type Rows = Vec<Vec<Json>>;

/// Points, each a line without its end.
pub(super) type Lines<'a> = dyn Iterator<Item = String> + Send + 'a;

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    results: Vec<Outcome>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    series: Vec<Series>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    values: Rows,
    #[serde(default)]
    partial: bool,
}

impl Client {
    pub(super) fn new(config: Config) -> Client {
        let server = config.server.clone();
        let mut headers = vec![("host".to_owned(), format!("{}:{}", server.host, server.port))];
        match &config.login {
            Login::Nobody => {}
            Login::Token(token) => {
                headers.push(("authorization".to_owned(), format!("Token {}", token.reveal())));
            }
            Login::Password { user, password } => {
                let basic = BASE64.encode(format!("{user}:{}", password.reveal()));
                headers.push(("authorization".to_owned(), format!("Basic {basic}")));
            }
        }
        Client { config, connections: Connections::new(server), headers }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The version, as the server says it to anybody.
    pub(super) async fn version(&self) -> Result<String> {
        let (status, headers, _) =
            self.connections.send_for_headers(Method::GET, "/ping", &self.headers, Bytes::new()).await?;
        match headers.get("x-influxdb-version").and_then(|version| version.to_str().ok()) {
            Some(version) => Ok(version.to_owned()),
            None if status < 500 => Err(Error::misconfigured("what answers there is no InfluxDB")
                .with_remedy("check host and port of the store's URL")),
            None => Err(Error::transient(format!("the server answered a ping with status {status}"))),
        }
    }

    /// Writes points, each a line without its end, in their order and in as many requests as it takes.
    pub(super) async fn write(&self, lines: &mut Lines<'_>) -> Result<()> {
        for body in bodies(lines) {
            self.write_body(body).await?;
        }
        Ok(())
    }

    /// As [`Client::write`], in any order: several requests at once. Where one fails the others are waited for, so that none of them
    /// comes late.
    pub(super) async fn write_in_any_order(&self, lines: &mut Lines<'_>) -> Result<()> {
        let (mut under_way, mut result) = (FuturesUnordered::new(), Ok(()));
        for body in bodies(lines) {
            under_way.push(self.write_body(body));
            // Being looked at sends it off, before the next one is made.
            let mut done = under_way.next().now_or_never().flatten();
            if done.is_none() && under_way.len() >= TOGETHER {
                done = under_way.next().await;
            }
            result = done.unwrap_or(Ok(()));
            if result.is_err() {
                break;
            }
        }
        while let Some(done) = under_way.next().await {
            result = result.and(done);
        }
        result
    }

    async fn write_body(&self, body: String) -> Result<()> {
        let database = encoded(&self.config.database);
        let path = match &self.config.org {
            Some(org) => format!("/api/v2/write?org={}&bucket={database}&precision=ns", encoded(org)),
            None => format!("/write?db={database}&precision=ns"),
        };
        let mut headers = self.headers.clone();
        headers.push(("content-type".to_owned(), "text/plain; charset=utf-8".to_owned()));
        let body = if self.config.gzip {
            headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
            let packed = encoder.write_all(body.as_bytes()).and_then(|()| encoder.finish());
            packed.map_err(|e| Error::bug("compress points").with_cause(e))?
        } else {
            body.into_bytes()
        };
        let (status, answer) =
            self.connections.send(Method::POST, &path, &headers, Bytes::from(body)).await?;
        match status {
            200..300 => Ok(()),
            _ => Err(failure::from_answer("write points", status, &answer)),
        }
    }

    /// Runs statements in their order, and gives the rows of each. `OutOfStep` if there is no such database.
    pub(super) async fn ask(&self, statements: &[String]) -> Result<Vec<Rows>> {
        let mut all = Vec::with_capacity(statements.len());
        for part in statements.chunks(STATEMENTS_MAX) {
            all.extend(self.ask_part(part).await?);
        }
        Ok(all)
    }

    /// As [`Client::ask`], of questions that may be answered in any order: several requests at once.
    pub(super) async fn ask_in_any_order(&self, questions: &[String]) -> Result<Vec<Rows>> {
        let parts: Vec<_> = questions.chunks(STATEMENTS_MAX).map(|part| self.ask_part(part)).collect();
        stream::iter(parts).buffered(TOGETHER).try_concat().await
    }

    async fn ask_part(&self, part: &[String]) -> Result<Vec<Rows>> {
        let rows = match self.ask_once(&part.join(";")).await {
            // InfluxDB says this in place of what was wrong with an earlier one.
            Err(error) if part.len() > 1 && error.to_string().contains(NOT_EXECUTED) => {
                let mut rows = Vec::with_capacity(part.len());
                for statement in part {
                    rows.extend(self.ask_once(statement).await?);
                }
                rows
            }
            rows => rows?,
        };
        if rows.len() != part.len() {
            return Err(Error::bug(format!(
                "{} statements were answered with {} results",
                part.len(),
                rows.len()
            )));
        }
        Ok(rows)
    }

    /// As [`Client::ask`], of one.
    pub(super) async fn ask_one(&self, statement: String) -> Result<Rows> {
        Ok(self.ask(&[statement]).await?.pop().unwrap_or_default())
    }

    async fn ask_once(&self, statements: &str) -> Result<Vec<Rows>> {
        let path = format!("/query?db={}&epoch=ns", encoded(&self.config.database));
        let mut headers = self.headers.clone();
        headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
        let body = Bytes::from(format!("q={}", encoded(statements)));
        let (status, answer) = self.connections.send(Method::POST, &path, &headers, body).await?;
        let reply: Reply = match serde_json::from_slice(&answer) {
            Ok(reply) => reply,
            Err(_) if status != 200 => return Err(failure::from_answer("ask", status, &answer)),
            Err(e) => return Err(Error::transient("the server's answer cannot be read").with_cause(e)),
        };
        if let Some(said) = reply.error {
            return Err(failed(said, status));
        }
        if status != 200 {
            return Err(failure::from_answer("ask", status, &answer));
        }
        let mut all = Vec::with_capacity(reply.results.len());
        for outcome in reply.results {
            if let Some(said) = outcome.error {
                return Err(failed(said, status));
            }
            let mut rows = Vec::new();
            for series in outcome.series {
                if series.partial {
                    return Err(failure::from_text(
                        "the answer was cut at the server's max-row-limit".into(),
                        200,
                    ));
                }
                rows.extend(series.values);
            }
            all.push(rows);
        }
        Ok(all)
    }
}

/// Lines as the bodies of requests, made while they are sent.
fn bodies(lines: &mut Lines<'_>) -> impl Iterator<Item = String> {
    let (mut lines, mut room) = (lines.peekable(), 0);
    std::iter::from_fn(move || {
        let (mut body, mut points) = (String::with_capacity(room), 0);
        while let Some(line) = lines.next_if(|line| {
            points == 0 || points < WRITE_POINTS_MAX && body.len() + line.len() <= WRITE_BYTES_MAX
        }) {
            body.push_str(&line);
            body.push('\n');
            points += 1;
        }
        room = body.len();
        (points > 0).then_some(body)
    })
}

fn failed(said: String, status: u16) -> Error {
    if failure::is_missing(&said) {
        return Error::new(ErrorKind::OutOfStep, format!("ask: {said}"))
            .with_remedy("create the database, or give the store create = true");
    }
    failure::from_text(format!("ask: {said}"), status)
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
