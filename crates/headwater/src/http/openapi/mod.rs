//! `/openapi.json`: the access patterns of the file as OpenAPI 3.1, made from what the source says about its columns.

mod schema;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use headwater_flow::serve::WITHIN_MAX;
use headwater_model::{AccessPlan, Buckets, Gaps, PlannedRead};
use serde_json::{Map, Value as Json, json};

use super::patterns::BATCH;
use super::problem::Problem;
use super::routes::{AFTER, AGE_MS, POSITION, STORE, WITHIN};
use super::site::Site;

const DESCRIPTION: &str = "Access patterns over views that Headwater keeps in step with the source. Every path takes HEAD \
     too. Numbers are as exact as the source has them: read integers beyond 64 bits and decimals with a type that keeps \
     their digits. A position that an answer gives in `Headwater-Position` may be sent as `Headwater-After`: the next \
     answer is then at least as new.";

pub async fn show(State(site): State<Arc<Site>>) -> Result<Response, Problem> {
    let document = site.openapi()?;
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], document).into_response())
}

/// `tokens`: whether readers need one.
pub fn document<'a>(plans: impl Iterator<Item = &'a AccessPlan>, tokens: bool) -> Json {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    schemas.insert("Problem".into(), problem());
    for plan in plans {
        let name = &*plan.access.name;
        let document = format!("{name}_document");
        let mut answer = reference("schemas", &document);
        schemas.insert(document, schema::object(&plan.fields));
        if !is_get(plan) {
            let list = format!("{name}_list");
            schemas.insert(list.clone(), schema::list(&answer));
            answer = reference("schemas", &list);
        }
        paths.insert(format!("/v1/{name}"), json!({ "get": operation(plan, &answer) }));
        if is_get(plan) {
            let batch = format!("{name}_batch");
            schemas.insert(batch.clone(), schema::batch(&answer));
            let operation = batch_operation(plan, &reference("schemas", &batch));
            paths.insert(format!("/v1/{name}{BATCH}"), json!({ "get": operation }));
        }
    }
    let mut components = json!({
        "schemas": schemas,
        "headers": headers(),
        "parameters": read_your_writes(),
        "responses": refusals(),
    });
    let mut document = json!({
        "openapi": "3.1.0",
        "info": { "title": "Headwater", "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION },
        "paths": paths,
    });
    if tokens {
        components["securitySchemes"] = json!({ "token": { "type": "http", "scheme": "bearer" } });
        document["security"] = json!([{ "token": [] }]);
    }
    document["components"] = components;
    document
}

fn is_get(plan: &AccessPlan) -> bool {
    matches!(plan.read, PlannedRead::Get { .. })
}

fn reference(kind: &str, name: &str) -> Json {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

fn operation(plan: &AccessPlan, answer: &Json) -> Json {
    let mut parameters: Vec<Json> = plan.params.iter().map(schema::parameter).collect();
    parameters.extend(paging(plan));
    parameters.push(reference("parameters", "after"));
    parameters.push(reference("parameters", "within"));
    let mut responses = json!({ "200": {
        "description": what(plan),
        "headers": shown(),
        "content": { "application/json": { "schema": answer } },
    } });
    for (status, name) in [
        ("400", "bad_request"),
        ("401", "unauthenticated"),
        ("406", "not_acceptable"),
        ("409", "other_history"),
        ("422", "too_much"),
        ("503", "unavailable"),
        ("504", "behind"),
    ] {
        responses[status] = reference("responses", name);
    }
    if is_get(plan) {
        responses["404"] = reference("responses", "no_document");
    }
    json!({
        "operationId": &*plan.access.name,
        "summary": what(plan),
        "parameters": parameters,
        "responses": responses,
    })
}

/// Several documents of a `get` at once.
fn batch_operation(plan: &AccessPlan, answer: &Json) -> Json {
    let mut operation = operation(plan, answer);
    let what = format!("{}, of several at once, all as of one moment", what(plan));
    operation["operationId"] = json!(format!("{}_batch_get", plan.access.name));
    operation["summary"] = json!(what);
    operation["responses"]["200"]["description"] = json!(what);
    if let Some(responses) = operation["responses"].as_object_mut() {
        // What is not there is null in the answer.
        responses.remove("404");
    }
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.iter_mut().take(plan.params.len()).for_each(schema::per_key);
    }
    operation
}

fn what(plan: &AccessPlan) -> String {
    match &plan.read {
        PlannedRead::Get { view } => format!("The `{}` of a key", view.name),
        PlannedRead::Range { view, .. } => format!("`{}` in order", view.name),
        PlannedRead::Walk { hops, .. } => {
            format!("What is {} from a vertex", if hops.len() == 1 { "one step" } else { "some steps" })
        }
        PlannedRead::Window { view, buckets: None, .. } => format!("Points of `{}` in time", view.name),
        PlannedRead::Window { view, buckets: Some(Buckets { every, zone, gaps }), .. } => {
            let points = if *gaps == Gaps::Skip { " that has points" } else { "" };
            let zone = zone.as_ref().and_then(|zone| zone.iana_name());
            let zone = zone.map_or(String::new(), |zone| format!(", by the clocks of {zone}"));
            format!("Figures of `{}`, one item per {} s{points}{zone}", view.name, every.as_secs())
        }
    }
}

/// The parameters that are of no column.
fn paging(plan: &AccessPlan) -> Vec<Json> {
    let (limit, pages) = match &plan.read {
        PlannedRead::Get { .. } | PlannedRead::Window { buckets: Some(_), .. } => return Vec::new(),
        PlannedRead::Walk { limit, .. } => (*limit, false),
        PlannedRead::Range { limit, .. } | PlannedRead::Window { limit, .. } => (*limit, true),
    };
    let parameter = |name: &str, description: &str, schema: Json| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    let mut parameters = vec![parameter(
        "limit",
        "Items in the answer at most.",
        json!({ "type": "integer", "minimum": 1, "maximum": limit, "default": limit }),
    )];
    if pages {
        parameters.push(parameter(
            "reverse",
            "Against the order.",
            json!({ "type": "boolean", "default": false }),
        ));
        parameters.push(parameter(
            "cursor",
            "`next` of the page before, with otherwise the same parameters.",
            json!({ "type": "string" }),
        ));
    }
    parameters
}

fn read_your_writes() -> Json {
    json!({
        "after": {
            "name": AFTER,
            "in": "header",
            "description": "The answer shows everything up to this position: what the source gave after a commit \
                            (PostgreSQL: an LSN), or `Headwater-Position` of an answer.",
            "schema": { "type": "string" },
        },
        "within": {
            "name": WITHIN,
            "in": "header",
            "description": format!(
                "How long to wait for an answer that is new enough, at most {} s: a number and a unit.",
                WITHIN_MAX.as_secs()
            ),
            "schema": { "type": "string", "pattern": "^([1-9][0-9]{0,3}ms|[1-9]s|[12][0-9]s|30s)$" },
            "example": "500ms",
        },
    })
}

fn headers() -> Json {
    json!({
        "store": {
            "description": "The store that answered; `source` if it was the source itself.",
            "required": true,
            "schema": { "type": "string" },
        },
        "position": {
            "description": format!("The moment that the answer shows; may be sent as `{AFTER}`."),
            "schema": { "type": "string" },
        },
        "age": {
            "description": "How far the answer may lie behind the source, in milliseconds.",
            "required": true,
            "schema": { "type": "integer", "minimum": 0 },
        },
        "again": {
            "description": "Seconds after which to try again.",
            "schema": { "type": "integer", "minimum": 1 },
        },
    })
}

fn shown() -> Json {
    json!({
        STORE: reference("headers", "store"),
        POSITION: reference("headers", "position"),
        AGE_MS: reference("headers", "age"),
    })
}

fn refusals() -> Json {
    let refusal = |description: &str| {
        json!({
            "description": description,
            "content": { "application/problem+json": { "schema": reference("schemas", "Problem") } },
        })
    };
    let mut refusals = json!({
        "bad_request": refusal("A parameter or header is wrong; `parameter` names it."),
        "unauthenticated": refusal("A token is needed."),
        "no_document": refusal("There is no document of this key, as of the position in the headers."),
        "not_acceptable": refusal("Answers are JSON."),
        "other_history": refusal("The position is of a history that the source is no longer part of."),
        "too_much": refusal("The answer would exceed a bound, or the values do not fit."),
        "unavailable": refusal("Nobody can answer just now, or too many ask at once."),
        "behind": refusal("Nothing new enough within the deadline."),
    });
    refusals["no_document"]["headers"] = shown();
    refusals["unavailable"]["headers"] = json!({ "Retry-After": reference("headers", "again") });
    refusals
}

/// RFC 9457.
fn problem() -> Json {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": { "type": "string", "format": "uri-reference", "description": "What clients tell problems apart by." },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "remedy": { "type": "string", "description": "What to do about it." },
            "parameter": { "type": "string", "description": "The parameter or header that is wrong." },
            "waited_ms": { "type": "integer" },
            "age_ms": { "type": "integer", "description": "How far behind the furthest store is." },
            "transactions": { "type": "integer", "description": "How far behind the furthest store is." },
            "tried": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["store", "reason"],
                    "properties": { "store": { "type": "string" }, "reason": { "type": "string" } },
                },
            },
        },
    })
}
