//! Spans on their way to the collector: a bounded queue, and a task that delivers in batches and tries again. While the
//! collector is away the queue fills up; what comes then is dropped as whole traces, counted, and said once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::Spans;
use super::client::Client;

/// A batch that the collector does not take is tried this often, with a pause that doubles, before it is dropped.
const ATTEMPTS: u32 = 5;
const PAUSE_LEAST: Duration = Duration::from_secs(1);

/// What spans may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Spans that wait.
    pub spans: usize,
    /// Spans that are delivered at once.
    pub batch: usize,
    /// How long a span waits for others.
    pub every: Duration,
}

#[derive(Debug)]
pub struct Queue {
    waiting: mpsc::Sender<SpanData>,
    counts: Arc<Counts>,
    ending: CancellationToken,
    delivering: TaskTracker,
}

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl Queue {
    pub fn start(bounds: Bounds, exporter: SpanExporter, client: Arc<Client>) -> Queue {
        let (waiting, spans) = mpsc::channel(bounds.spans);
        let (counts, ending) = (Arc::<Counts>::default(), CancellationToken::new());
        let delivery = Delivery {
            bounds,
            exporter,
            client,
            counts: Arc::clone(&counts),
            ending: ending.clone(),
            told: 0,
        };
        let delivering = TaskTracker::new();
        delivering.spawn(delivery.run(spans));
        delivering.close();
        Queue { waiting, counts, ending, delivering }
    }

    /// The spans of one trace: all of them, or none. Does not wait.
    pub fn offer(&self, trace: Vec<SpanData>) {
        match self.waiting.try_reserve_many(trace.len()) {
            Ok(places) => places.zip(trace).for_each(|(place, span)| place.send(span)),
            Err(_) => self.counts.lose(trace.len()),
        }
    }

    pub fn spans(&self) -> Spans {
        Spans {
            exported: self.counts.exported.load(Ordering::Relaxed),
            dropped: self.counts.dropped.load(Ordering::Relaxed),
        }
    }

    /// Delivers what waits, without trying again, and takes nothing more.
    pub async fn end(&self, within: Duration) {
        self.ending.cancel();
        // Whoever does not take them in time does not get them.
        let _ = timeout(within, self.delivering.wait()).await;
    }
}

impl Counts {
    fn lose(&self, spans: usize) {
        self.dropped.fetch_add(spans as u64, Ordering::Relaxed);
    }
}

struct Delivery {
    bounds: Bounds,
    exporter: SpanExporter,
    client: Arc<Client>,
    counts: Arc<Counts>,
    ending: CancellationToken,
    /// How many were dropped when it was last said; since the collector was last there.
    told: u64,
}

impl Delivery {
    async fn run(mut self, mut spans: mpsc::Receiver<SpanData>) {
        let mut away = false;
        loop {
            let mut batch = Vec::new();
            let ending = tokio::select! {
                () = self.ending.cancelled() => true,
                () = self.gather(&mut spans, &mut batch) => spans.is_closed(),
            };
            if ending {
                spans.close();
                while spans.recv_many(&mut batch, self.bounds.batch).await > 0 {}
            }
            while !batch.is_empty() {
                let rest = batch.split_off(batch.len().min(self.bounds.batch));
                away = !self.deliver(batch, away).await;
                batch = rest;
            }
            if ending {
                return;
            }
        }
    }

    /// A full batch, or what has come for as long as spans wait.
    async fn gather(&self, spans: &mut mpsc::Receiver<SpanData>, batch: &mut Vec<SpanData>) {
        spans.recv_many(batch, self.bounds.batch).await;
        let until = Instant::now() + self.bounds.every;
        while batch.len() < self.bounds.batch && !spans.is_closed() {
            let room = self.bounds.batch - batch.len();
            if timeout_at(until, spans.recv_many(batch, room)).await.is_err() {
                return;
            }
        }
    }

    /// Whether the collector took the batch. `away`: whether it took the last one not.
    async fn deliver(&mut self, batch: Vec<SpanData>, mut away: bool) -> bool {
        let mut pause = PAUSE_LEAST;
        for attempt in 1..=ATTEMPTS {
            if self.exporter.export(batch.clone()).await.is_ok() {
                self.counts.exported.fetch_add(batch.len() as u64, Ordering::Relaxed);
                if away {
                    let dropped = self.counts.dropped.load(Ordering::Relaxed);
                    info!(dropped = dropped - self.told, "traces are delivered again");
                    self.told = dropped;
                }
                return true;
            }
            let failure = self.client.failure();
            if !std::mem::replace(&mut away, true) {
                self.told = self.counts.dropped.load(Ordering::Relaxed);
                warn!(
                    why = %failure.why,
                    "traces cannot be delivered; what does not fit the queue is dropped and counted in \
                     headwater_trace_spans_dropped_total"
                );
            }
            if !failure.may_pass || self.ending.is_cancelled() || attempt == ATTEMPTS {
                break;
            }
            tokio::select! {
                () = self.ending.cancelled() => {}
                () = sleep(pause) => {}
            }
            pause *= 2;
        }
        self.counts.lose(batch.len());
        false
    }
}
