//! What verification does about drift, if it is asked to: within a bound, in small steps, and looked at again.

use std::sync::Arc;
use std::time::Duration;

use headwater_model::heal::Action;
use headwater_model::{Error, ErrorKind, Key, Listed, Offset, Refusal, Result, TableId, TableName, View};
use tokio::time::{sleep, timeout};

use super::Verifier;
use super::compare::Target;
use super::page::{Page, Should};
use super::report::{Comparison, REPAIRED_ANYWAY, Verdict};
use super::standing::Strays;
use super::truth::{Truth, blocking, lock, readable};
use crate::amend::Wrong;
use crate::heal::table::{Event, PartKind};
use crate::heal::{Heal, MIRROR};
use crate::landing::{Outcome, Purpose};
use crate::retry::Backoff;

/// More wrong groups of a ranking, or entries of an index, than this are not drift: the mirror is no good.
pub(super) const WRONG_MAX: usize = 10_000;

/// Documents of one step.
const KEYS_AT_ONCE: usize = 200;

/// Between two steps: about 4,000 documents a second at most, so that what is put right never crowds out what is new.
const PAUSE: Duration = Duration::from_millis(50);

/// How long an applier may take to do what it was asked.
const WITHIN: Duration = Duration::from_secs(60);

/// How often it is tried while the store is not in step, or a key is touched all the time.
const TRIES: u32 = 8;

/// How much of one subject may be put right, and whether the table of healing lets it be.
#[derive(Clone)]
pub(super) struct Allowance {
    share: Option<f64>,
    heal: Arc<Heal>,
    kind: PartKind,
    /// As healing names it.
    part: String,
    /// What the table said in this run.
    may: Option<bool>,
    /// What it would be made from is wrong itself.
    is_withheld: bool,
}

impl Allowance {
    pub fn of_view(share: Option<f64>, heal: &Arc<Heal>, store: &str, view: &str) -> Allowance {
        let part = format!("view {store}/{view}");
        Allowance { share, heal: Arc::clone(heal), kind: PartKind::View, part, may: None, is_withheld: false }
    }

    pub fn of_table(share: Option<f64>, heal: &Arc<Heal>, table: &TableName) -> Allowance {
        let part = format!("{MIRROR} {table}");
        Allowance {
            share,
            heal: Arc::clone(heal),
            kind: PartKind::Mirror,
            part,
            may: None,
            is_withheld: false,
        }
    }

    pub fn of_groups(share: Option<f64>, heal: &Arc<Heal>, view: &str) -> Allowance {
        let part = groups_part(view);
        Allowance {
            share,
            heal: Arc::clone(heal),
            kind: PartKind::Mirror,
            part,
            may: None,
            is_withheld: false,
        }
    }

    /// Nothing may be put right, for what it would be made from is wrong itself.
    pub fn withhold(&mut self) {
        self.is_withheld = true;
    }

    /// Whether `more` may be put right too, of about `of` documents. If not, it is noted, and nothing is from then on.
    pub fn admits(&mut self, comparison: &mut Comparison, more: usize, of: u64) -> Result<bool> {
        let Some(share) = self.share else { return Ok(false) };
        if self.is_withheld {
            let why = "the mirror, which its documents are made from, is not right itself: that comes first";
            comparison.repair_held = Some(why.to_owned());
            return Ok(false);
        }
        // All that drifted so far is counted, so that a stop is the same however the keys came in.
        let fits = !comparison.repair_stopped && comparison.drift() + more as u64 <= most(share, of);
        comparison.repair_stopped |= !fits;
        if !fits {
            return Ok(false);
        }
        if self.may.is_none() {
            let evidence = format!("{more} so far of about {of}");
            self.may = Some(match self.heal.ask(self.kind, &self.part, Event::Drifted, &evidence) {
                Ok(_) => true,
                Err(error) if error.kind() == ErrorKind::Denied => {
                    comparison.repair_held = Some(error.to_string());
                    false
                }
                Err(error) => return Err(error),
            });
        }
        Ok(self.may == Some(true))
    }

    /// The subject is compared to its end; `whole`: all of it. An approval that was made use of, or that nothing needs any
    /// more, is used up; who is asked for one is told how much it is about.
    pub fn settle(&self, comparison: &Comparison, whole: bool) -> Result<()> {
        let done = self.may == Some(true) && comparison.verdict != Verdict::Failed;
        let needless = whole && comparison.verdict == Verdict::Equal;
        if done || needless {
            return self.heal.settle(&self.part, Action::Repair);
        }
        if comparison.repair_held.is_some() && !self.is_withheld {
            let first =
                comparison.drifted.first().map_or(String::new(), |first| format!("; {}, for one", first.key));
            let evidence = format!("{}{first}", comparison.kinds());
            return self.heal.describe(&self.part, Action::Repair, evidence);
        }
        Ok(())
    }
}

/// The groups of a ranking, as healing names them.
pub(super) fn groups_part(view: &str) -> String {
    format!("{MIRROR} groups of {view}")
}

/// Of about `of` documents. That number may be an old estimate: whoever lets all of them be put right is never stopped by it.
fn most(share: f64, of: u64) -> u64 {
    match share < 1.0 {
        true => ((share * of as f64) as u64).max(REPAIRED_ANYWAY),
        false => u64::MAX,
    }
}

impl Verifier {
    /// Puts documents of a store right; how many were, and then compared equal.
    pub(super) async fn mend(
        &self,
        truth: &Truth,
        target: &Target,
        keys: Vec<Key>,
        strays: &Strays,
    ) -> Result<u64> {
        let mut mended = 0;
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let refused = self.mend_step(truth, target, keys, strays).await?;
            let page = truth.of_keys(self, keys.to_vec()).await?;
            let roll = truth.roll(self, page.offset);
            let compared = target.compare(truth.view(), page, roll, strays).await?;
            let left = compared.missed.len().max(refused.len());
            mended += (keys.len() - left.min(keys.len())) as u64;
            sleep(PAUSE).await;
        }
        Ok(mended)
    }

    /// What the store refused.
    pub(super) async fn mend_step(
        &self,
        truth: &Truth,
        target: &Target,
        keys: &[Key],
        strays: &Strays,
    ) -> Result<Vec<Refusal>> {
        let (mut keys, mut refused) = (keys.to_vec(), Vec::new());
        let mut backoff = Backoff::new();
        let mut failed = Error::transient("rows that a transaction holds cannot be put right now");
        for _ in 0..TRIES {
            let page = truth.of_keys(self, keys.clone()).await?;
            let (known, unknown): (Vec<_>, Vec<_>) =
                page.entries.into_iter().partition(|entry| entry.should != Should::Unknown);
            if !known.is_empty() {
                let page = Page::new(page.offset, known.clone());
                let strays = known.iter().filter_map(|entry| strays.get(&entry.text)).flatten();
                let strays = strays.cloned().map(Listed::Entry).collect();
                match timeout(WITHIN, self.menders.mend(&target.name, truth.view(), page, strays)).await {
                    Ok(Ok(mended)) => {
                        refused.extend(mended.refused);
                        keys = unknown.into_iter().map(|entry| entry.key).collect();
                        if mended.count < known.len() as u64 {
                            keys.extend(known.into_iter().map(|entry| entry.key));
                        }
                    }
                    Ok(Err(error)) => failed = error,
                    Err(_) => failed = Error::transient("the store takes too long to be put right"),
                }
            }
            if keys.is_empty() {
                return Ok(refused);
            }
            backoff.pause().await;
        }
        Err(failed)
    }

    /// Takes out of indexes what leads to no document that could be; how much was.
    pub(super) async fn take_out(&self, view: &Arc<View>, target: &Target, strays: &[Listed]) -> Result<u64> {
        for strays in strays.chunks(KEYS_AT_ONCE) {
            let page = Page::new(Offset::ZERO, Vec::new());
            match timeout(WITHIN, self.menders.mend(&target.name, view, page, strays.to_vec())).await {
                Ok(mended) => mended?,
                Err(_) => return Err(Error::transient("the store takes too long to be put right")),
            };
            sleep(PAUSE).await;
        }
        Ok(strays.len() as u64)
    }

    /// Has the deriver put right what is wrong in the mirror itself. `table`: one whose rows it has.
    pub(super) async fn amend(&self, wrong: Wrong, table: &TableName) -> Result<()> {
        let amended = self.amender.ask(wrong).await?;
        // It is done with the next transaction, so one is made: a row that the mirror has is put into the journal once more.
        let (look, name) = (self.look().await?, table.clone());
        let first = blocking(move || lock(&look).keys(&name, &[], 1)).await?.found.items;
        if !first.is_empty() {
            let id = readable(table, self.chunks.table_id(table)).await?;
            self.mend_mirror(table, id, &first).await?;
        }
        match timeout(WITHIN, amended).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::transient("documents are not derived any more")),
            Err(_) => Err(Error::transient("nothing was committed with which the mirror could be put right")
                .with_remedy("ask again while the source is written to")),
        }
    }

    /// Puts rows of the mirror right, through the journal, so that every document made from them follows.
    pub(super) async fn mend_mirror(&self, name: &TableName, table: TableId, keys: &[Key]) -> Result<()> {
        let derived = self.derived.as_ref().ok_or_else(|| Error::bug("nothing is derived"))?;
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let mut keys = keys.to_vec();
            let mut backoff = Backoff::new();
            for _ in 0..TRIES {
                let range = headwater_model::ChunkRange {
                    table: name.clone(),
                    after: None,
                    limit: keys.len(),
                    bytes_max: usize::MAX,
                    keys: keys.clone(),
                };
                let purpose = Purpose::Mend { asked: keys.clone() };
                let mut chunk = self.chunks.start(&range, table, purpose).await?;
                if let Ok(Ok(Outcome::Landed(landed))) = timeout(WITHIN, &mut chunk.outcome).await {
                    self.chunks.wait_durable(landed.offset).await?;
                    let mut upto = derived.upto.clone();
                    let arrived = timeout(WITHIN, upto.wait_for(|upto| *upto >= landed.offset)).await;
                    if !matches!(arrived, Ok(Ok(_))) {
                        return Err(Error::transient("the mirror does not move"));
                    }
                    keys = landed.unknown;
                }
                if keys.is_empty() {
                    break;
                }
                backoff.pause().await;
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// The mirror is not worth mending: `what` of it does not fit its rows.
pub(super) fn no_good(what: &str) -> Error {
    Error::corrupt(format!("more than {WRONG_MAX} {what}")).with_remedy(
        "stop, remove mirror.db in the data folder and start again: it is filled again from the source",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_an_estimate_and_all_is_all() {
        assert_eq!(most(0.01, 1_000_000), 10_000);
        assert_eq!(most(0.01, 50), REPAIRED_ANYWAY);
        // A table that grew since it was counted, or never was.
        assert!(most(1.0, 300) >= 1_800);
        assert_eq!(most(1.0, 0), u64::MAX);
    }
}
