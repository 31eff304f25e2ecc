//! A step in every lane at once.
//!
//! Changes go to their documents' lanes as they come, each lane's MULTI is filled meanwhile, and `commit` executes them all.
//! If that fails in some lanes, the store is where the others are; whoever claims it next brings all lanes to one place and
//! writes the rest once more.
//!
//! A lane that is ahead then must take part only in a step that ends behind where it is, and not in part: else its documents
//! would go back. Where a step ends is known when it is committed. So changes of views that are ahead are **held back**, a
//! bounded number. Beyond it they are dropped, as if the step ended before; if it does not, the step fails and the next
//! is written directly, as if it ended behind; if that is wrong too, it fails in turn. Nothing takes effect that must not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use futures::future::join_all;
use headwater_model::{
    Apply, Error, ErrorKind, Held, Key, Layout, Listed, Offset, Record, Refusal, Result, View, ViewChange,
};

use super::Shared;
use super::moved::Overlay;
use crate::redis::ahead::Ahead;
use crate::redis::keys;
use crate::redis::listing::{self, Foreign};
use crate::redis::slot;
use crate::redis::step::Step;

/// Changes held back from one lane.
const HELD_BACK_MAX: usize = 20_000;

pub(in crate::redis) struct LanesStep {
    shared: Arc<Shared>,
    after: Offset,
    lanes: Vec<LaneStep>,
    overlay: Overlay,
    /// What was held back and let go, or written although it may have to be held back: views are there already up to here.
    dropped: Offset,
    dared: Offset,
}

struct LaneStep {
    step: Step,
    ahead: Ahead,
    /// As the server has it.
    was: Ahead,
    held_back: Vec<Queued>,
}

/// A change for a lane. One that takes a document out of it keeps that for the lane it goes to, if that needs it.
struct Queued {
    change: ViewChange,
    kept_for: Option<(Key, Record)>,
}

impl From<ViewChange> for Queued {
    fn from(change: ViewChange) -> Queued {
        Queued { change, kept_for: None }
    }
}

/// By lane.
type Queues = [Vec<Queued>];

impl LaneStep {
    async fn write(step: &mut Step, queued: Vec<Queued>) -> Result<Vec<Refusal>> {
        let (mut changes, mut refusals) = (Vec::with_capacity(queued.len()), Vec::new());
        for Queued { change, kept_for } in queued {
            if let (ViewChange::Delete { view, key }, Some((new, document))) = (&change, &kept_for) {
                refusals.extend(step.write(std::mem::take(&mut changes)).await?);
                step.keep_moved(view, [key, new], document).await?;
            }
            changes.push(change);
        }
        refusals.extend(step.write(changes).await?);
        Ok(refusals)
    }
}

impl LanesStep {
    pub(super) fn new(shared: Arc<Shared>, after: Offset, steps: Vec<Step>) -> LanesStep {
        let lanes = steps.into_iter().map(|step| {
            let ahead = step.ahead();
            LaneStep { step, was: ahead.clone(), ahead, held_back: Vec::new() }
        });
        let lanes = lanes.collect();
        LanesStep {
            shared,
            after,
            lanes,
            overlay: Overlay::default(),
            dropped: Offset::ZERO,
            dared: Offset::ZERO,
        }
    }

    fn lane_of(&self, view: &View, key: &Key) -> usize {
        let mut name = keys::of_view("", &view.name);
        key.write_text(&mut name);
        slot::lane_of(&name, self.shared.config.lanes)
    }

    /// Puts a change where its lane finds it.
    async fn route(
        &mut self,
        change: ViewChange,
        queues: &mut Queues,
        refusals: &mut Vec<Refusal>,
    ) -> Result<()> {
        if change.view().layout() == Layout::Hash {
            self.overlay.note(&change);
        }
        match change {
            ViewChange::Put { view, key, moved_from: Some(old), document } => {
                // Most likely out of one lane, into another. Within one it is done the same way: written once more, the server's own
                // copy might be one of another document that has come under the old key since.
                let (from, to) = (self.lane_of(&view, &old), self.lane_of(&view, &key));
                let (document, kept_for) = match document.is_partial() {
                    true => {
                        let whole = self.whole(&view, &old, &key, from).await?;
                        (whole.clone(), whole.map(|document| (key.clone(), document)))
                    }
                    false => (Some(document), None),
                };
                queues[from].push(Queued {
                    change: ViewChange::Delete { view: Arc::clone(&view), key: old },
                    kept_for,
                });
                match document {
                    Some(document) => {
                        queues[to].push(ViewChange::Put { view, key, moved_from: None, document }.into())
                    }
                    None => {
                        refusals.push(Refusal {
                            view: view.name.clone(),
                            key: key.to_text(),
                            reason: "its key changed and with it its lane of the cluster, the change does not carry all \
                                     its fields, and what they were is not known any more; repair the row"
                                .to_owned(),
                        });
                        queues[to].push(ViewChange::Delete { view, key }.into());
                    }
                }
            }
            ViewChange::Put { ref view, ref key, .. } | ViewChange::Delete { ref view, ref key } => {
                let lane = self.lane_of(view, key);
                queues[lane].push(change.into());
            }
            ViewChange::Clear { view } => {
                self.flush(queues, refusals).await?;
                self.clear(&view).await?;
            }
        }
        Ok(())
    }

    /// A partial document with the fields that stay, as the document it was moved from has them. `None` if nobody knows them.
    /// The overlay has seen the move already.
    async fn whole(&mut self, view: &Arc<View>, old: &Key, new: &Key, from: usize) -> Result<Option<Record>> {
        let Some(known) = self.overlay.under(view, new) else { return Ok(None) };
        if !known.is_partial() {
            return Ok(Some(known));
        }
        let lane = &mut self.lanes[from];
        let is_ahead = lane.ahead.of(&view.name) > self.after;
        let Some(filled) = lane.step.fill(view, [old, new], known, is_ahead).await? else {
            return Ok(None);
        };
        self.overlay.known(view, new, filled.clone());
        Ok(Some(filled))
    }

    async fn clear(&mut self, view: &Arc<View>) -> Result<()> {
        for lane in &mut self.lanes {
            lane.held_back.retain(|late| late.change.view().name != view.name);
            lane.ahead.cleared(&view.name);
        }
        let shared = Arc::clone(&self.shared);
        let mut walk = shared.walk(&view.name).await?;
        while let Some(found) = walk.next().await? {
            for (lane, keys) in found {
                self.lanes[lane].step.unlink_found(view, &keys).await?;
            }
        }
        let rest = self.lanes.iter_mut().map(|lane| lane.step.clear_rest(view));
        self.shared.all(join_all(rest).await).map(drop)
    }

    /// Gives the lanes what was put for them.
    async fn flush(&mut self, queues: &mut Queues, refusals: &mut Vec<Refusal>) -> Result<()> {
        let direct = self.shared.direct.load(Ordering::Relaxed);
        let mut writes = Vec::new();
        for (lane, queue) in self.lanes.iter_mut().zip(queues) {
            let mut changes = std::mem::take(queue);
            if !lane.ahead.is_none() {
                let (doubtful, sure): (Vec<_>, Vec<_>) = changes
                    .into_iter()
                    .partition(|queued: &Queued| lane.ahead.of(&queued.change.view().name) > self.after);
                changes = sure;
                let furthest = |queued: &[Queued]| {
                    queued
                        .iter()
                        .map(|queued| lane.ahead.of(&queued.change.view().name))
                        .max()
                        .unwrap_or_default()
                };
                if direct {
                    self.dared = self.dared.max(furthest(&doubtful));
                    changes.extend(doubtful);
                } else if lane.held_back.len() + doubtful.len() > HELD_BACK_MAX {
                    self.dropped = self.dropped.max(furthest(&doubtful)).max(furthest(&lane.held_back));
                    lane.held_back = Vec::new();
                } else if self.dropped == Offset::ZERO {
                    lane.held_back.extend(doubtful);
                }
            }
            if !changes.is_empty() {
                writes.push(LaneStep::write(&mut lane.step, changes));
            }
        }
        refusals.extend(self.shared.all(join_all(writes).await)?.into_iter().flatten());
        Ok(())
    }

    /// Writes what was held back and must be written, now that it is known where the step ends.
    async fn settle(&mut self, end: Offset) -> Result<()> {
        if self.dropped > Offset::ZERO && end > self.dropped {
            self.shared.direct.store(true, Ordering::Relaxed);
            return Err(again("changes were left out that a lane of the cluster does not have yet"));
        }
        if self.dared > Offset::ZERO && end <= self.dared {
            self.shared.direct.store(false, Ordering::Relaxed);
            return Err(again("the step ends before where a lane of the cluster is"));
        }
        let mut writes = Vec::new();
        for lane in &mut self.lanes {
            let mut late = std::mem::take(&mut lane.held_back);
            late.retain(|late| lane.ahead.of(&late.change.view().name) < end);
            lane.ahead.reached(end);
            if !late.is_empty() {
                writes.push(LaneStep::write(&mut lane.step, late));
            }
        }
        let refused = self.shared.all(join_all(writes).await)?.into_iter().flatten().count();
        if refused > 0 {
            // Too late to say which: the next attempt says it in time.
            self.shared.direct.store(true, Ordering::Relaxed);
            return Err(again("documents were refused after a failure"));
        }
        Ok(())
    }
}

fn again(why: &str) -> Error {
    Error::new(ErrorKind::Transient, format!("{why}: the step is written again"))
}

#[async_trait]
impl Apply for LanesStep {
    async fn write(&mut self, changes: Vec<ViewChange>) -> Result<Vec<Refusal>> {
        let mut queues: Vec<Vec<Queued>> = self.lanes.iter().map(|_| Vec::new()).collect();
        let mut refusals = Vec::new();
        for change in changes {
            self.route(change, &mut queues, &mut refusals).await?;
        }
        self.flush(&mut queues, &mut refusals).await?;
        Ok(refusals)
    }

    async fn unplace(&mut self, view: &Arc<View>, strays: &[Listed]) -> Result<()> {
        let mut by_lane: Vec<Vec<Listed>> = self.lanes.iter().map(|_| Vec::new()).collect();
        for stray in strays {
            let lane = match stray {
                Listed::Entry(entry) => {
                    slot::lane_of(&listing::name(&view.name, &entry.key), self.shared.config.lanes)
                }
                Listed::Foreign(bytes) => Foreign::read(bytes)?.lane,
            };
            let strays = by_lane.get_mut(lane).ok_or_else(|| Error::bug("there is no such lane"))?;
            strays.push(stray.clone());
        }
        let each = self.lanes.iter_mut().zip(&by_lane).filter(|(_, strays)| !strays.is_empty());
        let each = each.map(|(lane, strays)| lane.step.unplace(view, strays));
        self.shared.all(join_all(each).await).map(drop)
    }

    async fn commit(mut self: Box<Self>, held: &Held) -> Result<()> {
        self.settle(held.offset).await?;
        let LanesStep { shared, lanes, .. } = *self;
        // Whoever reads several lanes waits until they are at one place again.
        let _uneven = shared.even.write().await;
        let commits = lanes.into_iter().map(|lane| {
            let LaneStep { step, ahead, was, .. } = lane;
            async move { step.commit_with(held, (ahead != was).then_some(&ahead)).await }
        });
        shared.all(join_all(commits).await)?;
        shared.direct.store(false, Ordering::Relaxed);
        Ok(())
    }
}
