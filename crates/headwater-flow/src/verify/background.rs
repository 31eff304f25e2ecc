//! Verification by itself: view after view, again and again, at a rate that the source hardly notices.
//!
//! The view that was compared longest ago comes first, also after a restart: when that was is remembered. Somebody who asks for a
//! verification goes first; what the background was doing then begins anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::Result;
use headwater_model::heal::Action;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::Verifier;
use super::report::{Progress, Request, Verdict};
use crate::backfill::ViewPlan;
use crate::heal::MIRROR;

/// A view is not compared again before so much time has passed since it last was.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// One that could not be compared is taken again after this.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How often it is looked whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What goes on without being asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Background {
    /// Rows of the source that are compared per second, at most; `None`: nothing is.
    pub rows_per_second: Option<u64>,
    /// The share of a view's documents in a store that may be put right; `None`: nothing is.
    pub repair: Option<f64>,
}

impl Background {
    /// More than this is not put right without a person who has looked at it.
    pub const REPAIR_SHARE: f64 = 0.01;
}

impl Verifier {
    /// Verifies until cancelled.
    pub async fn in_background(
        self: Arc<Self>,
        background: Background,
        cancel: CancellationToken,
    ) -> Result<()> {
        let verify = async {
            let Some(rate) = background.rows_per_second else { return std::future::pending().await };
            let mut tried = BTreeMap::new();
            loop {
                sleep(LOOK_EVERY).await;
                if let Some(view) = self.next_view(&tried, background.repair.is_some())? {
                    tried.insert(view.clone(), self.board.now_micros());
                    self.verify_view(view, rate, background.repair).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Ok(()),
            ended = verify => ended,
        }
    }

    /// The view that was compared longest ago, unless that is not long ago. One that could not be compared does not hold up the
    /// others. `tried`: when each was taken last.
    fn next_view(&self, tried: &BTreeMap<String, i64>, repair: bool) -> Result<Option<String>> {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let mut first: Option<(i64, String)> = None;
        for plan in &self.plans {
            let name = plan.view.name.to_string();
            let verified = match repair && self.repair_was_approved(plan) {
                true => 0,
                false => self.state.verified_at(&name)?.map_or(0, |at| at + micros(AGAIN_AFTER)),
            };
            let due = tried.get(&name).map_or(verified, |at| verified.max(at + micros(RETRY_AFTER)));
            if first.as_ref().is_none_or(|(known, _)| due < *known) {
                first = Some((due, name));
            }
        }
        Ok(first.filter(|(due, _)| *due <= self.board.now_micros()).map(|(_, view)| view))
    }

    /// Somebody agreed that what drifted in it is put right: it waits no longer.
    fn repair_was_approved(&self, plan: &ViewPlan) -> bool {
        let is = |part: String| self.heal.is_approved(&part, Action::Repair);
        let view = &plan.view;
        let parts = view.parts.iter().map(|part| &part.store);
        view.stores.iter().chain(parts).any(|store| is(format!("view {store}/{}", view.name)))
            || (plan.stateful && plan.tables.iter().any(|table| is(format!("{MIRROR} {table}"))))
    }

    async fn verify_view(self: &Arc<Self>, view: String, rate: u64, repair: Option<f64>) {
        let mut asked = self.asked.subscribe();
        if *asked.borrow_and_update() > 0 {
            return;
        }
        let request =
            Request { views: vec![view.clone()], rows_per_second: Some(rate), repair, ..Request::default() };
        let (sink, _) = watch::channel(Progress::default());
        let report = tokio::select! {
            () = somebody_asks(&mut asked) => {
                debug!(%view, "somebody asks for a verification: this one begins anew later");
                return;
            }
            report = self.run(&request, &sink) => report,
        };
        match report {
            Ok(report) => {
                let broke_off = report.comparisons().any(|c| c.verdict == Verdict::Failed);
                info!(%view, drifted = report.drift(), took_ms = report.took_ms, broke_off, "the view was verified");
            }
            Err(error) => debug!(%view, %error, "the view was not verified"),
        }
    }
}

async fn somebody_asks(asked: &mut watch::Receiver<u32>) {
    if asked.wait_for(|asked| *asked > 0).await.is_err() {
        std::future::pending::<()>().await;
    }
}
