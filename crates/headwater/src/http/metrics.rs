//! `/metrics`, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::site::Site;
use crate::metrics::{self, Look};

/// Answers also before there is anything to read: what the process costs is known from the start.
pub async fn show(State(site): State<Arc<Site>>) -> Response {
    let look = site
        .opened()
        .ok()
        .map(|open| Look::now(&open.handle, &open.serving, site.telemetry.as_ref(), open.findings.now()));
    let headers = [(CONTENT_TYPE, metrics::CONTENT_TYPE), (CACHE_CONTROL, "no-store")];
    (headers, metrics::text(look.as_ref())).into_response()
}
