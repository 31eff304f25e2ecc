//! The paths, and which module answers them.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::site::Site;
use super::{dashboard, health, metrics, openapi, patterns, problem};

/// Request headers: the position that the answer must show, and how long to wait for it.
pub const AFTER: &str = "Headwater-After";
pub const WITHIN: &str = "Headwater-Within";
/// Response headers: who answered, which moment that shows, and how far it may lie behind the source.
pub const STORE: &str = "Headwater-Store";
pub const POSITION: &str = "Headwater-Position";
pub const AGE_MS: &str = "Headwater-Age-Ms";

/// A new family of paths is a module with handlers and a line here. What needs no token is in [`super::gate`].
pub fn routes(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(dashboard::page))
        .route("/dashboard/live", get(dashboard::live))
        .route("/dashboard/style.css", get(dashboard::style))
        .route("/dashboard/script.js", get(dashboard::script))
        .route("/dashboard/quarantine/{id}/discard", post(dashboard::discard))
        .route("/dashboard/heal/{id}/approve", post(dashboard::approve))
        .route("/dashboard/quarantine/{id}/retry", post(dashboard::retry))
        .route("/v1/{pattern}", get(patterns::answer))
        .route("/openapi.json", get(openapi::show))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/status.json", get(health::status))
        .route("/incidents.json", get(health::incidents))
        .route("/metrics", get(metrics::show))
        .route("/problems", get(problem::list))
        .route("/problems/{name}", get(problem::one))
        .fallback(problem::no_path)
        .method_not_allowed_fallback(problem::no_method)
        .with_state(site)
}
