//! What the data plane tells, as spans. Names have few values; what differs is in attributes, and none is a value of a row:
//! errors are named by their kind, for engines quote what they were given.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use headwater_flow::serve::stats::Refusal;
use headwater_flow::serve::{Refused, Shown};
use headwater_flow::trace::{BackfillTrace, ReadTrace, TransactionTrace};
use headwater_model::ErrorKind;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::sample::random_span;

/// From when to when.
type Times = (SystemTime, SystemTime);

fn at(micros: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// A span of its own place in the trace. One that would end before it begins, by clocks that differ, has no length.
pub fn span(
    place: &SpanContext,
    parent: SpanId,
    kind: SpanKind,
    name: impl Into<Cow<'static, str>>,
    (start, end): Times,
    attributes: Vec<KeyValue>,
) -> SpanData {
    let scope = InstrumentationScope::builder("headwater").with_version(env!("CARGO_PKG_VERSION")).build();
    SpanData {
        span_context: place.clone(),
        parent_span_id: parent,
        parent_span_is_remote: false,
        span_kind: kind,
        name: name.into(),
        start_time: start,
        end_time: end.max(start),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: scope,
    }
}

/// Inside another span.
fn child(
    of: &SpanContext,
    kind: SpanKind,
    name: impl Into<Cow<'static, str>>,
    times: Times,
    attributes: Vec<KeyValue>,
) -> SpanData {
    let place = SpanContext::new(of.trace_id(), random_span(), of.trace_flags(), false, TraceState::NONE);
    span(&place, of.span_id(), kind, name, times, attributes)
}

fn number(key: &'static str, n: u64) -> KeyValue {
    KeyValue::new(key, i64::try_from(n).unwrap_or(i64::MAX))
}

/// From the commit to the last store that shows it.
pub fn transaction(root: &SpanContext, trace: TransactionTrace) -> Vec<SpanData> {
    let internal = SpanKind::Internal;
    // The source's clock may be ahead of ours.
    let committed = at(trace.committed_at.min(trace.captured_at));
    let captured = at(trace.captured_at);
    let journaled = trace.journaled_at.map(at);
    let mut last = journaled.unwrap_or(captured);
    let mut spans = vec![child(root, internal.clone(), "capture", (committed, captured), Vec::new())];
    if let Some(journaled) = journaled {
        spans.push(child(root, internal.clone(), "journal", (captured, journaled), Vec::new()));
        if let Some(derived) = trace.derived_at.map(at) {
            spans.push(child(root, internal.clone(), "derive", (journaled, derived), Vec::new()));
        }
    }
    for store in trace.shown {
        let attributes = vec![
            KeyValue::new("headwater.store", store.store.to_string()),
            number("headwater.step.transactions", store.transactions),
            number("headwater.step.changes", store.changes),
        ];
        // A step may begin with what came before.
        let begun = at(store.begun_at).max(journaled.unwrap_or(captured));
        let shown = at(store.shown_at);
        last = last.max(shown);
        spans.push(child(
            root,
            SpanKind::Client,
            format!("apply {}", store.store),
            (begun, shown),
            attributes,
        ));
    }
    let attributes = vec![
        KeyValue::new("headwater.source.position", trace.position),
        number("headwater.journal.offset", trace.offset.0),
        number("headwater.changes", trace.changes),
    ];
    let mut whole =
        span(root, SpanId::INVALID, SpanKind::Consumer, "transaction", (committed, last), attributes);
    if !trace.lacking.is_empty() {
        whole.status = Status::error(format!("not shown yet by {}", trace.lacking.join(", ")));
    }
    spans.insert(0, whole);
    spans
}

/// A read that no request carries: of the Redis protocol.
pub fn read(
    root: &SpanContext,
    pattern: &str,
    reads: u64,
    trace: &ReadTrace,
    answered: Result<&Shown, &Refused>,
) -> Vec<SpanData> {
    let now = SystemTime::now();
    let began = now - trace.elapsed();
    let mut attributes =
        vec![KeyValue::new("headwater.pattern", pattern.to_owned()), number("headwater.reads", reads)];
    if let Ok(shown) = answered {
        attributes.extend(self::shown(shown.store.as_deref(), shown.position.as_deref(), shown.age));
    }
    let name = format!("read {pattern}");
    let mut whole = span(root, SpanId::INVALID, SpanKind::Server, name, (began, now), attributes);
    if let Err(refused) = answered {
        whole.status = failed(reason(refused.reason()), &mut whole.attributes);
    }
    let mut spans = vec![whole];
    spans.extend(asked(root, began, trace));
    spans
}

/// Who answered, and which moment that is.
pub fn shown(store: Option<&str>, position: Option<&str>, age: Duration) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("headwater.answered_by", store.unwrap_or("source").to_owned()),
        number("headwater.age_ms", u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    ];
    attributes.extend(position.map(|position| KeyValue::new("headwater.position", position.to_owned())));
    attributes
}

/// Everyone who was asked for a read that began at `began`.
pub fn asked(of: &SpanContext, began: SystemTime, trace: &ReadTrace) -> Vec<SpanData> {
    let now = trace.elapsed();
    let spans = trace.asked().into_iter().map(|asked| {
        let name = match (asked.joined, &asked.store) {
            (true, _) => "join".to_owned(),
            (false, Some(store)) => format!("ask {store}"),
            (false, None) => "ask source".to_owned(),
        };
        let mut attributes = Vec::new();
        attributes.extend(asked.store.map(|store| KeyValue::new("headwater.store", store.to_string())));
        if asked.hedge {
            attributes.push(KeyValue::new("headwater.hedge", true));
        }
        if asked.to.is_none() {
            attributes.push(KeyValue::new("headwater.abandoned", true));
        }
        let kind = if asked.joined { SpanKind::Internal } else { SpanKind::Client };
        let times = (began + asked.from, began + asked.to.unwrap_or(now));
        let mut span = child(of, kind, name, times, attributes);
        if let Some(kind) = asked.failed {
            span.status = failed(error_type(kind), &mut span.attributes);
        }
        span
    });
    spans.collect()
}

/// A table that was read to fill views.
pub fn backfill(root: &SpanContext, trace: BackfillTrace) -> SpanData {
    let views: Vec<opentelemetry::StringValue> = trace.views.into_iter().map(Into::into).collect();
    let attributes = vec![
        KeyValue::new("headwater.table", trace.table),
        KeyValue::new("headwater.views", opentelemetry::Value::Array(views.into())),
        number("headwater.rows", trace.rows),
        number("headwater.chunks", trace.chunks),
        number("headwater.chunks.again", trace.again),
        KeyValue::new("headwater.resumed", trace.resumed),
    ];
    let times = (at(trace.began_at), at(trace.ended_at));
    span(root, SpanId::INVALID, SpanKind::Internal, "backfill", times, attributes)
}

/// The status of a span that failed.
pub fn failed(kind: &'static str, attributes: &mut Vec<KeyValue>) -> Status {
    attributes.push(KeyValue::new("error.type", kind));
    Status::error(kind)
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::BadRequest => "bad_request",
        Refusal::Behind => "behind",
        Refusal::Overloaded => "overloaded",
        Refusal::Unavailable => "unavailable",
    }
}

fn error_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Transient => "transient",
        ErrorKind::Throttled => "throttled",
        ErrorKind::Denied => "denied",
        ErrorKind::Misconfigured => "misconfigured",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Fenced => "fenced",
        ErrorKind::OutOfStep => "out_of_step",
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::Bug => "bug",
    }
}
