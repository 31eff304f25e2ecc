//! Statements as requests, and what the replies hold.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use headwater_model::{Error, Result, Risk, Severity};
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;

use super::config::Config;
use super::failure;
use super::sign::{Signer, Unsigned};
use crate::graph::{self, Bounds, Cell, Indexed, Row, Statement};
use crate::http::{Connections, Server};

const FORM: &str = "application/x-www-form-urlencoded";

pub(super) struct Database {
    config: Config,
    connections: Connections,
    signer: Signer,
}

impl Database {
    pub(super) fn new(config: Config) -> Database {
        let server = Server {
            host: config.host.clone(),
            port: config.port,
            tls: config.tls,
            tls_ca: config.tls_ca.clone(),
            request_within: config.request_within,
        };
        Database { config, connections: Connections::new(server), signer: Signer::default() }
    }

    async fn ask(&self, method: Method, path: &str, body: String) -> Result<Json> {
        let host = format!("{}:{}", self.config.host, self.config.port);
        let mut headers = vec![("host".to_owned(), host.clone())];
        if method == Method::POST {
            headers.push(("content-type".to_owned(), FORM.to_owned()));
        }
        if self.config.iam {
            let pairs: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            let url = format!("https://{host}{path}");
            let unsigned =
                Unsigned { method: method.as_str(), url: &url, headers: &pairs, body: body.as_bytes() };
            let signed = self.signer.headers(&self.config, &unsigned, SystemTime::now()).await?;
            headers.extend(signed);
        }
        let body = Bytes::from(body);
        let (status, answer) = self.connections.send(method, path, &headers, body).await?;
        let json = serde_json::from_slice(&answer);
        match status {
            200 => json.map_err(|e| {
                Error::misconfigured("the answer is not JSON")
                    .with_cause(e)
                    .with_remedy("check host and port of the store's URL")
            }),
            _ => Err(failure::from_answer(status, json.ok().as_ref())),
        }
    }
}

/// Statement and parameters as a form.
fn form(statement: &Statement) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    format!("query={}&parameters={}", encoded(&statement.text), encoded(&statement.json_params()))
}

fn cell(json: Option<&mut Json>) -> Result<Cell> {
    match json.map(Json::take) {
        None | Some(Json::Null) => Ok(Cell::Null),
        Some(Json::String(text)) => Ok(Cell::Text(text)),
        Some(Json::Number(number)) => {
            Ok(number.as_i64().map_or_else(|| Cell::Text(number.to_string()), Cell::Int))
        }
        Some(other) => Err(Error::bug(format!("an answer holds {other} where a value was asked for"))),
    }
}

#[async_trait]
impl graph::Database for Database {
    fn bounds(&self) -> Bounds {
        self.config.bounds
    }

    async fn look(&self) -> Result<(String, Vec<Risk>)> {
        let status = self.ask(Method::GET, "/status", String::new()).await?;
        let version = status["dbEngineVersion"].as_str().unwrap_or("?");
        let mut risks = vec![Risk {
            severity: Severity::Note,
            what: "Headwater's requests to Neptune were tested against what AWS documents and another openCypher engine, \
                   not against a cluster"
                .to_owned(),
            remedy: "run `headwater verify` after the first fill, and report what differs".to_owned(),
        }];
        if status["role"].as_str().is_some_and(|role| role != "writer") {
            risks.push(Risk {
                severity: Severity::Error,
                what: "this is a reader instance: it takes no writes".to_owned(),
                remedy: "put the cluster's writer endpoint into the store's URL".to_owned(),
            });
        }
        Ok((format!("Neptune {version}"), risks))
    }

    async fn run(&self, statement: Statement) -> Result<Vec<Row>> {
        let mut answer = self.ask(Method::POST, "/openCypher", form(&statement)).await?;
        let Json::Array(results) = answer["results"].take() else {
            return Err(Error::bug("an answer has no results"));
        };
        let row = |mut result: Json| {
            statement.columns.iter().map(|column| cell(result.get_mut(column))).collect::<Result<Row>>()
        };
        results.into_iter().map(row).collect()
    }

    /// Neptune indexes every property.
    async fn index(&self, on: Indexed<'_>) -> Result<()> {
        on.pattern().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::Param;

    use super::*;

    #[test]
    fn a_request_is_a_form_of_statement_and_parameters() {
        let statement = Statement::read("MATCH (n:`a b`) RETURN n", &["n"])
            .with("keys", Param::List(vec![Param::text("a&b=\"c\""), Param::Int(1)]));
        assert_eq!(
            form(&statement),
            "query=MATCH%20%28n%3A%60a%20b%60%29%20RETURN%20n\
             &parameters=%7B%22keys%22%3A%5B%22a%26b%3D%5C%22c%5C%22%22%2C1%5D%7D"
        );
    }
}
