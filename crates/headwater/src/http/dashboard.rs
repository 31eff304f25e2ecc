//! The page, and what may be done from it. What it looks like is [`crate::dashboard`]'s.
//!
//! Actions are POSTs: the gate lets them pass for operators only, and never from another site's page.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::Uri;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Redirect, Response};
use headwater_model::file::Role;

use super::gate::{Holder, Who};
use super::problem::{Kind, Problem};
use super::query;
use super::site::{Flow, Open, Site};
use crate::control_socket::{ROWS_AGE_MAX, ROWS_WITHIN};
use crate::dashboard::{self, PatternScene, Scene};
use crate::drill::history;

/// `/`, or `/?source=NAME` where sources have names: the first of them if the address says none.
pub async fn page(
    State(site): State<Arc<Site>>,
    Extension(who): Extension<Who>,
    uri: Uri,
) -> Result<Response, Problem> {
    Ok(html(dashboard::page(&scene(&site, asked(&site, &uri)?, who).await)))
}

/// `/dashboard/live`: what the page's script puts in place each second.
pub async fn live(
    State(site): State<Arc<Site>>,
    Extension(who): Extension<Who>,
    uri: Uri,
) -> Result<Response, Problem> {
    Ok(html(dashboard::live(&scene(&site, asked(&site, &uri)?, who).await)))
}

pub async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "no-cache")], dashboard::STYLE)
        .into_response()
}

pub async fn script() -> Response {
    let headers = [(CONTENT_TYPE, "text/javascript; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    (headers, dashboard::SCRIPT).into_response()
}

/// `/dashboard/quarantine/ID/discard`: an entry that is gone already is as good as discarded.
pub async fn discard(
    State(site): State<Arc<Site>>,
    Path(id): Path<i64>,
    uri: Uri,
) -> Result<Response, Problem> {
    let flow = asked(&site, &uri)?;
    let discarded = flow.opened()?.handle.discard_quarantined(id);
    discarded.map_err(|error| {
        let remedy = error.remedy().unwrap_or("try again").to_owned();
        Problem::new(Kind::Unavailable, error.to_string()).remedy(remedy)
    })?;
    Ok(back(flow, "#quarantine"))
}

/// `/dashboard/heal/ID/approve`, in the name of the token's holder.
pub async fn approve(
    State(site): State<Arc<Site>>,
    Extension(Holder(name)): Extension<Holder>,
    Path(id): Path<u64>,
    uri: Uri,
) -> Result<Response, Problem> {
    let refused = |why: String, remedy: &str| Problem::new(Kind::Unavailable, why).remedy(remedy.to_owned());
    let flow = asked(&site, &uri)?;
    let Some(heal) = flow.opened()?.handle.heal() else {
        return Err(refused("this instance does not lead".to_owned(), "ask the one that does"));
    };
    heal.approve(id, &name)
        .map_err(|error| refused(error.to_string(), "look at the page for what waits for approval"))?;
    Ok(back(flow, "#incidents"))
}

/// `/dashboard/quarantine/ID/retry`: the row is read at the source again and written to the store that refused it.
pub async fn retry(
    State(site): State<Arc<Site>>,
    Path(id): Path<i64>,
    uri: Uri,
) -> Result<Response, Problem> {
    let flow = asked(&site, &uri)?;
    flow.opened()?.handle.retry_quarantined(id).await.map_err(|error| {
        let remedy = error.remedy().unwrap_or("try again").to_owned();
        Problem::new(Kind::Unavailable, error.to_string()).remedy(remedy)
    })?;
    Ok(back(flow, "#quarantine"))
}

/// The source that the address names.
fn asked<'s>(site: &'s Site, uri: &Uri) -> Result<&'s Flow, Problem> {
    let pairs = query::pairs(uri.query())?;
    let Some((_, name)) = pairs.iter().find(|(name, _)| name == "source") else {
        return Ok(&site.flows()[0]);
    };
    site.flow(Some(name)).ok_or_else(|| {
        let problem =
            Problem::new(Kind::BadParameter, format!("there is no source `{name}`")).parameter("source");
        problem.remedy("open the page without `source`: it names them all")
    })
}

/// To the page that the action came from.
fn back(flow: &Flow, place: &str) -> Response {
    let at = dashboard::at("/", flow.name.as_deref());
    Redirect::to(&format!("{at}{place}")).into_response()
}

fn html(text: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, dashboard::CONTENT_SECURITY_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: browsers then keep the origin of a form to themselves, and the gate asks for it.
        (REFERRER_POLICY, "same-origin"),
    ];
    (headers, text).into_response()
}

async fn scene(site: &Site, flow: &Flow, who: Who) -> Scene {
    let scene = match flow.open() {
        Some(open) => of(&open, who).await,
        None => Scene { starting: Some(flow.why_not()), ..Scene::default() },
    };
    let sources =
        site.flows().iter().filter_map(|flow| Some((flow.name.as_deref()?.to_owned(), flow.state())));
    Scene { source: flow.name.as_deref().map(str::to_owned), sources: sources.collect(), ..scene }
}

async fn of(open: &Open, who: Who) -> Scene {
    let mut lately = open.history.lately();
    lately.resize_with(open.serving.patterns().count(), Default::default);
    let patterns = open.serving.patterns().zip(lately).map(|(pattern, lately)| {
        let access = &pattern.plan.access;
        PatternScene {
            name: access.name.to_string(),
            kind: access.pattern.name(),
            stale: access.stale,
            p99: access.p99,
            rate_per_second: access.rate_per_second,
            lately,
        }
    });
    Scene {
        starting: None,
        leading: open.handle.is_leading(),
        status: open.handle.status_with_rows(ROWS_AGE_MAX, ROWS_WITHIN).await,
        patterns: patterns.collect(),
        // A list that cannot be read is empty here; the stores' counts say that there is one.
        quarantine: open.handle.quarantined_rows(dashboard::QUARANTINE_SHOWN).unwrap_or_default(),
        incidents: open.handle.incidents(),
        drills: history::newest(open.handle.data(), dashboard::DRILLS_SHOWN),
        findings: open.findings.now(),
        operator: who == Who::Role(Role::Operator),
        ..Scene::default()
    }
}
