//! The mirror against the source, table by table: what documents with embedded rows, and rankings, are made from.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_model::{Change, Error, Key, Offset, Result, TableId, TableName};
use tokio::time::{Instant, sleep, timeout};

use super::Verifier;
use super::compare::Missed;
use super::mend::Allowance;
use super::pace::Pacer;
use super::page::{Tail, Tails};
use super::report::{Comparison, DriftKind, Drifted, FieldDifference};
use super::run::Watch;
use super::seen::SeenKeys;
use super::truth::{blocking, lock, see_keys, see_table};
use crate::derive::Look;
use crate::landing::{Seen, Touch, touches};

/// How long the mirror may take to come to where a chunk was read.
const DERIVED_WITHIN: Duration = Duration::from_secs(60);

const KEYS_AT_ONCE: usize = 1_000;
const LOOKS: u32 = 2;
const SETTLE_WITHIN: Duration = Duration::from_secs(20);

/// One mirrored table.
pub(super) struct MirrorTable<'v> {
    pub verifier: &'v Verifier,
    pub name: TableName,
    pub table: TableId,
    pub look: Arc<Mutex<Look>>,
    pub allowance: &'v mut Allowance,
    pub tails: Tails<Change>,
}

#[derive(Default)]
struct Checked {
    rows: u64,
    upto: Offset,
    missed: Vec<Missed>,
    unknown: Vec<Key>,
}

impl MirrorTable<'_> {
    /// Compares all rows.
    pub async fn compare(
        &mut self,
        watch: &mut Watch<'_>,
        pacer: &mut Pacer,
        comparison: &mut Comparison,
    ) -> Result<()> {
        let mut keys_seen = SeenKeys::new(self.verifier.estimate(&self.name));
        let rows = pacer.pace.rows_at_once(self.verifier.chunk_rows);
        let mut chunks = see_table(self.verifier, self.name.clone(), self.table, None, rows);
        chunks.ahead = pacer.pace.reads_ahead();
        while let Some(seen) = chunks.next().await? {
            comparison.at(seen.offset.0, seen.offset.0);
            seen.rows.iter().for_each(|row| keys_seen.insert(row.key(&seen.table).to_text()));
            let rows = seen.rows.len();
            let checked = self.check(seen).await?;
            self.take(checked, comparison).await?;
            watch.rows(comparison.rows, comparison.drift());
            pacer.compared(rows, chunks.waited).await;
        }
        watch.doing("looking for extra rows");
        let mut after = Vec::new();
        loop {
            let (look, name) = (Arc::clone(&self.look), self.name.clone());
            let page = blocking(move || lock(&look).keys(&name, &after, KEYS_AT_ONCE)).await?.found;
            let unseen: Vec<Key> =
                page.items.into_iter().filter(|key| !keys_seen.contains(key.to_text())).collect();
            if !unseen.is_empty() {
                let checked = self.check(self.see(unseen).await?).await?;
                self.take(Checked { rows: 0, ..checked }, comparison).await?;
            }
            pacer.looked().await;
            match page.next {
                None => break,
                Some(next) => after = next,
            }
        }
        comparison.extra_overlooked = keys_seen.overlooked();
        watch.doing("looking into indexes");
        self.compare_indexes(watch, pacer, comparison).await
    }

    async fn see(&self, keys: Vec<Key>) -> Result<Seen> {
        see_keys(self.verifier, &self.name, self.table, keys).await
    }

    async fn take(&mut self, checked: Checked, comparison: &mut Comparison) -> Result<()> {
        comparison.rows += checked.rows;
        comparison.at(checked.upto.0, checked.upto.0);
        let missed = checked.missed.into_iter().map(|missed| missed.key).collect();
        let drifted = self.settle(missed, checked.unknown, comparison).await?;
        let of = self.verifier.estimate(&self.name).max(comparison.rows);
        let repair = !drifted.is_empty() && self.allowance.admits(comparison, drifted.len(), of)?;
        let mut keys = Vec::with_capacity(drifted.len());
        for Missed { key, drifted } in drifted {
            comparison.add(drifted);
            keys.push(key);
        }
        if repair {
            self.verifier.mend_mirror(&self.name, self.table, &keys).await?;
            let left = self.settle(keys.clone(), Vec::new(), comparison).await?;
            comparison.repaired += (keys.len() - left.len().min(keys.len())) as u64;
        }
        Ok(())
    }

    /// Rows as they are at the source at an offset, against the mirror at that offset or behind it.
    async fn check(&mut self, seen: Seen) -> Result<Checked> {
        let derived = self.verifier.derived.as_ref().ok_or_else(|| Error::bug("nothing is derived"))?;
        let tail = self.tails.behind(seen.offset);
        let mut upto = derived.upto.clone();
        match timeout(DERIVED_WITHIN, upto.wait_for(|upto| *upto >= seen.offset)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(Error::transient("documents are not derived any more")),
            Err(_) => return Err(Error::transient("the mirror does not come to where the source was read")),
        }
        let (look, table, rows, absent) = (Arc::clone(&self.look), seen.table, seen.rows, seen.absent);
        let (table, rows, absent, compared, found) = blocking(move || {
            let mut look = lock(&look);
            let compared = look.compare(&table, &rows)?;
            let found = look.has(&table.name, &absent)?;
            Ok((table, rows, absent, compared, found))
        })
        .await?;
        let mut checked = Checked { unknown: seen.unknown, ..Checked::default() };
        checked.upto = compared.offset.max(found.offset);
        // Rows that changed between the two places are looked at again.
        let touched = match tail {
            Ok(tail) => touched(tail, checked.upto, table.id)?,
            Err(_) => None,
        };
        let is_touched = |key: &Key| touched.as_ref().is_none_or(|keys| keys.contains(&key.to_bytes()));
        for (row, compared) in rows.iter().zip(compared.found) {
            let key = row.key(&table);
            if is_touched(&key) {
                checked.unknown.push(key);
                continue;
            }
            checked.rows += 1;
            let (kind, fields) = match compared {
                None => (DriftKind::Missing, Vec::new()),
                Some(differing) if differing.is_empty() => continue,
                Some(differing) => (DriftKind::Different, differing),
            };
            let shown = |name: &str| {
                table.column(name).map(|column| row.0[column].to_text().chars().take(120).collect())
            };
            let fields = fields
                .iter()
                .map(|name| FieldDifference { field: name.to_string(), expected: shown(name), found: None })
                .collect();
            let drifted = Drifted { key: key.to_text(), kind, fields, quarantined: false };
            checked.missed.push(Missed { key, drifted });
        }
        for (key, has) in absent.into_iter().zip(found.found) {
            if is_touched(&key) {
                checked.unknown.push(key);
            } else if has {
                let (text, kind) = (key.to_text(), DriftKind::Extra);
                let drifted = Drifted { key: text, kind, fields: Vec::new(), quarantined: false };
                checked.missed.push(Missed { key, drifted });
            }
        }
        Ok(checked)
    }

    /// As [`super::settle`] does with documents.
    async fn settle(
        &mut self,
        missed: Vec<Key>,
        unknown: Vec<Key>,
        comparison: &mut Comparison,
    ) -> Result<Vec<Missed>> {
        let mut open: HashMap<String, (Key, u32)> = HashMap::new();
        for (keys, looks) in [(unknown, LOOKS + 1), (missed, LOOKS)] {
            open.extend(keys.into_iter().map(|key| (key.to_text(), (key, looks))));
        }
        let (mut drifted, until) = (Vec::new(), Instant::now() + SETTLE_WITHIN);
        let mut pause = Duration::from_millis(5);
        while !open.is_empty() {
            let keys: Vec<Key> = open.values().map(|(key, _)| key.clone()).collect();
            for keys in keys.chunks(KEYS_AT_ONCE) {
                let checked = self.check(self.see(keys.to_vec()).await?).await?;
                comparison.at(checked.upto.0, checked.upto.0);
                let unknown: HashSet<String> = checked.unknown.iter().map(Key::to_text).collect();
                let mut again: HashMap<String, Missed> =
                    checked.missed.into_iter().map(|missed| (missed.drifted.key.clone(), missed)).collect();
                for text in keys.iter().map(Key::to_text).filter(|text| !unknown.contains(text)) {
                    let Some(missed) = again.remove(&text) else {
                        open.remove(&text);
                        continue;
                    };
                    let Some((_, looks)) = open.get_mut(&text) else { continue };
                    *looks -= 1;
                    if *looks == 0 {
                        open.remove(&text);
                        drifted.push(missed);
                    }
                }
            }
            if Instant::now() >= until {
                comparison.unsettled += open.len() as u64;
                break;
            }
            if !open.is_empty() {
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(500));
            }
        }
        drifted.sort_by(|a, b| a.drifted.key.cmp(&b.drifted.key));
        Ok(drifted)
    }
}

/// The keys of a table that changed up to an offset; `None` if all of them did.
fn touched(mut tail: Tail<Change>, upto: Offset, table: TableId) -> Result<Option<HashSet<Vec<u8>>>> {
    let (mut keys, mut found) = (HashSet::new(), Vec::new());
    while let Some(changes) = tail.next(upto)? {
        for change in &changes {
            match change {
                // Of another chunk: it may mend what the mirror has.
                Change::Snapshot { table: of, row } if of.id == table => {
                    keys.insert(row.key(of).to_bytes());
                }
                change => touches(change, &mut found),
            }
        }
        for (of, touch) in found.drain(..) {
            match touch {
                _ if of != table => {}
                Touch::Settled(key)
                | Touch::Gone(key)
                | Touch::Kept { key, .. }
                | Touch::Known { key, .. } => {
                    keys.insert(key);
                }
                Touch::Moved { from, to } => keys.extend([from, to.to_bytes()]),
                Touch::Emptied => return Ok(None),
            }
        }
    }
    Ok(Some(keys))
}
