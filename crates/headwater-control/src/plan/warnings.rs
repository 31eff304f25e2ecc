//! What is likely to go wrong with what was chosen, as far as it follows from the workload.

use super::explain::Explained;
use super::report::{EnginePlan, Plan, figure, per_second, seconds, size};
use super::services::{CPU, iops_included};
use super::workload::Workload;

/// Of a recovery: more than this is worth a word.
const RECONNECT_SHARE: f64 = 0.25;
/// Colder than this is worth a word.
const COLD_S: f64 = 60.0;
const PAGE_BYTES: f64 = 8192.0;
/// Measured: files of one table with its key and TOAST, and how long starting takes for each where every file is synced.
const TABLE_FILES: f64 = 4.0;
const FILE_S: f64 = 0.0026;
const START_S: f64 = 10.0;
/// Of a table of items that is new and paid by request, per second, before it has seen more (developer guide, throughput).
const NEW_TABLE_READS: f64 = 12_000.0;
const NEW_TABLE_WRITES: f64 = 4_000.0;
const ITEM_BYTES_MAX: f64 = 400_000.0;
/// An average so near the most that an item holds has larger ones beside it.
const WIDE_SHARE: f64 = 0.25;
const PAGE_OF_ITEMS_BYTES: f64 = 1e6;

/// What is likely to go wrong with what was chosen.
pub(super) fn warnings(this: &Explained<'_>, plan: &Plan, keepable: &[&str]) -> Vec<String> {
    let mut warnings = Vec::new();
    let workload = this.workload;
    for engine in &plan.engines {
        if engine.setup.contains(".t3.") || engine.setup.contains(".t4g.") {
            warnings.push(format!(
                "{}: a burstable class is sized by what it gives for good; above that it spends credits, and a failover may find them spent",
                engine.title
            ));
        }
        let is_shared = engine.name.starts_with("aurora-");
        if engine.is_source && engine.zones < 2 && is_shared {
            warnings.push(format!(
                "{}: one machine over storage in three zones: losing it loses nothing, and takes {} until another one is there",
                engine.title,
                seconds(engine.rto_s)
            ));
        }
        if !engine.is_source && engine.zones < 2 {
            warnings.push(format!(
                "{}: one node: with it all that is kept there is away for {} and filled again; until then the source answers",
                engine.title,
                seconds(engine.rto_s)
            ));
        }
        if engine.is_source && engine.recovery.reconnect_s > RECONNECT_SHARE * engine.rto_s {
            warnings.push(format!(
                "{}: {} clients that connect again at once take {} of its recovery of {}: a pooler in front of it keeps connections",
                engine.title,
                figure(workload.connections.unwrap_or_default()),
                seconds(engine.recovery.reconnect_s),
                seconds(engine.rto_s)
            ));
        }
        if engine.is_source && engine.shape.standby {
            warnings.extend(cold(workload, engine));
            warnings.extend(many_files(workload, engine));
        }
        if engine.is_source && engine.zones < 2 && !is_shared {
            warnings.push(format!(
                "{}: one zone: losing it means restoring a backup ({}, and {} of commits lost); practise the restore, nothing else shows that it works",
                engine.title,
                seconds(engine.rto_s),
                seconds(engine.rpo_s)
            ));
        }
        if engine.is_source && engine.recovery.replay_s > 0.25 * engine.rto_s {
            warnings.push(format!(
                "{}: replaying the log is {} of its recovery of {}: shorter checkpoints or a larger class shorten it",
                engine.title,
                seconds(engine.recovery.replay_s),
                seconds(engine.rto_s)
            ));
        }
        if !engine.is_source && !keepable.contains(&engine.scheme.as_str()) {
            warnings.push(format!("{}: this build of Headwater cannot keep a store there", engine.title));
        }
        if engine.is_source && engine.rto_s <= 120.0 {
            warnings.push(format!(
                "{}: the recovery of {} holds only for clients that look its name up again within seconds (JVM: networkaddress.cache.ttl) and notice dead connections (TCP keepalive)",
                engine.title,
                seconds(engine.rto_s)
            ));
        }
    }
    // What a lost store throws at the source.
    let source = this.chosen.setups.iter().find(|(offer, _)| this.offer(**offer).is_source);
    if let Some((source, setup)) = source {
        let room = this.offer(*source).setups[*setup].capacity[CPU];
        let used = |place: usize| {
            this.offer(*source).answers[place].as_ref().map_or(0.0, |answered| answered.load[CPU])
        };
        let mine: f64 =
            (0..workload.patterns.len()).filter(|p| this.chosen.answered_by[*p] == *source).map(used).sum();
        for offer in this.chosen.setups.keys().filter(|offer| *offer != source) {
            let lost: Vec<usize> =
                (0..workload.patterns.len()).filter(|p| this.chosen.answered_by[*p] == *offer).collect();
            let thrown: f64 = lost.iter().map(|place| used(*place)).sum();
            if mine + thrown > room {
                let rate: f64 = lost.iter().map(|place| workload.patterns[*place].rate).sum();
                warnings.push(format!(
                    "{}: were it lost, the source could not take over its {} (they need {} processors, {} are free): `source_rate` in [serve] keeps them off it",
                    this.offer(*offer).title,
                    per_second(rate).replace("/s", " reads per second"),
                    figure((thrown * 10.0).ceil() / 10.0),
                    figure(((room - mine).max(0.0) * 10.0).floor() / 10.0)
                ));
            }
        }
    }
    for (place, pattern) in workload.patterns.iter().enumerate() {
        let offer = this.offer(this.chosen.answered_by[place]);
        if offer.scheme == "dynamodb"
            && let Some(hottest) = pattern.hottest
        {
            let units = pattern.rate * hottest * (pattern.bytes / 4096.0).ceil().max(1.0);
            let most = super::services::PARTITION_READS;
            if units > most {
                warnings.push(format!(
                    "{}: its hottest key takes {units:.0} read units per second, one partition gives {most:.0}: put a cache in front of it or spread the key",
                    pattern.name
                ));
            }
        }
    }
    for offer in this.chosen.setups.keys().filter(|offer| this.offer(**offer).scheme == "dynamodb") {
        let mine = (0..workload.patterns.len()).filter(|place| this.chosen.answered_by[*place] == *offer);
        let rate: f64 = mine.map(|place| workload.patterns[place].rate).sum();
        let most = super::services::PARTITION_READS;
        if rate > most {
            warnings.push(format!(
                "{}: each answer through Headwater also reads the store's position, one item, and one item gives {} per second: {} have to be read from the tables by the application itself",
                this.offer(*offer).title,
                figure(most),
                per_second(rate)
            ));
        }
    }
    for (place, engine) in
        plan.engines.iter().filter(|engine| engine.scheme == "dynamodb").filter_map(|engine| {
            let mut offers = this.chosen.setups.keys().copied();
            Some((offers.find(|offer| this.offer(*offer).name == engine.name)?, engine))
        })
    {
        warnings.extend(items(this, place, engine));
    }
    for view in &workload.views {
        let writes = workload.writes();
        if writes > 0.0 && view.changes > 20.0 * writes {
            warnings.push(format!(
                "view {}: one write changes {:.0} of its documents on average: {:.0} documents per second",
                view.name,
                view.changes / writes,
                view.changes
            ));
        }
    }
    if workload.connections.is_none() {
        warnings.push("how many clients are connected at once is not declared (`connections` in [plan]): neither the limit of a class nor the time to connect again is counted".to_owned());
    }
    warnings
}

/// Memory that a standby's machine has to read before it is as fast as the one that was lost.
fn cold(workload: &Workload, engine: &EnginePlan) -> Option<String> {
    let hot = workload.bytes() * workload.hot;
    let cold_s =
        hot / (iops_included(engine.shape.storage_gb).max(engine.shape.iops.unwrap_or(0.0)) * PAGE_BYTES);
    (cold_s > COLD_S).then(|| {
        format!(
            "{}: after a failover {} that are read often are not in memory: up to {} of slow reads until its volume has given them",
            engine.title,
            size(hot),
            seconds(cold_s)
        )
    })
}

/// Every file is synced when a database starts after a crash.
fn many_files(workload: &Workload, engine: &EnginePlan) -> Option<String> {
    let files = workload.tables.len() as f64 * TABLE_FILES;
    let start_s = files * FILE_S;
    (start_s > START_S).then(|| {
        format!(
            "{}: {} tables are about {} files, and syncing them takes {} of a start after a crash (measured, 2.6 ms each): recovery_init_sync_method = syncfs",
            engine.title,
            figure(workload.tables.len() as f64),
            figure(files),
            seconds(start_s)
        )
    })
}

/// Of tables of items, as they are chosen.
fn items(this: &Explained<'_>, place: usize, engine: &EnginePlan) -> Vec<String> {
    let workload = this.workload;
    let mut warnings = Vec::new();
    let mine = |pattern: &usize| this.chosen.answered_by[*pattern] == place;
    let patterns: Vec<usize> = (0..workload.patterns.len()).filter(mine).collect();
    for (at, view) in workload.views.iter().enumerate() {
        let readers: Vec<usize> = patterns
            .iter()
            .copied()
            .filter(|pattern| workload.patterns[*pattern].views.contains(&at))
            .collect();
        if readers.is_empty() {
            continue;
        }
        if view.document_bytes > WIDE_SHARE * ITEM_BYTES_MAX {
            warnings.push(format!(
                "view {}: an average document is {}, an item holds {}: larger ones will not fit",
                view.name,
                size(view.document_bytes),
                size(ITEM_BYTES_MAX)
            ));
        }
        let mut orders: Vec<&str> =
            readers.iter().filter_map(|pattern| workload.patterns[*pattern].index.as_deref()).collect();
        orders.sort_unstable();
        orders.dedup();
        let each = (view.document_bytes / 1024.0).ceil().max(1.0) + orders.len() as f64;
        let written = view.changes * each;
        if orders.len() > 1 {
            warnings.push(format!(
                "view {}: each change writes its document and {} places, {} write units: {} in the busiest hour",
                view.name,
                orders.len(),
                figure(each),
                per_second(written)
            ));
        }
        let read: f64 = readers.iter().map(|pattern| workload.patterns[*pattern].rate).sum();
        if engine.name == "dynamodb-on-demand" && (read > NEW_TABLE_READS || written > NEW_TABLE_WRITES) {
            warnings.push(format!(
                "view {}: {} reads and {} write units are more than a new table takes at once ({} and {}): warm it up before it is needed",
                view.name,
                per_second(read),
                per_second(written),
                per_second(NEW_TABLE_READS),
                per_second(NEW_TABLE_WRITES)
            ));
        }
    }
    for pattern in patterns.iter().map(|pattern| &workload.patterns[*pattern]) {
        if pattern.bytes > PAGE_OF_ITEMS_BYTES {
            warnings.push(format!(
                "{}: an answer of {} takes {} requests, one after the other: a page is 1 MB",
                pattern.name,
                size(pattern.bytes),
                (pattern.bytes / PAGE_OF_ITEMS_BYTES).ceil()
            ));
        }
    }
    warnings
}
