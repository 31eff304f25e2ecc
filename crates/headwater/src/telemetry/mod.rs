//! Traces by OpenTelemetry: from a commit to its being seen, from a question to its answer.
//!
//! - `settings`: what the file and the `OTEL_…` variables of the environment say together
//! - `sample`: which transactions and reads are traced
//! - `spans`: what the data plane tells, as spans
//! - `request`: a reader's `traceparent`, and the trace given back
//! - `queue`: spans that wait for the collector; `client`: the way there
//!
//! Owns: ids, names and export. Does not own: when things happened ([`headwater_flow::trace`]).
//!
//! Invariant: no span holds a value of a row, and whatever the collector does, or does not do, costs a bounded amount of
//! memory and nobody's time: what does not fit is dropped as whole traces, and counted.

mod client;
mod queue;
mod request;
mod sample;
mod settings;
mod spans;

use std::sync::Arc;
use std::time::Duration;

use headwater_flow::serve::{Refused, Shown};
use headwater_flow::trace::{BackfillTrace, ReadTrace, Tracer, TransactionTrace};
use headwater_model::file::TelemetrySection;
use headwater_model::{Offset, Result};
use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};
use tracing::info;

use queue::Queue;
use sample::{Sampler, random_span, random_trace};
use settings::Settings;

/// How long the last spans may take to be delivered at the end.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Traces that go to a collector. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sampler: Sampler,
    queue: Queue,
}

/// What became of spans, counted since the start.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    pub exported: u64,
    pub dropped: u64,
}

impl Telemetry {
    /// `None` if the file does not ask for it, or the environment forbids it.
    pub fn start(section: Option<&TelemetrySection>) -> Result<Option<Telemetry>> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(section) = section else { return Ok(None) };
        let Some(settings) = Settings::new(section, &variable)? else {
            info!("the environment turns traces off");
            return Ok(None);
        };
        let Settings { sampler, bounds, exporter, client, endpoint } = settings;
        info!(%endpoint, sampled = %sampler, "traces are sent");
        let queue = Queue::start(bounds, exporter, client);
        Ok(Some(Telemetry { inner: Arc::new(Inner { sampler, queue }) }))
    }

    pub fn tracer(&self) -> Arc<dyn Tracer> {
        Arc::clone(&self.inner) as Arc<dyn Tracer>
    }

    pub fn spans(&self) -> Spans {
        self.inner.queue.spans()
    }

    /// Delivers what waits, if that is soon.
    pub async fn end(&self) {
        self.inner.queue.end(END_WITHIN).await;
    }
}

/// A span that begins a trace of its own.
fn root() -> SpanContext {
    SpanContext::new(random_trace(), random_span(), TraceFlags::SAMPLED, false, TraceState::NONE)
}

impl Tracer for Inner {
    fn samples(&self, offset: Offset) -> bool {
        self.sampler.takes_offset(offset.0)
    }

    fn samples_read(&self) -> Option<Arc<ReadTrace>> {
        self.sampler.takes_trace(random_trace()).then(ReadTrace::new)
    }

    fn read(
        &self,
        pattern: &str,
        reads: u64,
        trace: &ReadTrace,
        answered: std::result::Result<&Shown, &Refused>,
    ) {
        self.queue.offer(spans::read(&root(), pattern, reads, trace, answered));
    }

    fn transaction(&self, trace: TransactionTrace) {
        self.queue.offer(spans::transaction(&root(), trace));
    }

    fn backfill(&self, trace: BackfillTrace) {
        self.queue.offer(vec![spans::backfill(&root(), trace)]);
    }
}
