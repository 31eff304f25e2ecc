//! Whether this process is alive, whether it can answer, and how everything is.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode, header::ACCEPT};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::gate::Who;
use super::problem::Problem;
use super::site::{Flow, Site};
use crate::by_source::BySource;

/// The process answers: whatever is wrong, restarting it would not mend it.
pub async fn live() -> Response {
    ([(CACHE_CONTROL, "no-store")], "alive\n").into_response()
}

/// 200 if this instance leads and every access pattern can be answered; 503 and why otherwise. Why is said only to those
/// who may read.
pub async fn ready(
    State(site): State<Arc<Site>>,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
) -> Response {
    let reasons: Vec<String> = site.flows().iter().flat_map(unready).collect();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let shown = if who == Who::Nobody { &[][..] } else { &reasons[..] };
    let json = headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"application/json"));
    let no_store = [(CACHE_CONTROL, "no-store")];
    if json {
        return (status, no_store, Json(json!({ "ready": reasons.is_empty(), "reasons": shown })))
            .into_response();
    }
    let mut text = if reasons.is_empty() { "ready\n" } else { "not ready\n" }.to_owned();
    for reason in shown {
        text.push_str(reason);
        text.push('\n');
    }
    (status, no_store, text).into_response()
}

fn unready(flow: &Flow) -> Vec<String> {
    let Some(open) = flow.open() else { return vec![flow.why_not()] };
    if !open.handle.is_leading() {
        let source = flow.name.as_ref().map_or("the source".to_owned(), |name| format!("source `{name}`"));
        return vec![format!("another instance leads, or {source} cannot be followed yet")];
    }
    let unready = open.serving.unready().into_iter();
    unready.map(|(pattern, why)| format!("access pattern `{pattern}`: {why}")).collect()
}

/// What `headwater status --json` prints.
pub async fn status(State(site): State<Arc<Site>>) -> Result<Response, Problem> {
    let mut all = BySource::default();
    for flow in site.flows() {
        if flow.name.is_none() {
            flow.opened()?;
        }
        all.add(flow.name.as_deref(), flow.status().await);
    }
    Ok(([(CACHE_CONTROL, "no-store")], Json(all)).into_response())
}

/// What happened to the parts lately, newest first.
pub async fn incidents(State(site): State<Arc<Site>>) -> Result<Response, Problem> {
    let mut all = BySource::default();
    for flow in site.flows() {
        let open = match &flow.name {
            None => Some(flow.opened()?),
            Some(_) => flow.open(),
        };
        all.add(flow.name.as_deref(), open.map(|open| open.handle.incidents()).unwrap_or_default());
    }
    Ok(([(CACHE_CONTROL, "no-store")], Json(all)).into_response())
}
