//! Answers that are none: problem details (RFC 9457), each of a documented kind and with what to do about it.

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use headwater_flow::serve::Refused;
use serde_json::{Map, Value as Json_, json};

use super::routes::{AFTER, WITHIN};

/// Every kind of problem. Its `type` is `/problems/` and its name, for good: clients tell problems apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NoDocument,
    NoPath,
    UnknownPattern,
    BadParameter,
    OtherHistory,
    Behind,
    TooMuch,
    Overloaded,
    Unavailable,
    Unauthenticated,
    Forbidden,
    ForeignHost,
    MethodNotAllowed,
    NotAcceptable,
}

/// What is said about a kind, here and at its `type`.
struct Words {
    name: &'static str,
    title: &'static str,
    status: StatusCode,
    meaning: &'static str,
}

impl Kind {
    pub const ALL: [Kind; 14] = [
        Kind::NoDocument,
        Kind::NoPath,
        Kind::UnknownPattern,
        Kind::BadParameter,
        Kind::OtherHistory,
        Kind::Behind,
        Kind::TooMuch,
        Kind::Overloaded,
        Kind::Unavailable,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::ForeignHost,
        Kind::MethodNotAllowed,
        Kind::NotAcceptable,
    ];

    #[rustfmt::skip]
    fn words(self) -> Words {
        let (name, title, status, meaning) = match self {
            Kind::NoDocument => ("no-document", "There is no such document", StatusCode::NOT_FOUND,
                "The view has no document under this key, as of the position in the answer's headers. A document that was \
                 written a moment ago may be missing in a store that has not applied it: send the position of the commit \
                 in `Headwater-After`."),
            Kind::NoPath => ("no-path", "There is nothing at this path", StatusCode::NOT_FOUND,
                "Access patterns are at `/v1/NAME`; `/openapi.json` lists them."),
            Kind::UnknownPattern => ("unknown-pattern", "There is no such access pattern", StatusCode::NOT_FOUND,
                "The file has no `[access.NAME]` of this name. `/openapi.json` lists those that it has."),
            Kind::BadParameter => ("bad-parameter", "A parameter or header is wrong", StatusCode::BAD_REQUEST,
                "`parameter` names it, `detail` says what is wrong with it. The same request will fail again."),
            Kind::OtherHistory => ("other-history", "The position is of another history", StatusCode::CONFLICT,
                "The source has become another one since the position was obtained: it was restored, or a standby that \
                 lacked the commit took over. Whether the commit is part of what is there now cannot be known. Look at \
                 the source, or read without the position."),
            Kind::Behind => ("behind", "Nothing new enough within the deadline", StatusCode::GATEWAY_TIMEOUT,
                "No store came as far as the request demands (`Headwater-After`, or the pattern's `stale`) in time, and \
                 the source did not answer in their place. `age_ms` and `transactions` say how far behind the furthest \
                 store is, where known. Try again, allow more time with `Headwater-Within`, or read without the position."),
            Kind::TooMuch => ("too-much", "The request cannot be answered as it is", StatusCode::UNPROCESSABLE_ENTITY,
                "The answer would exceed a bound, or the values do not fit the pattern. Ask for less; `detail` says of \
                 what."),
            Kind::Overloaded => ("overloaded", "Too many requests at once", StatusCode::SERVICE_UNAVAILABLE,
                "No store could answer and the budget that protects the source is used up, or this instance works on as \
                 many requests as it may. Try again after `Retry-After` seconds."),
            Kind::Unavailable => ("unavailable", "Nobody can answer just now", StatusCode::SERVICE_UNAVAILABLE,
                "`tried` says who was asked and why that gave nothing. Try again; `headwater status` says what is wrong."),
            Kind::Unauthenticated => ("unauthenticated", "A token is needed", StatusCode::UNAUTHORIZED,
                "Send `Authorization: Bearer TOKEN` with one of the tokens in `[serve.tokens]`."),
            Kind::Forbidden => ("forbidden", "The token does not allow this", StatusCode::FORBIDDEN,
                "Actions need a token whose role is `operator`, and must not come from another site's page."),
            Kind::ForeignHost => ("foreign-host", "The request is for another host", StatusCode::MISDIRECTED_REQUEST,
                "Without tokens only this machine is answered, under its own names (`localhost`, `127.0.0.1`, `[::1]`): a \
                 page of another site could otherwise read here through its visitor's browser. Use one of these names, \
                 or set tokens."),
            Kind::MethodNotAllowed => ("method-not-allowed", "The path has no such method", StatusCode::METHOD_NOT_ALLOWED,
                "The header `Allow` lists those that it has. Access patterns only read: write to the source."),
            Kind::NotAcceptable => ("not-acceptable", "Answers are JSON", StatusCode::NOT_ACCEPTABLE,
                "The request's `Accept` leaves no room for `application/json`."),
        };
        Words { name, title, status, meaning }
    }
}

/// One answer that is none.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    remedy: Option<String>,
    more: Vec<(&'static str, Json_)>,
    headers: Option<Box<HeaderMap>>,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem { kind, detail: detail.into(), remedy: None, more: Vec::new(), headers: None }
    }

    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Problem {
        self.remedy = Some(remedy.into());
        self
    }

    /// The parameter or header that is wrong.
    #[must_use]
    pub fn parameter(self, name: &str) -> Problem {
        self.with("parameter", json!(name))
    }

    #[must_use]
    fn with(mut self, name: &'static str, value: Json_) -> Problem {
        self.more.push((name, value));
        self
    }

    /// In seconds; at least 1 is said.
    #[must_use]
    pub fn again_after(mut self, seconds: u64) -> Problem {
        self.headers.get_or_insert_default().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        self
    }

    /// Headers beside those of every problem.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Problem {
        self.headers.get_or_insert_default().extend(headers);
        self
    }

    #[cfg(test)]
    pub fn status(&self) -> u16 {
        self.kind.words().status.as_u16()
    }

    /// A refusal of the read path.
    pub fn of(refused: Refused) -> Problem {
        match refused {
            Refused::UnknownPattern { name, meant } => {
                let remedy = match meant {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "look at `/openapi.json`: it lists the access patterns".to_owned(),
                };
                let detail = format!("there is no access pattern `{name}`");
                Problem::new(Kind::UnknownPattern, detail).remedy(remedy)
            }
            Refused::BadParameter { name, message, remedy } => {
                let problem = Problem::new(Kind::BadParameter, format!("parameter `{name}` {message}"))
                    .parameter(&name);
                match remedy {
                    Some(remedy) => problem.remedy(remedy),
                    None => problem.remedy("look at `/openapi.json`: it says what the parameter takes"),
                }
            }
            Refused::OtherHistory(error) => {
                let remedy = error.remedy().unwrap_or(
                    "look at the source whether the commit is there; read without the position to go on",
                );
                Problem::new(Kind::OtherHistory, error.to_string()).remedy(remedy).parameter(AFTER)
            }
            Refused::Behind { waited, age, transactions, unseen } => {
                let mut far = match (age, transactions) {
                    (Some(age), Some(n)) => {
                        format!("; the furthest store is {} ms and {n} transactions behind", millis(age))
                    }
                    _ => String::new(),
                };
                if let Some(xid) = unseen {
                    far += &format!(
                        "; the source does not show transaction {xid} yet, which lies before the position or may"
                    );
                }
                let mut problem = Problem::new(
                    Kind::Behind,
                    format!("nothing new enough within {} ms{far}", millis(waited)),
                )
                .remedy(format!("try again, or allow more time: `{WITHIN}: 5s`"))
                .with("waited_ms", json!(millis(waited)));
                if let Some(age) = age {
                    problem = problem.with("age_ms", json!(millis(age)));
                }
                if let Some(transactions) = transactions {
                    problem = problem.with("transactions", json!(transactions));
                }
                if let Some(xid) = unseen {
                    problem = problem.with("unseen", json!(xid));
                }
                problem
            }
            Refused::TooMuch(error) => {
                let remedy = error.remedy().unwrap_or("ask for less").to_owned();
                Problem::new(Kind::TooMuch, error.to_string()).remedy(remedy)
            }
            Refused::Overloaded { again_after } => {
                Problem::new(Kind::Overloaded, "the budget of reads at the source is used up")
                    .remedy("try again later; raise [serve] source_rate if the source can take more")
                    .again_after(again_after.as_millis().div_ceil(1000).try_into().unwrap_or(60))
            }
            Refused::Unavailable { tried } => {
                let said: Vec<String> = tried.iter().map(|(who, why)| format!("{who}: {why}")).collect();
                let detail = match said.is_empty() {
                    true => "no store holds what the pattern reads".to_owned(),
                    false => said.join("; "),
                };
                let tried: Vec<Json_> =
                    tried.iter().map(|(who, why)| json!({ "store": who, "reason": why })).collect();
                Problem::new(Kind::Unavailable, detail)
                    .remedy("try again; `headwater status` says what each store lacks")
                    .with("tried", json!(tried))
                    .again_after(1)
            }
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let words = self.kind.words();
        let mut said = Map::new();
        said.insert("type".into(), json!(format!("/problems/{}", words.name)));
        said.insert("title".into(), json!(words.title));
        said.insert("status".into(), json!(words.status.as_u16()));
        said.insert("detail".into(), json!(self.detail));
        if let Some(remedy) = self.remedy {
            said.insert("remedy".into(), json!(remedy));
        }
        said.extend(self.more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let mut response = (words.status, Json(said)).into_response();
        let headers = response.headers_mut();
        headers.extend(self.headers.map(|headers| *headers).unwrap_or_default());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.kind == Kind::Unauthenticated {
            let bearer = HeaderValue::from_static("Bearer realm=\"headwater\"");
            // What the gate offers beside it comes behind it.
            if let Some(other) = headers.insert(WWW_AUTHENTICATE, bearer) {
                headers.append(WWW_AUTHENTICATE, other);
            }
        }
        response
    }
}

/// `/problems`: all kinds.
pub async fn list() -> Response {
    page(Kind::ALL.iter().map(|kind| describe(*kind)).collect::<Vec<_>>().join("\n"))
}

/// `/problems/NAME`: what a `type` means.
pub async fn one(Path(name): Path<String>) -> Response {
    match Kind::ALL.into_iter().find(|kind| kind.words().name == name) {
        Some(kind) => page(describe(kind)),
        None => Problem::new(Kind::NoPath, format!("there is no kind of problem `{name}`"))
            .remedy("look at `/problems`: it lists them")
            .into_response(),
    }
}

fn describe(kind: Kind) -> String {
    let Words { name, title, status, meaning } = kind.words();
    format!("/problems/{name}\n{} {title}\n\n{meaning}\n", status.as_u16())
}

fn page(text: String) -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from(text)).into_response()
}

/// For a path that has nothing.
pub async fn no_path() -> Problem {
    Problem::new(Kind::NoPath, "there is nothing at this path")
        .remedy("access patterns are at `/v1/NAME`; `/openapi.json` lists them")
}

/// For a method that a path does not have; axum adds `Allow`.
pub async fn no_method() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "the path does not have this method")
        .remedy(format!("use one of those in `{ALLOW}`; access patterns only read: write to the source"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_is_documented() {
        let documented = include_str!("../../../../docs/http.md");
        for (i, kind) in Kind::ALL.into_iter().enumerate() {
            let words = kind.words();
            assert!(Kind::ALL[..i].iter().all(|other| other.words().name != words.name));
            let row = format!("| `/problems/{}` | {} |", words.name, words.status.as_u16());
            assert!(documented.contains(&row), "docs/http.md lacks {row}");
            assert!(!words.meaning.contains("  "), "{}", words.meaning);
        }
    }
}
