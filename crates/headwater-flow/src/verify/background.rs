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
use super::mend::groups_part;
use super::pace::Pace;
use super::report::{Progress, Request, Verdict};
use crate::backfill::ViewPlan;
use crate::heal::MIRROR;

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
    /// A view is not compared again before so much time has passed since it last was; a canary is made wrong at a moment within as much.
    pub every: Duration,
    /// Within which a document that was made wrong on purpose should be found.
    pub detect_within: Option<Duration>,
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
            let mut turns = Turns::default();
            loop {
                sleep(LOOK_EVERY).await;
                match self.next_turn(&turns, background)? {
                    None => {}
                    Some(Turn::Canaries) => {
                        self.check_canaries(background.every).await;
                        turns.canaries = self.board.now_micros();
                    }
                    Some(Turn::View(view)) => {
                        turns.begun.insert(view.clone(), self.board.now_micros());
                        if self.verify_view(&view, rate, background.repair).await {
                            turns.ended.insert(view, self.board.now_micros());
                        }
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Ok(()),
            () = self.keep_canaries(background), if background.rows_per_second.is_some() => Ok(()),
            ended = verify => ended,
        }
    }

    /// What was compared longest ago, unless that is not long ago. What could not be compared does not hold up the rest.
    fn next_turn(&self, turns: &Turns, background: Background) -> Result<Option<Turn>> {
        let (again_after, repair) = (micros(background.every), background.repair.is_some());
        let mut first = (turns.canaries + again_after, Turn::Canaries);
        for plan in &self.plans {
            let name = plan.view.name.to_string();
            let last = self.state.verified_at(&name)?;
            let due = match last {
                _ if repair && self.repair_was_approved(plan) => 0,
                // Whoever found it did not put it right: that is still to be done here.
                Some((_, drifted)) if repair && drifted > 0 => {
                    turns.ended.get(&name).map_or(0, |at| at + again_after)
                }
                last => last.map_or(0, |(at, _)| at + again_after),
            };
            let retry_after = micros(RETRY_AFTER).min(again_after);
            let due = turns.begun.get(&name).map_or(due, |at| due.max(at + retry_after));
            if due < first.0 {
                first = (due, Turn::View(name));
            }
        }
        let (due, turn) = first;
        Ok((due <= self.board.now_micros()).then_some(turn))
    }

    /// Somebody agreed that what drifted in it is put right: it waits no longer.
    fn repair_was_approved(&self, plan: &ViewPlan) -> bool {
        let is = |part: String| self.heal.is_approved(&part, Action::Repair);
        let view = &plan.view;
        let parts = view.parts.iter().map(|part| &part.store);
        view.stores.iter().chain(parts).any(|store| is(format!("view {store}/{}", view.name)))
            || is(groups_part(&view.name))
            || (plan.stateful && plan.tables.iter().any(|table| is(format!("{MIRROR} {table}"))))
    }

    /// Whether it came to its end.
    async fn verify_view(self: &Arc<Self>, view: &str, rate: u64, repair: Option<f64>) -> bool {
        let mut asked = self.asked.subscribe();
        if *asked.borrow_and_update() > 0 {
            return false;
        }
        let views = vec![view.to_owned()];
        let request = Request { views, pace: Pace::Rate(rate), repair, ..Request::default() };
        let (sink, _) = watch::channel(Progress::default());
        let report = tokio::select! {
            () = somebody_asks(&mut asked) => {
                debug!(%view, "somebody asks for a verification: this one begins anew later");
                return false;
            }
            report = self.run(&request, &sink) => report,
        };
        match report {
            Ok(report) => {
                let broke_off = report.comparisons().any(|c| c.verdict == Verdict::Failed);
                info!(%view, drifted = report.drift(), took_ms = report.took_ms, broke_off, "the view was verified");
                !broke_off
            }
            Err(error) => {
                debug!(%view, %error, "the view was not verified");
                false
            }
        }
    }
}

/// When what was taken last, by the board's clock.
#[derive(Default)]
struct Turns {
    /// Views whose comparison began, and those of which one ended, put right what may be.
    begun: BTreeMap<String, i64>,
    ended: BTreeMap<String, i64>,
    canaries: i64,
}

enum Turn {
    View(String),
    Canaries,
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

async fn somebody_asks(asked: &mut watch::Receiver<u32>) {
    if asked.wait_for(|asked| *asked > 0).await.is_err() {
        std::future::pending::<()>().await;
    }
}
