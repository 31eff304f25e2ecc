//! `GET /v1/PATTERN`: an access pattern, answered as JSON.
//!
//! JSON texts go out as the stores hold them: a number passes through no type that could round it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use headwater_flow::serve::{Ask, Content, Refused, Serving, Shown, WITHIN_MAX};
use headwater_model::file::parse_duration;
use headwater_model::nearest;

use super::problem::{Kind, Problem};
use super::query;
use super::routes::{AFTER, WITHIN};
use super::site::{Flow, Site};
use crate::positions;

const STORE_HEADER: HeaderName = HeaderName::from_static("headwater-store");
const POSITION_HEADER: HeaderName = HeaderName::from_static("headwater-position");
const AGE_HEADER: HeaderName = HeaderName::from_static("headwater-age-ms");

/// Behind the name of a `get`: several documents at once.
pub const BATCH: &str = ":batchGet";

/// What `Headwater-Store` says of an answer of the source itself; no store can be called this.
const SOURCE: &str = "source";

pub async fn answer(State(site): State<Arc<Site>>, request: Request) -> Response {
    let path = request.uri().path();
    let name = query::decode(&path["/v1/".len()..]).unwrap_or_default();
    let (pattern, batch) = match name.strip_suffix(BATCH) {
        Some(pattern) => (pattern, true),
        None => (&*name, false),
    };
    let traced = site.telemetry.as_ref().and_then(|telemetry| telemetry.request(request.headers()));
    let method = request.method().clone();
    let flow = site.flow_of(pattern);
    let ask = flow.opened().and_then(|open| {
        takes_json(request.headers())?;
        let after = after(&site, flow, request.headers())?;
        ask(&open.serving, &request, after, if batch { query::batch } else { query::pairs })
    });
    let read = read(&site, flow, pattern, batch, ask);
    let Some(traced) = traced else { return read.await.into_response() };
    let mut response = traced.trace.of(Box::pin(read)).await.into_response();
    let known = site.patterns().any(|known| *known == *pattern);
    traced.answered(method.as_str(), known.then_some(pattern), if batch { BATCH } else { "" }, &mut response);
    response
}

async fn read(
    site: &Site,
    flow: &Flow,
    name: &str,
    batch: bool,
    ask: Result<Ask, Problem>,
) -> Result<Response, Problem> {
    let (open, ask) = (flow.opened()?, ask?);
    let reply = match batch {
        true => open.serving.answer_batch(name, &ask).await,
        false => open.serving.answer(name, &ask).await,
    };
    let reply = reply.map_err(|refused| match refused {
        // The source that was asked knows its own patterns only.
        Refused::UnknownPattern { name, .. } => {
            let meant = nearest(&name, site.patterns()).map(str::to_owned);
            Problem::of(Refused::UnknownPattern { name, meant })
        }
        refused => Problem::of(refused),
    })?;
    let headers = headers(flow, &reply.shown);
    match reply.content {
        Content::Document(Some(document)) => Ok(json(Bytes::from_owner(Text(document)), headers)),
        Content::Document(None) => {
            let key: Vec<String> = ask.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
            Err(Problem::new(Kind::NoDocument, format!("`{name}` has no document for {}", key.join(", ")))
                .remedy(format!("if it was written just now, send its commit's position in `{AFTER}`"))
                .headers(headers))
        }
        Content::Documents(documents) => {
            let items: Vec<&str> = documents.iter().map(|found| found.as_deref().unwrap_or("null")).collect();
            Ok(json(list(&items, None).into(), headers))
        }
        Content::List { items, next } => Ok(json(list(&items, next.as_deref()).into(), headers)),
    }
}

/// A document, without copying it.
struct Text(Arc<str>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// How the parameters of a target are read.
type Pairs = fn(Option<&str>) -> Result<Vec<(String, String)>, Problem>;

/// The position that the answer must show: where sources have names, what is said of this one.
fn after<'h>(site: &Site, flow: &Flow, headers: &'h HeaderMap) -> Result<Option<&'h str>, Problem> {
    match (text(headers, AFTER)?, flow.name.as_deref()) {
        (Some(text), Some(source)) => positions::of(text, source, &site.sources())
            .map_err(|refused| wrong(AFTER, &refused.message, Some(&refused.remedy))),
        (text, _) => Ok(text),
    }
}

fn ask(serving: &Serving, request: &Request, after: Option<&str>, pairs: Pairs) -> Result<Ask, Problem> {
    let headers = request.headers();
    if let Some(after) = after {
        // Looked at here first: a pattern may have a parameter called `after`, and its mistakes are another's.
        serving.position(after).map_err(|refused| match refused {
            Refused::BadParameter { message, remedy, .. } => wrong(AFTER, &message, remedy.as_deref()),
            other => Problem::of(other),
        })?;
    }
    let within = text(headers, WITHIN)?.map(within).transpose()?;
    let params = pairs(request.uri().query())?;
    Ok(Ask { params, after: after.map(str::to_owned), within })
}

fn within(text: &str) -> Result<Duration, Problem> {
    match parse_duration(text) {
        Some(within) if within <= WITHIN_MAX => Ok(within),
        Some(_) => Err(wrong(
            WITHIN,
            &format!("is longer than {} s", WITHIN_MAX.as_secs()),
            Some("ask again when the time has passed"),
        )),
        None => Err(wrong(WITHIN, "is no duration", Some("write a number and a unit: `500ms`, `2s`"))),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(wrong(name, "is not plain text", None)),
    }
}

fn wrong(header: &str, message: &str, remedy: Option<&str>) -> Problem {
    let problem = Problem::new(Kind::BadParameter, format!("header `{header}` {message}")).parameter(header);
    match remedy {
        Some(remedy) => problem.remedy(remedy),
        None => problem.remedy("leave it out to read without it"),
    }
}

/// Refuses a client that says it takes no JSON.
fn takes_json(headers: &HeaderMap) -> Result<(), Problem> {
    let mut said = headers.get_all(ACCEPT).into_iter().peekable();
    if said.peek().is_none() {
        return Ok(());
    }
    for accept in said {
        // What is no text cannot be understood as a refusal.
        let Ok(accept) = accept.to_str() else { return Ok(()) };
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let refused = parts
                .any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse().is_ok_and(|q: f32| q <= 0.0)));
            if !refused && ["*/*", "application/*", "application/json", ""].contains(&&*media) {
                return Ok(());
            }
        }
    }
    Err(Problem::new(Kind::NotAcceptable, "the request's `Accept` has no room for `application/json`")
        .remedy("send `Accept: application/json`, or none"))
}

fn headers(flow: &Flow, shown: &Shown) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    let store = match shown.store.as_deref() {
        Some(store) => HeaderValue::from_str(store),
        None => Ok(HeaderValue::from_static(SOURCE)),
    };
    if let Ok(store) = store {
        headers.insert(STORE_HEADER, store);
    }
    let position = shown.position.as_deref().map(|position| positions::show(flow.name.as_deref(), position));
    if let Some(Ok(position)) = position.as_deref().map(HeaderValue::from_str) {
        headers.insert(POSITION_HEADER, position);
    }
    let age_ms = u64::try_from(shown.age.as_millis()).unwrap_or(u64::MAX);
    headers.insert(AGE_HEADER, HeaderValue::from(age_ms));
    headers
}

fn json(body: Bytes, mut headers: HeaderMap) -> Response {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let mut response = Response::new(Body::from(body));
    *response.headers_mut() = headers;
    response
}

/// `{"items":[…],"next":…}`. A cursor needs no escapes: it is base64.
fn list(items: &[impl AsRef<str>], next: Option<&str>) -> Vec<u8> {
    let length =
        items.iter().map(|item| item.as_ref().len() + 1).sum::<usize>() + next.map_or(4, str::len) + 24;
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(b"{\"items\":[");
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item.as_ref().as_bytes());
    }
    out.extend_from_slice(b"],\"next\":");
    match next {
        Some(next) => {
            out.push(b'"');
            out.extend_from_slice(next.as_bytes());
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_json_and_numbers_stay_as_they_are() {
        let items: [Arc<str>; 2] = [r#"{"n":123456789012345678901234567890.10}"#.into(), "2".into()];
        let whole = String::from_utf8(list(&items, Some("abc_-"))).unwrap_or_default();
        assert_eq!(whole, r#"{"items":[{"n":123456789012345678901234567890.10},2],"next":"abc_-"}"#);
        assert_eq!(list(&[""; 0], None), br#"{"items":[],"next":null}"#);
    }

    #[test]
    fn who_takes_no_json_is_refused() {
        let takes = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            takes_json(&headers).is_ok()
        };
        assert!(takes_json(&HeaderMap::new()).is_ok());
        for accept in ["*/*", "text/html, */*;q=0.1", "application/json; charset=utf-8", "application/*"] {
            assert!(takes(accept), "{accept}");
        }
        for accept in ["text/html", "application/json;q=0", "application/xml, text/*;q=0.9"] {
            assert!(!takes(accept), "{accept}");
        }
    }

    #[test]
    fn a_wait_is_bounded() {
        assert_eq!(within("500ms").ok(), Some(Duration::from_millis(500)));
        for text in ["31s", "soon", "-1s", ""] {
            assert!(within(text).is_err(), "{text}");
        }
    }
}
