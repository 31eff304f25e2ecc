//! A request over HTTP that is traced: the trace that its client is in, or one of its own, and what is told of it in the
//! answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use headwater_flow::trace::ReadTrace;
use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::Telemetry;
use super::sample::{random_span, random_trace};
use super::spans;

/// Which trace an answer belongs to, in the words of W3C Trace Context, level 2.
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// Of the answer's headers, those that its span repeats.
const STORE: &str = "headwater-store";
const POSITION: &str = "headwater-position";
const AGE_MS: &str = "headwater-age-ms";

/// A request that is traced, from its coming in to its answer.
pub struct Request {
    pub trace: Arc<ReadTrace>,
    telemetry: Telemetry,
    began: SystemTime,
    place: SpanContext,
    /// Of its client; `INVALID` if that has none.
    parent: SpanId,
}

impl Telemetry {
    /// `None` if this one is not traced.
    pub fn request(&self, headers: &HeaderMap) -> Option<Request> {
        let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        let caller = context.span().span_context().clone();
        let (trace_id, decided) = match caller.is_valid() {
            true => (caller.trace_id(), Some(caller.is_sampled())),
            false => (random_trace(), None),
        };
        if !self.inner.sampler.takes_call(trace_id, decided) {
            return None;
        }
        let state = caller.trace_state().clone();
        Some(Request {
            trace: ReadTrace::new(),
            telemetry: self.clone(),
            began: SystemTime::now(),
            place: SpanContext::new(trace_id, random_span(), TraceFlags::SAMPLED, false, state),
            parent: if caller.is_valid() { caller.span_id() } else { SpanId::INVALID },
        })
    }
}

impl Request {
    /// `pattern`: as the file names it; `None` if there is none that is called so. `how`: what stands behind it in the path.
    pub fn answered(self, method: &str, pattern: Option<&str>, how: &str, response: &mut Response) {
        let Request { trace, telemetry, began, place, parent } = self;
        let route = format!("/v1/{}{how}", pattern.unwrap_or("{pattern}"));
        let status = response.status();
        let mut attributes = vec![
            KeyValue::new("http.request.method", method.to_owned()),
            KeyValue::new("http.route", route.clone()),
            KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
        ];
        attributes.extend(pattern.map(|pattern| KeyValue::new("headwater.pattern", pattern.to_owned())));
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(store) = header(STORE) {
            let age = header(AGE_MS).and_then(|age| age.parse().ok()).unwrap_or(0);
            attributes.extend(spans::shown(Some(store), header(POSITION), Duration::from_millis(age)));
        }
        let times = (began, began + trace.elapsed());
        let mut span =
            spans::span(&place, parent, SpanKind::Server, format!("{method} {route}"), times, attributes);
        span.parent_span_is_remote = parent != SpanId::INVALID;
        // A client's own mistake is no failure of ours.
        if status.is_server_error() {
            span.status = spans::failed(status.canonical_reason().unwrap_or("error"), &mut span.attributes);
        }
        let mut all = vec![span];
        all.extend(spans::asked(&place, began, &trace));
        telemetry.inner.queue.offer(all);
        let value = format!("00-{}-{}-{:02x}", place.trace_id(), place.span_id(), place.trace_flags());
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(TRACERESPONSE, value);
        }
    }
}
