//! What an instance's figures and its file mean. Pure.

use headwater_engines::reach::Reach;
use headwater_engines::registry;
use headwater_flow::heal::ALL;
use headwater_flow::status::{Status, StoreStatus, ViewStatus};
use headwater_model::exam::Urgency;
use headwater_model::file::{StoreSection, hide_password, show_duration};

use super::advised::AdvisedIndex;
use super::{Scene, Symptom};
use crate::figures;
use crate::observed::{self, Hour, Reads};

const HOUR: f64 = 3_600.0;
const DAY: f64 = 24.0 * HOUR;

impl Symptom {
    fn new(subject: impl Into<String>, urgency: Urgency, what: impl Into<String>) -> Symptom {
        Symptom {
            subject: subject.into(),
            urgency,
            what: what.into(),
            remedy: Vec::new(),
            undo: Vec::new(),
            evidence: Vec::new(),
        }
    }

    fn doing(mut self, remedy: impl Into<String>) -> Symptom {
        self.remedy.push(remedy.into());
        self
    }

    fn seeing(mut self, name: &'static str, value: impl ToString) -> Symptom {
        self.evidence.push((name, value.to_string()));
        self
    }
}

/// `per store and view`
fn views(status: &Status) -> impl Iterator<Item = (&StoreStatus, &ViewStatus)> {
    status.stores.iter().flat_map(|store| store.views.iter().map(move |view| (store, view)))
}

pub(super) fn never_read(scene: &Scene<'_>) -> Vec<Symptom> {
    let file = scene.file;
    // Readers of the Redis protocol name views.
    if file.serve.resp.is_some() {
        return Vec::new();
    }
    let unread = file
        .views
        .iter()
        .filter(|view| !file.access.iter().any(|access| !access.pattern.reads([*view]).is_empty()));
    unread
        .map(|view| {
            let stores: Vec<&str> =
                view.stores.iter().chain(view.parts.iter().map(|part| &part.store)).map(|name| &**name).collect();
            let what = format!(
                "no access pattern reads it: every change of {} is written to {} for nobody that Headwater knows of",
                view.from.name,
                stores.join(", ")
            );
            Symptom::new(&*view.name, Urgency::Low, what)
                .doing(format!("declare who reads it: [access.{0}] get = \"{0}\"", view.name))
                .doing(format!("or take [views.{}] out of the file", view.name))
        })
        .collect()
}

/// For how long readers were watched, in seconds.
fn watched(hours: &[Hour]) -> f64 {
    hours.iter().map(|hour| hour.seconds).sum()
}

/// All that a pattern answered.
fn answered(hours: &[Hour], pattern: &str) -> Reads {
    let mut all = Reads::default();
    hours.iter().filter_map(|hour| hour.patterns.get(pattern)).for_each(|reads| all.add(reads));
    all
}

pub(super) fn never_called(scene: &Scene<'_>) -> Vec<Symptom> {
    let hours = &scene.seen.hours;
    let seconds = watched(hours);
    if seconds < scene.limit("days") * DAY {
        return Vec::new();
    }
    let uncalled = scene.file.access.iter().filter(|access| answered(hours, &access.name).count() == 0);
    uncalled
        .map(|access| {
            let what = format!("was not asked for once in {:.0} days", seconds / DAY);
            Symptom::new(&*access.name, Urgency::Low, what)
                .doing(format!(
                    "take [access.{}] out of the file, and with it orders that only it needs",
                    access.name
                ))
                .seeing("watched_seconds", seconds.round())
                .seeing("reads", 0)
        })
        .collect()
}

pub(super) fn another_rate(scene: &Scene<'_>) -> Vec<Symptom> {
    let (times, hours) = (scene.limit("times"), &scene.seen.hours);
    // A day has its busiest hour.
    let Some(seen) = observed::summed(hours).filter(|seen| seen.hours >= scene.limit("hours")) else {
        return Vec::new();
    };
    let declared =
        scene.file.access.iter().filter_map(|access| Some((access, access.rate_per_second? as f64)));
    declared
        .filter_map(|(access, declared)| {
            let measured = seen.patterns.get(&*access.name)?.rate;
            let (urgency, than) = if measured > declared * times {
                (Urgency::Medium, "more than it was planned for")
            } else if measured > 0.0 && measured * times < declared {
                (Urgency::Low, "less than it was planned for")
            } else {
                return None;
            };
            let (measured, declared) = (figures::rate(measured), figures::rate(declared));
            let what =
                format!("{measured} reads per second in the busiest hour, {declared} declared: {than}");
            Some(
                Symptom::new(&*access.name, urgency, what)
                    .doing("headwater plan --observed")
                    .doing(format!("[access.{}] rate = \"{measured}/s\"", access.name))
                    .seeing("from", &seen.from)
                    .seeing("to", &seen.to),
            )
        })
        .collect()
}

pub(super) fn never_verified(scene: &Scene<'_>) -> Vec<Symptom> {
    let (hours, days) = (scene.limit("hours"), scene.limit("days"));
    views(scene.status)
        .filter(|(_, view)| view.part.is_none())
        .filter_map(|(store, view)| {
            let what = match &view.verified {
                None if scene.status.uptime_seconds as f64 >= hours * HOUR => {
                    "was never compared with the source: nobody knows whether it is right".to_owned()
                }
                Some(verified) => {
                    let age = (scene.now_micros() - verified.at_micros) as f64 / 1e6;
                    if age < days * DAY {
                        return None;
                    }
                    format!("was last compared with the source {:.0} days ago", age / DAY)
                }
                None => return None,
            };
            Some(
                Symptom::new(format!("{}/{}", store.name, view.name), Urgency::Medium, what)
                    .doing(format!("headwater verify {} --store {}", view.name, store.name))
                    .doing("[verify] rate = \"500/s\", and it is compared by itself"),
            )
        })
        .collect()
}

pub(super) fn never_drilled(scene: &Scene<'_>) -> Vec<Symptom> {
    let days = scene.limit("days");
    let what = match scene.seen.drilled_at_seconds {
        None if scene.status.uptime_seconds as f64 >= DAY => {
            "no drill was ever run here: recovery times are hopes".to_owned()
        }
        Some(at) if scene.seen.now_seconds.saturating_sub(at) as f64 >= days * DAY => {
            let age = scene.seen.now_seconds.saturating_sub(at) as f64 / DAY;
            format!("the newest drill was {age:.0} days ago")
        }
        _ => return Vec::new(),
    };
    vec![
        Symptom::new("drills", Urgency::Medium, what)
            .doing("headwater drill list")
            .doing("headwater drill run kill-store --sandbox"),
    ]
}

pub(super) fn index_advised(scene: &Scene<'_>) -> Vec<Symptom> {
    let Some(advised) = &scene.seen.advised else { return Vec::new() };
    let how = if advised.verified { "measured on a copy" } else { "as the planner estimates it" };
    let asked = figures::utc(i64::try_from(advised.at_seconds).unwrap_or(0).saturating_mul(1_000_000));
    let told = |index: &AdvisedIndex| {
        let bytes = figures::bytes(index.bytes as u64);
        let what = match index.exists {
            true => {
                format!("no query of the workload needs it; dropping it frees {bytes} (asked {asked} UTC)")
            }
            false => format!(
                "would save {:.1} % of the workload, {how}; takes {bytes} (asked {asked} UTC)",
                100.0 * index.worth
            ),
        };
        let urgency = if index.worth >= INDEX_WORTH_MUCH { Urgency::Medium } else { Urgency::Low };
        let mut symptom = Symptom::new(&index.subject, urgency, what).seeing("worth", index.worth);
        symptom.remedy.extend(index.statement.lines().map(str::to_owned));
        symptom.undo.extend(index.undo.lines().map(str::to_owned));
        symptom
    };
    advised.indexes.iter().map(told).collect()
}

/// An index that saves this share of the workload is not for when somebody is there anyway.
const INDEX_WORTH_MUCH: f64 = 0.1;

pub(super) fn never_restored(scene: &Scene<'_>) -> Vec<Symptom> {
    // Only of a kind that we can restore, somebody can show that it was.
    if registry::index_advisor(scene.file.source()).is_err() {
        return Vec::new();
    }
    let what = match scene.seen.advised.as_ref().and_then(|advised| advised.restored_at_seconds) {
        None if scene.status.uptime_seconds as f64 >= DAY => {
            "no backup of the source was ever restored here: a backup that was never restored is a hope"
                .to_owned()
        }
        Some(at) if scene.seen.now_seconds.saturating_sub(at) as f64 >= scene.limit("days") * DAY => {
            let age = scene.seen.now_seconds.saturating_sub(at) as f64 / DAY;
            format!("a backup of the source was last restored here {age:.0} days ago")
        }
        _ => return Vec::new(),
    };
    let remedy = "headwater doctor indexes --queries queries.sql --verify newest.dump";
    vec![Symptom::new("source", Urgency::Low, what).doing(remedy)]
}

pub(super) fn quarantined(scene: &Scene<'_>) -> Vec<Symptom> {
    let source = &scene.status.source;
    let parts = std::iter::once(("source".to_owned(), source.quarantined_rows)).chain(
        scene.status.stores.iter().map(|store| (format!("store {}", store.name), store.quarantined_rows)),
    );
    parts
        .filter(|(_, rows)| *rows > 0)
        .map(|(part, rows)| {
            let what = format!(
                "{} left out: readers do not get what the source has",
                figures::counted_64(rows, "row")
            );
            Symptom::new(part, Urgency::High, what)
                .doing("the page lists them with the reason: mend the row or the view, then Retry")
                .seeing("quarantined_rows", rows)
        })
        .collect()
}

pub(super) fn waits_for_somebody(scene: &Scene<'_>) -> Vec<Symptom> {
    let micros = (scene.limit("hours") * HOUR * 1e6) as i64;
    let for_long = |at: i64| scene.now_micros() - at >= micros;
    let heal = &scene.status.heal;
    let held = heal.held.iter().filter(|held| for_long(held.at_micros)).map(|held| {
        let what = format!(
            "{} waits for approval since {}: {}",
            held.action.name(),
            figures::utc(held.at_micros),
            held.cause
        );
        Symptom::new(&*held.part, Urgency::High, what).doing(format!("headwater heal approve {}", held.id))
    });
    let paused = heal.pauses.iter().filter(|pause| pause.until_micros.is_none() && for_long(pause.at_micros));
    let paused = paused.map(|pause| {
        let part = if pause.part == ALL { "everything" } else { &pause.part };
        let what =
            format!("{} paused healing of it at {} without an end", pause.by, figures::utc(pause.at_micros));
        Symptom::new(part, Urgency::Medium, what)
            .doing(format!("headwater heal resume {}", pause.part.replace(' ', ":")))
    });
    held.chain(paused).collect()
}

pub(super) fn nearly_full(scene: &Scene<'_>) -> Vec<Symptom> {
    let share = scene.limit("share");
    let status = scene.status;
    let journal = &status.journal;
    let retained = status.source.retained_log_bytes.unwrap_or(0);
    let bounds = [
        (
            "journal",
            journal.bytes,
            journal.bytes_max,
            "past it the slowest store is let go and filled again",
            "[journal] max",
        ),
        (
            "source",
            retained,
            status.source.retained_log_bytes_max,
            "past it the source's log is set free and every view is filled again",
            "[source] retained_log_max",
        ),
    ];
    bounds
        .into_iter()
        .filter(|(_, bytes, max, ..)| *max > 0 && *bytes as f64 >= *max as f64 * share)
        .map(|(part, bytes, max, then, setting)| {
            let what = format!(
                "{} of {} are kept for who is behind: {then}",
                figures::bytes(bytes),
                figures::bytes(max)
            );
            Symptom::new(part, Urgency::High, what)
                .doing("headwater status: the store with the greatest lag holds it up")
                .doing(format!("or raise {setting}, if the disk has room"))
                .seeing("bytes", bytes)
                .seeing("bytes_max", max)
        })
        .collect()
}

pub(super) fn seldom_hit(scene: &Scene<'_>) -> Vec<Symptom> {
    views(scene.status)
        .filter_map(|(store, view)| {
            let part = view.part?;
            let asked = part.hits + part.misses;
            let share = part.hits as f64 / asked.max(1) as f64;
            if (asked as f64) < scene.limit("reads") || share >= scene.limit("share") {
                return None;
            }
            let full = part.documents >= part.documents_max;
            let remedy = if full && part.evicted > 0 {
                "hold more of the view: it is full, and documents leave to make room"
            } else if part.expired > part.evicted {
                "give it a longer ttl: documents leave for their age"
            } else {
                "hold what is read, with where, or take it out: readers ask for ever other documents"
            };
            let what = format!(
                "answers {:.0} % of {} reads: the others ask it in vain first",
                share * 100.0,
                figures::count(asked)
            );
            Some(
                Symptom::new(format!("{}/{}", store.name, view.name), Urgency::Low, what)
                    .doing(remedy)
                    .seeing("hits", part.hits)
                    .seeing("misses", part.misses)
                    .seeing("evicted", part.evicted)
                    .seeing("expired", part.expired)
                    .seeing("documents", format!("{} of {}", part.documents, part.documents_max)),
            )
        })
        .collect()
}

pub(super) fn slower_than_wanted(scene: &Scene<'_>) -> Vec<Symptom> {
    let wanted = scene.file.access.iter().filter_map(|access| Some((access, access.p99?)));
    wanted
        .filter_map(|(access, wanted)| {
            let reads = answered(&scene.seen.hours, &access.name);
            let p99 = reads.p99_ms().filter(|_| reads.count() as f64 >= scene.limit("reads"))?;
            (p99 > wanted.as_secs_f64() * 1e3).then(|| {
                let what = format!(
                    "one in a hundred of {} answers took {p99} ms or longer, {} are wanted",
                    figures::count(reads.count()),
                    show_duration(wanted)
                );
                Symptom::new(&*access.name, Urgency::Medium, what)
                    .doing("the page shows which store answers, and how long it takes")
                    .seeing("p99_ms", p99)
                    .seeing("answers", reads.count())
            })
        })
        .collect()
}

pub(super) fn drifted(scene: &Scene<'_>) -> Vec<Symptom> {
    views(scene.status)
        .filter_map(|(store, view)| {
            let verified = view.verified.filter(|verified| verified.drifted > 0)?;
            let what = format!(
                "{} differed from the source at {} and were not put right",
                figures::counted_64(verified.drifted, "document"),
                figures::utc(verified.at_micros)
            );
            Some(
                Symptom::new(format!("{}/{}", store.name, view.name), Urgency::Critical, what)
                    .doing(format!("headwater verify {} --store {} --repair", view.name, store.name))
                    .doing("headwater incidents: somebody else may write to this store")
                    .seeing("drifted", verified.drifted)
                    .seeing("rows", verified.rows),
            )
        })
        .collect()
}

/// Views with data about people, with each store that holds them, and the way there if it is known.
fn classified<'a>(scene: &'a Scene<'a>) -> impl Iterator<Item = (&'a str, &'a StoreSection, Reach)> + 'a {
    let views = scene.file.views.iter().filter(|view| scene.file.pii.contains(&view.name));
    views.flat_map(|view| {
        let stores = view.stores.iter().chain(view.parts.iter().map(|part| &part.store));
        stores.filter_map(|name| {
            let section = scene.file.stores.iter().find(|section| section.name == *name)?;
            let reach = registry::store_reach(section).ok()??;
            Some((&*view.name, section, reach))
        })
    })
}

pub(super) fn travels_in_the_clear(scene: &Scene<'_>) -> Vec<Symptom> {
    classified(scene)
        .filter(|(_, _, reach)| reach.leaves_the_machine() && !reach.encrypted)
        .map(|(view, store, _)| {
            let what = "data about people goes to this store over a network without TLS".to_owned();
            Symptom::new(format!("{}/{view}", store.name), Urgency::High, what)
                .doing(format!(
                    "[stores.{}]: let the URL ask for TLS, and the server for nothing else",
                    store.name
                ))
                .seeing("url", hide_password(store.url.reveal()))
        })
        .collect()
}

pub(super) fn stays_for_ever(scene: &Scene<'_>) -> Vec<Symptom> {
    let file = scene.file;
    let views = file.views.iter().filter(|view| file.pii.contains(&view.name));
    let parts = views.flat_map(|view| view.parts.iter().map(move |part| (view, part)));
    parts
        .filter(|(_, part)| part.ttl.is_none())
        .map(|(view, part)| {
            let what = "a cache keeps data about people until it needs the room".to_owned();
            Symptom::new(format!("{}/{}", part.store, view.name), Urgency::Medium, what).doing(format!(
                "[views.{}]: give the part in {} a ttl, as in ttl = \"1h\"",
                view.name, part.store
            ))
        })
        .collect()
}

pub(super) fn in_another_region(scene: &Scene<'_>) -> Vec<Symptom> {
    let allowed = &scene.file.doctor.pii_regions;
    if allowed.is_empty() {
        return Vec::new();
    }
    classified(scene)
        .filter(|(_, _, reach)| reach.is_in(allowed) == Some(false))
        .map(|(view, store, reach)| {
            let region = reach.region().unwrap_or_default().to_owned();
            let what = format!("data about people is kept in {region}: {} are allowed", allowed.join(", "));
            Symptom::new(format!("{}/{view}", store.name), Urgency::Critical, what)
                .doing(format!("hold [views.{view}] in a store of an allowed region"))
                .seeing("region", region)
        })
        .collect()
}
