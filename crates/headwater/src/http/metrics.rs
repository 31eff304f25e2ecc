//! `/metrics`, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::site::{Flow, Site};
use crate::metrics::{self, Look};
use crate::telemetry::Telemetry;

/// Answers also before there is anything to read: what the process costs is known from the start.
pub async fn show(State(site): State<Arc<Site>>) -> Response {
    let look =
        |flow: &Flow| flow.open().map(|open| Look::now(&open.handle, &open.serving, open.findings.now()));
    let looks: Vec<_> = site.flows().iter().map(|flow| (flow.name.as_deref(), look(flow))).collect();
    let headers = [(CONTENT_TYPE, metrics::CONTENT_TYPE), (CACHE_CONTROL, "no-store")];
    (headers, metrics::text(&looks, site.telemetry.as_ref().map(Telemetry::spans))).into_response()
}
