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
use super::site::Site;
use crate::control_socket::{ROWS_AGE_MAX, ROWS_WITHIN};

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
    let reasons = match site.opened() {
        Err(_) => vec![site.why_not()],
        Ok(open) if !open.handle.is_leading() => {
            vec!["another instance leads, or the source cannot be followed yet".to_owned()]
        }
        Ok(open) => {
            let unready = open.serving.unready().into_iter();
            unready.map(|(pattern, why)| format!("access pattern `{pattern}`: {why}")).collect()
        }
    };
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

/// What `headwater status --json` prints.
pub async fn status(State(site): State<Arc<Site>>) -> Result<Response, Problem> {
    let status = site.opened()?.handle.status_with_rows(ROWS_AGE_MAX, ROWS_WITHIN).await;
    Ok(([(CACHE_CONTROL, "no-store")], Json(status)).into_response())
}

/// What happened to the parts lately, newest first.
pub async fn incidents(State(site): State<Arc<Site>>) -> Result<Response, Problem> {
    Ok(([(CACHE_CONTROL, "no-store")], Json(site.opened()?.handle.incidents())).into_response())
}
