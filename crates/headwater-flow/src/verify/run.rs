//! One verification, from what was asked for to the report.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{Error, Key, Listed, Offset, Result, TableName, View, ViewKind};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::compare::{Compared, Missed, Target};
use super::mend::Allowance;
use super::mirror::MirrorTable;
use super::pace::Pacer;
use super::page::{Page, Should, Tails};
use super::report::{Comparison, DriftKind, Drifted, GROUPS, Progress, Report, Request, Verdict};
use super::seen::SeenKeys;
use super::settle::settle;
use super::standing::{self, Strays};
use super::truth::{Rolls, Truth, readable};
use super::{Verifier, no_such};
use crate::board::Board;
use crate::state::Consumer;
use crate::status::{IncidentKind, QuarantinedRow, VerifiedStatus};

/// Keys that a store lists at once.
const KEYS_AT_ONCE: usize = 1_000;

/// Keys that differ are looked at again as soon as there are so many.
const SETTLE_AT: usize = 1_000;

/// Pages that are compared at once, at full speed: stores answer for one while the other is compared.
const PAGES_AT_ONCE: usize = 3;

/// Where a store lists keys for a sample: of so many pages, each may be chosen.
const SAMPLE_KEYS: usize = 200;

/// Tells how far a run is.
pub(super) struct Watch<'s> {
    board: &'s Board,
    sink: &'s watch::Sender<Progress>,
    now: Progress,
    /// Of subjects that are done.
    before: (u64, u64),
    told_at: Instant,
}

impl Watch<'_> {
    fn begin(&mut self, subject: String, estimate: u64) {
        self.before = (self.now.rows_total, self.now.drifted);
        self.now = Progress {
            subject,
            doing: "comparing".to_owned(),
            rows: 0,
            rows_estimate: estimate,
            rows_total: self.before.0,
            rows_total_estimate: self.now.rows_total_estimate,
            drifted: self.before.1,
        };
        self.tell(true);
    }

    pub fn doing(&mut self, doing: &str) {
        self.now.doing = doing.to_owned();
        self.tell(true);
    }

    /// Of the present subject.
    pub fn rows(&mut self, rows: u64, drifted: u64) {
        self.now.rows = rows;
        self.now.rows_total = self.before.0 + rows;
        self.now.drifted = self.before.1 + drifted;
        self.tell(false);
    }

    fn tell(&mut self, at_once: bool) {
        if at_once || self.told_at.elapsed() > Duration::from_millis(50) {
            self.sink.send_replace(self.now.clone());
            self.board.verifying(Some(self.now.clone()));
            self.told_at = Instant::now();
        }
    }
}

/// Also of one that is broken off.
impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.board.verifying(None);
    }
}

/// A view and the stores that are compared with it.
struct Subject {
    view: Arc<View>,
    tables: Vec<TableName>,
    derived: bool,
    places: Vec<Place>,
}

struct Place {
    target: Target,
    /// The store holds part of the view: what it lacks is no drift.
    part: bool,
    comparison: Comparison,
    allowance: Allowance,
    /// Keys that differed, and those of which nothing could be told.
    missed: Vec<Key>,
    unknown: Vec<Key>,
    /// What was found in indexes of these keys.
    strays: Strays,
}

/// A page that is being compared with stores.
struct PageInHand {
    from: Offset,
    /// With which place of the subject, and what comes of it.
    compared: Vec<(usize, AbortOnDropHandle<Result<Compared>>)>,
}

impl Verifier {
    /// Compares what was asked for. An error means that nothing could be said; what broke off for one view in one store is in
    /// the report.
    pub async fn run(self: &Arc<Self>, request: &Request, sink: &watch::Sender<Progress>) -> Result<Report> {
        let subjects = self.subjects(request)?;
        let _turn = self.turn.lock().await;
        let began = Instant::now();
        let (board, now) = (&*self.board, Progress::default());
        let mut watch = Watch { board, sink, now, before: (0, 0), told_at: Instant::now() };
        let mut tables: BTreeSet<TableName> = BTreeSet::new();
        if request.sample.is_none() {
            for subject in subjects.iter().filter(|subject| subject.derived && subject.is_open()) {
                tables.extend(subject.tables.iter().cloned());
            }
        }
        let estimate = |table: &TableName| self.estimate(table);
        watch.now.rows_total_estimate = tables.iter().map(estimate).sum::<u64>()
            + subjects.iter().map(|subject| estimate(&subject.view.from)).sum::<u64>();
        let mut pacer = Pacer::new(request.pace);
        let mut report = Report::default();
        for table in tables {
            report.mirror.push(self.compare_table(table, request.repair, &mut watch, &mut pacer).await?);
        }
        if request.sample.is_none() {
            let is_counted =
                |subject: &&Subject| matches!(subject.view.kind, ViewKind::Ranking(_)) && subject.is_open();
            for subject in subjects.iter().filter(is_counted) {
                let view = Arc::clone(&subject.view);
                report.mirror.push(self.groups(&view, request.repair, &mut watch).await?);
                pacer.looked().await;
            }
        }
        for mut subject in subjects {
            let estimate = self.estimate(&subject.view.from);
            watch.begin(format!("view {}", subject.view.name), estimate);
            let began_at = self.board.now_micros();
            if report.mirror.iter().any(|made_from| made_from.left() > 0 && subject.is_made_from(made_from)) {
                subject.places.iter_mut().for_each(|place| place.allowance.withhold());
            }
            let compared = match request.sample {
                Some(share) => self.sample(&mut subject, share, &mut watch, &mut pacer).await,
                None => self.compare_all(&mut subject, &mut watch, &mut pacer).await,
            };
            for mut place in subject.places {
                if let Err(error) = &compared
                    && place.comparison.verdict == Verdict::Equal
                {
                    fail(&mut place.comparison, error);
                }
                place.comparison.conclude();
                place.comparison.position = self.position();
                place.allowance.settle(&place.comparison, request.sample.is_none())?;
                if request.sample.is_none() {
                    self.remember(&place.comparison, began_at)?;
                }
                self.tell_drift(&format!("store {}", place.target.name), "view", &place.comparison);
                report.views.push(place.comparison);
            }
        }
        report.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(report)
    }

    fn position(&self) -> Option<String> {
        self.chunks.journal.last_position().map(|position| self.chunks.source.notation(&position))
    }

    fn subjects(&self, request: &Request) -> Result<Vec<Subject>> {
        let known = |name: &String| self.plans.iter().any(|plan| *plan.view.name == **name);
        if let Some(name) = request.views.iter().find(|name| !known(name)) {
            return Err(no_such("view", name, self.plans.iter().map(|plan| plan.view.name.to_string())));
        }
        if let Some(name) = request.store.as_deref().filter(|name| self.target(name).is_none()) {
            return Err(no_such("store", name, self.stores.iter().map(|store| store.name.to_string())));
        }
        if let Some(share) = request.sample
            && !(share > 0.0 && share <= 1.0)
        {
            return Err(Error::misconfigured("a sample is more than 0% and at most 100%"));
        }
        let asked = |view: &View| request.views.is_empty() || request.views.iter().any(|n| **n == *view.name);
        let mut subjects = Vec::new();
        for plan in self.plans.iter().filter(|plan| asked(&plan.view)) {
            let view = &plan.view;
            let whole = view.stores.iter().map(|store| (store, false));
            let parts = view.parts.iter().map(|part| (&part.store, true));
            let places: Vec<Place> = whole
                .chain(parts)
                .filter(|(store, _)| request.store.as_ref().is_none_or(|only| **only == ***store))
                .filter_map(|(store, part)| Some(self.place(self.target(store)?, part, view, request.repair)))
                .collect();
            if !places.is_empty() {
                let (view, tables) = (Arc::clone(view), plan.tables.clone());
                subjects.push(Subject { view, tables, derived: plan.stateful, places });
            }
        }
        match (&request.store, subjects.is_empty()) {
            (Some(store), true) => {
                Err(Error::misconfigured(format!("store `{store}` holds none of the views that were named")))
            }
            _ => Ok(subjects),
        }
    }

    pub(super) fn target(&self, name: &str) -> Option<Target> {
        let found = self.stores.iter().find(|store| *store.name == *name)?;
        let progress = self.board.progress(name);
        Some(Target { name: found.name.clone(), store: Arc::clone(&found.store), progress })
    }

    fn place(&self, target: Target, part: bool, view: &View, repair: Option<f64>) -> Place {
        let mut comparison = Comparison {
            name: view.name.to_string(),
            store: target.name.to_string(),
            covered: if part { 0.0 } else { 1.0 },
            ..Comparison::default()
        };
        let progress = target.progress.borrow();
        let why = if !progress.connected {
            Some("the store is not in step")
        } else if !progress.ready.contains(&view.name) {
            Some("the view is being filled, or can be derived no further")
        } else if progress.stale.contains_key(&view.name) {
            Some("the view is being put right after a gap in the source's log")
        } else {
            None
        };
        drop(progress);
        if let Some(why) = why {
            (comparison.verdict, comparison.covered) = (Verdict::Skipped, 0.0);
            comparison.reason = Some(why.to_owned());
        }
        let allowance = Allowance::of_view(repair, &self.heal, &target.name, &view.name);
        Place {
            target,
            part,
            comparison,
            allowance,
            missed: Vec::new(),
            unknown: Vec::new(),
            strays: Strays::new(),
        }
    }

    async fn compare_table(
        &self,
        name: TableName,
        repair: Option<f64>,
        watch: &mut Watch<'_>,
        pacer: &mut Pacer,
    ) -> Result<Comparison> {
        watch.begin(format!("table {name}"), self.estimate(&name));
        let mut comparison = Comparison {
            name: name.to_string(),
            store: "mirror".to_owned(),
            covered: 1.0,
            ..Comparison::default()
        };
        let mut allowance = Allowance::of_table(repair, &self.heal, &name);
        let compared = async {
            let table = readable(&name, self.chunks.table_id(&name)).await?;
            let look = self.look().await?;
            let allowance = &mut allowance;
            let tails = Tails::of(&self.chunks.journal);
            let mut table = MirrorTable { verifier: self, name: name.clone(), table, look, allowance, tails };
            table.compare(watch, pacer, &mut comparison).await
        };
        if let Err(error) = compared.await {
            fail(&mut comparison, &error);
        }
        comparison.conclude();
        comparison.position = self.position();
        allowance.settle(&comparison, true)?;
        self.tell_drift("mirror", "table", &comparison);
        Ok(comparison)
    }

    async fn groups(
        &self,
        view: &Arc<View>,
        repair: Option<f64>,
        watch: &mut Watch<'_>,
    ) -> Result<Comparison> {
        watch.begin(format!("groups of view {}", view.name), self.estimate(&view.from));
        watch.doing("counting");
        let mut comparison = Comparison {
            name: view.name.to_string(),
            store: GROUPS.to_owned(),
            covered: 1.0,
            ..Comparison::default()
        };
        let mut allowance = Allowance::of_groups(repair, &self.heal, &view.name);
        if let Err(error) = self.compare_groups(view, &mut allowance, &mut comparison, watch).await {
            fail(&mut comparison, &error);
        }
        comparison.conclude();
        comparison.position = self.position();
        allowance.settle(&comparison, true)?;
        self.tell_drift("mirror", "groups of view", &comparison);
        Ok(comparison)
    }

    /// That all of a view was compared in a store, and when that began.
    fn remember(&self, comparison: &Comparison, began_at: i64) -> Result<()> {
        if !matches!(comparison.verdict, Verdict::Equal | Verdict::Drifted) {
            return Ok(());
        }
        let consumer =
            Consumer { store: comparison.store.as_str().into(), view: comparison.name.as_str().into() };
        let verified =
            VerifiedStatus { at_micros: began_at, rows: comparison.rows, drifted: comparison.left() };
        self.state.verified(&consumer, &verified)?;
        self.board.view_verified(&consumer, verified);
        Ok(())
    }

    fn tell_drift(&self, part: &str, what: &str, comparison: &Comparison) {
        if comparison.drift() == 0 {
            return;
        }
        let Comparison { name, repaired, .. } = comparison;
        let mut cause = format!("{what} {name}: {}", comparison.kinds());
        if *repaired > 0 {
            cause.push_str(&format!("; {repaired} put right"));
        }
        if comparison.repair_stopped {
            cause.push_str("; more than may be put right without asking");
        }
        if comparison.repair_held.is_some() {
            cause.push_str("; to put it right waits for somebody");
        }
        self.board.happened(part, IncidentKind::Drifted, &cause);
    }

    /// Every document that the source has, then those that only a store has.
    async fn compare_all(
        self: &Arc<Self>,
        subject: &mut Subject,
        watch: &mut Watch<'_>,
        pacer: &mut Pacer,
    ) -> Result<()> {
        if !subject.is_open() {
            return Ok(());
        }
        let truth = Truth::of(self, &subject.view).await?;
        let estimate = self.estimate(&subject.view.from);
        let mut seen = SeenKeys::new(estimate);
        let indexes = subject.view.indexes.len() as u64;
        let mut placed = (indexes > 0).then(|| SeenKeys::new(estimate.saturating_mul(indexes)));
        if subject.places.iter().any(|place| !place.part) {
            let ahead = pacer.pace.reads_ahead();
            let at_once = if ahead { PAGES_AT_ONCE } else { 1 };
            let rows = pacer.pace.rows_at_once(self.chunk_rows);
            let mut pages = truth.pages(self, None, rows, ahead);
            let (mut rolls, mut in_hand) = (truth.rolls(self), VecDeque::new());
            while let Some(page) = pages.next().await? {
                let there = page.entries.iter().filter(|entry| entry.should != Should::NotBe);
                for entry in there {
                    seen.insert(&entry.text);
                    if let (Some(placed), Should::Be(document)) = (&mut placed, &entry.should) {
                        subject
                            .view
                            .entries(&entry.key, document)
                            .iter()
                            .for_each(|entry| placed.insert(entry));
                    }
                }
                let (rows, waited) = (page.entries.len(), page.waited);
                in_hand.push_back(begin_page(subject, &mut rolls, page));
                if in_hand.len() >= at_once
                    && let Some(page) = in_hand.pop_front()
                {
                    self.end_page(subject, &truth, page).await;
                    subject.tell(watch);
                }
                pacer.compared(rows, waited).await;
            }
            for page in in_hand {
                self.end_page(subject, &truth, page).await;
            }
        }
        watch.doing("looking for extra documents");
        let view = Arc::clone(&subject.view);
        for place in subject.places.iter_mut().filter(|place| place.is_open()) {
            let looked = self.look_for_extras(place, &view, &truth, &seen, watch, pacer).await;
            let looked = match (looked, &placed) {
                (Ok(()), Some(placed)) if !place.part => {
                    watch.doing("looking into indexes");
                    self.look_for_strays(place, &view, &truth, placed, watch, pacer).await
                }
                (looked, _) => looked,
            };
            let settled = match looked {
                Ok(()) => self.settle(place, &truth).await,
                Err(error) => Err(error),
            };
            if let Err(error) = settled {
                fail(&mut place.comparison, &error);
            }
            place.comparison.extra_overlooked = if place.part { 0.0 } else { seen.overlooked() };
        }
        subject.tell(watch);
        Ok(())
    }

    /// Waits until a page is compared, and takes what came of it.
    async fn end_page(&self, subject: &mut Subject, truth: &Truth, page: PageInHand) {
        for (place, compared) in page.compared {
            let place = &mut subject.places[place];
            // What broke off is looked at no more.
            if !place.is_open() {
                continue;
            }
            let compared = match compared.await {
                Ok(compared) => compared,
                Err(error) => Err(Error::bug("comparing a page panicked").with_cause(error)),
            };
            let taken = match compared {
                Ok(compared) => self.take(place, truth, page.from, compared).await,
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                fail(&mut place.comparison, &error);
            }
        }
    }

    async fn compare_with(
        &self,
        place: &mut Place,
        truth: &Truth,
        view: &Arc<View>,
        page: Page,
    ) -> Result<()> {
        let roll = truth.roll(self, page.offset);
        let from = page.offset;
        let compared = place.target.compare(view, page, roll, &place.strays).await?;
        self.take(place, truth, from, compared).await
    }

    /// Keeps what came of a page that was known from an offset on, and looks again at what differed as soon as that is much.
    async fn take(&self, place: &mut Place, truth: &Truth, from: Offset, compared: Compared) -> Result<()> {
        place.comparison.at(from.0, compared.upto.0);
        place.take(compared);
        if place.missed.len() + place.unknown.len() >= SETTLE_AT {
            self.settle(place, truth).await?;
        }
        Ok(())
    }

    /// Tries a row once more that its store refused. An error says why it was refused again.
    pub async fn retry(&self, row: &QuarantinedRow) -> Result<()> {
        let gone = || Error::misconfigured("the file has this view in this store no longer");
        let store = row.store.as_deref().ok_or_else(|| {
            Error::misconfigured("this row has no key a store could keep it under")
                .with_remedy("mend it at the source")
        })?;
        let plan = self.plans.iter().find(|plan| *plan.view.name == *row.view).ok_or_else(gone)?;
        let target = self.target(store).ok_or_else(gone)?;
        let key = self.key(&row.view, &row.key).ok_or_else(gone)?;
        let truth = Truth::of(self, &plan.view).await?;
        match self.mend_step(&truth, &target, &[key], &Strays::new()).await?.into_iter().next() {
            Some(refused) => Err(Error::unsupported(format!("refused again: {}", refused.reason))
                .with_remedy("mend the row at the source, then try again")),
            None => Ok(()),
        }
    }

    async fn settle(&self, place: &mut Place, truth: &Truth) -> Result<()> {
        let (missed, unknown) = (std::mem::take(&mut place.missed), std::mem::take(&mut place.unknown));
        let strays = std::mem::take(&mut place.strays);
        if missed.is_empty() && unknown.is_empty() {
            return Ok(());
        }
        let settled = settle(self, truth, &place.target, missed, unknown, &strays).await?;
        place.comparison.at(settled.upto.0, settled.upto.0);
        place.comparison.unsettled += settled.unsettled;
        let store = place.target.name.clone();
        let consumer = Consumer { store, view: truth.view().name.clone() };
        let drifted = settled.drifted.into_iter();
        // What a part lacks is no drift.
        let drifted: Vec<Missed> =
            drifted.filter(|missed| !(place.part && missed.drifted.kind == DriftKind::Missing)).collect();
        let of = self.estimate(&truth.view().from).max(place.comparison.rows);
        let repair =
            !drifted.is_empty() && place.allowance.admits(&mut place.comparison, drifted.len(), of)?;
        let mut keys = Vec::with_capacity(drifted.len());
        for Missed { key, mut drifted } in drifted {
            drifted.quarantined = self.state.is_quarantined(&consumer, &drifted.key)?;
            place.comparison.add(drifted);
            keys.push(key);
        }
        if repair {
            place.comparison.repaired += self.mend(truth, &place.target, keys, &strays).await?;
        }
        Ok(())
    }

    /// What lies in the view's indexes and the pass has not spoken of is looked up at the source, by the key that it leads to.
    async fn look_for_strays(
        &self,
        place: &mut Place,
        view: &Arc<View>,
        truth: &Truth,
        placed: &SeenKeys,
        watch: &mut Watch<'_>,
        pacer: &mut Pacer,
    ) -> Result<()> {
        self.settle(place, truth).await?;
        let (mut cursor, mut found, mut count) = (None, Strays::new(), 0);
        loop {
            let (listed, next) = place.target.store.entries(view, cursor, KEYS_AT_ONCE).await?;
            let mut nobodys = Vec::new();
            for listed in listed {
                match listed {
                    Listed::Entry(entry) if placed.contains(&entry) => {}
                    Listed::Entry(entry) if self.key(&view.name, &entry.key).is_some() => {
                        count += 1;
                        found.entry(entry.key.clone()).or_default().push(entry);
                    }
                    nobody => nobodys.push(nobody),
                }
            }
            self.drifted_entries(place, view, nobodys).await?;
            pacer.looked().await;
            if count >= KEYS_AT_ONCE || (next.is_none() && count > 0) {
                let texts = found.keys().map(|key| key.to_string()).collect();
                place.strays = std::mem::take(&mut found);
                count = 0;
                self.compare_keys(place, view, truth, texts).await?;
                self.settle(place, truth).await?;
                watch.rows(watch.now.rows, place.comparison.drift());
            }
            match next {
                None => return Ok(()),
                next => cursor = next,
            }
        }
    }

    /// Entries that lead to no key that a document can have: they are never on their way, so there is nothing to look at again.
    async fn drifted_entries(
        &self,
        place: &mut Place,
        view: &Arc<View>,
        mut found: Vec<Listed>,
    ) -> Result<()> {
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            return Ok(());
        }
        let of = self.estimate(&view.from).max(place.comparison.rows);
        let repair = place.allowance.admits(&mut place.comparison, found.len(), of)?;
        for stray in &found {
            place.comparison.add(standing::nobodys(view, stray));
        }
        if repair {
            place.comparison.repaired += self.take_out(view, &place.target, &found).await?;
        }
        Ok(())
    }

    /// What the store lists and the pass has not seen is looked up at the source.
    async fn look_for_extras(
        &self,
        place: &mut Place,
        view: &Arc<View>,
        truth: &Truth,
        seen: &SeenKeys,
        watch: &mut Watch<'_>,
        pacer: &mut Pacer,
    ) -> Result<()> {
        let ahead = pacer.pace.reads_ahead();
        let mut unseen = Vec::new();
        let mut listing = Some(list(&place.target, view, None));
        while let Some(listed) = listing.take() {
            let (keys, next) = match listed.await {
                Ok(listed) => listed?,
                Err(error) => return Err(Error::bug("listing keys panicked").with_cause(error)),
            };
            let is_last = next.is_none();
            let mut next = next.map(Some);
            if ahead {
                listing = next.take().map(|cursor| list(&place.target, view, cursor));
            }
            unseen.extend(keys.into_iter().filter(|key| place.part || !seen.contains(key)));
            if unseen.len() >= KEYS_AT_ONCE || (is_last && !unseen.is_empty()) {
                self.compare_keys(place, view, truth, std::mem::take(&mut unseen)).await?;
                watch.rows(watch.now.rows, place.comparison.drift());
            }
            pacer.looked().await;
            if let Some(cursor) = next {
                listing = Some(list(&place.target, view, cursor));
            }
        }
        Ok(())
    }

    /// Compares what lies in the store under these keys.
    async fn compare_keys(
        &self,
        place: &mut Place,
        view: &Arc<View>,
        truth: &Truth,
        texts: Vec<String>,
    ) -> Result<()> {
        let mut keys = Vec::with_capacity(texts.len());
        for text in texts {
            match self.key(&view.name, &text) {
                Some(key) => keys.push(key),
                // No key of ours is written so: it cannot even be asked for.
                None => place.comparison.add(Drifted {
                    key: text,
                    kind: DriftKind::Extra,
                    fields: Vec::new(),
                    quarantined: false,
                }),
            }
        }
        if !keys.is_empty() {
            let page = truth.of_keys(self, keys).await?;
            self.compare_with(place, truth, view, page).await?;
        }
        Ok(())
    }

    /// Stretches of the source behind keys that the stores list, and what the stores list there.
    async fn sample(
        self: &Arc<Self>,
        subject: &mut Subject,
        share: f64,
        watch: &mut Watch<'_>,
        pacer: &mut Pacer,
    ) -> Result<()> {
        if !subject.is_open() {
            return Ok(());
        }
        let truth = Truth::of(self, &subject.view).await?;
        let view = Arc::clone(&subject.view);
        for place in subject.places.iter_mut().filter(|place| place.is_open()) {
            let sampled = self.sample_place(place, &view, &truth, share, watch, pacer).await;
            let settled = match sampled {
                Ok(listed) => {
                    let all = listed.max(1) as f64;
                    place.comparison.covered = (place.comparison.rows as f64 / all).min(1.0);
                    self.settle(place, &truth).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = settled {
                fail(&mut place.comparison, &error);
            }
        }
        subject.tell(watch);
        Ok(())
    }

    /// How many keys the store listed.
    async fn sample_place(
        self: &Arc<Self>,
        place: &mut Place,
        view: &Arc<View>,
        truth: &Truth,
        share: f64,
        watch: &mut Watch<'_>,
        pacer: &mut Pacer,
    ) -> Result<u64> {
        let (mut cursor, mut listed) = (None, 0);
        // From the start of the table too: a store that has lost everything lists nothing.
        let mut starts = vec![None];
        loop {
            let (texts, next) = place.target.store.keys(view, cursor, SAMPLE_KEYS).await?;
            listed += texts.len() as u64;
            if fastrand::f64() < share / 2.0 {
                let start = texts.first().and_then(|text| self.row_key(&view.name, text));
                starts.extend(start.map(Some));
                self.compare_keys(place, view, truth, texts).await?;
            }
            if !place.part {
                for start in starts.drain(..) {
                    let mut pages = truth.pages(self, start, SAMPLE_KEYS, false);
                    if let Some(page) = pages.next().await? {
                        let (rows, waited) = (page.entries.len(), page.waited);
                        self.compare_with(place, truth, view, page).await?;
                        pacer.compared(rows, waited).await;
                    }
                }
            }
            pacer.looked().await;
            watch.rows(place.comparison.rows, place.comparison.drift());
            match next {
                None => return Ok(listed),
                next => cursor = next,
            }
        }
    }
}

impl Subject {
    fn is_open(&self) -> bool {
        self.places.iter().any(Place::is_open)
    }

    /// Whether its documents are made from what was compared there.
    fn is_made_from(&self, compared: &Comparison) -> bool {
        match &*compared.store {
            GROUPS => *self.view.name == *compared.name,
            _ => self.derived && self.tables.iter().any(|table| table.to_string() == compared.name),
        }
    }

    fn tell(&self, watch: &mut Watch<'_>) {
        let rows = self.places.iter().map(|place| place.comparison.rows).max().unwrap_or(0);
        watch.rows(rows, self.places.iter().map(|place| place.comparison.drift()).sum());
    }
}

impl Place {
    fn is_open(&self) -> bool {
        self.comparison.verdict == Verdict::Equal
    }

    fn take(&mut self, compared: Compared) {
        self.comparison.rows += compared.rows;
        self.missed.extend(compared.missed.into_iter().map(|missed| missed.key));
        self.unknown.extend(compared.unknown);
    }
}

/// Begins to compare a page with every store that is still looked at and holds the whole view, each in a task of its own.
fn begin_page(subject: &Subject, rolls: &mut Rolls<'_>, page: Page) -> PageInHand {
    let compared_with = |place: &Place| place.is_open() && !place.part;
    let places: Vec<usize> =
        (0..subject.places.len()).filter(|place| compared_with(&subject.places[*place])).collect();
    let from = page.offset;
    let mut pages = vec![page; places.len()];
    let compare = places.into_iter().filter_map(|place| {
        let page = pages.pop()?;
        let (view, roll) = (Arc::clone(&subject.view), rolls.roll(from));
        let target = subject.places[place].target.clone();
        let compare = async move { target.compare(&view, page, roll, &Strays::new()).await };
        Some((place, AbortOnDropHandle::new(tokio::spawn(compare))))
    });
    PageInHand { from, compared: compare.collect() }
}

/// A page of the keys that a store lists; in a task, for it can be listed while the one before is looked at.
fn list(
    target: &Target,
    view: &Arc<View>,
    cursor: Option<String>,
) -> AbortOnDropHandle<Result<(Vec<String>, Option<String>)>> {
    let (store, view) = (Arc::clone(&target.store), Arc::clone(view));
    AbortOnDropHandle::new(tokio::spawn(async move { store.keys(&view, cursor, KEYS_AT_ONCE).await }))
}

fn fail(comparison: &mut Comparison, error: &Error) {
    comparison.verdict = Verdict::Failed;
    comparison.reason = Some(match error.remedy() {
        Some(remedy) => format!("{error}; {remedy}"),
        None => error.to_string(),
    });
}
