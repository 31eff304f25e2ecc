//! Each check of the instance itself: a situation in which it reports, and one that is whole in which none does.

use std::path::Path;
use std::time::Duration;

use headwater_flow::heal::{Held, Pause};
use headwater_flow::serve::stats::Histogram;
use headwater_flow::status::{
    JournalStatus, PartStatus, SourceStatus, Status, StoreStatus, VerifiedStatus, ViewStatus,
};
use headwater_model::exam::ExamBudget;
use headwater_model::file::{File, References};
use headwater_model::heal::{Action, Level};

use super::advised::{Advised, AdvisedIndex};
use super::*;
use crate::observed::Reads;

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;

struct Nothing;

impl References for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Err("there is none".to_owned())
    }
}

const FILE: &str = r#"
[source]
url = "postgres://me@host/db"
[stores]
near = { url = "rediss://cache.x1.ng.0001.euc1.cache.amazonaws.com" }
local = { url = "sqlite:derived.db" }
[views.person]
from = "people"
store = ["local", { name = "near", hold = "10%", ttl = "1h" }]
pii = true
[access.person]
get = "person"
rate = "100/s"
p99 = "10ms"
[doctor]
pii_regions = ["eu-central-1"]
"#;

fn file(text: &str) -> File {
    File::load(text, &Nothing).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn micros(seconds: u64) -> i64 {
    i64::try_from(seconds * 1_000_000).unwrap()
}

/// An instance that has run for 40 days with nothing wrong.
fn whole() -> Seen {
    let view = ViewStatus {
        name: "person".into(),
        verified: Some(VerifiedStatus { at_micros: micros(NOW - DAY), rows: 1000, drifted: 0 }),
        ..ViewStatus::default()
    };
    let part = PartStatus {
        documents_max: 100,
        documents: 90,
        hits: 90_000,
        misses: 10_000,
        ..PartStatus::default()
    };
    let cached = ViewStatus { name: "person".into(), part: Some(part), ..ViewStatus::default() };
    let store =
        |name: &str, view| StoreStatus { name: name.into(), views: vec![view], ..StoreStatus::default() };
    let status = Status {
        uptime_seconds: 40 * DAY,
        source: SourceStatus {
            retained_log_bytes: Some(1 << 20),
            retained_log_bytes_max: 10 << 30,
            ..SourceStatus::default()
        },
        journal: JournalStatus { bytes: 1 << 20, bytes_max: 10 << 30, ..JournalStatus::default() },
        stores: vec![store("near", cached), store("local", view)],
        ..Status::default()
    };
    Seen {
        status: Some(status),
        hours: hours(100, 1),
        drilled_at_seconds: Some(NOW - DAY),
        advised: Some(Advised {
            at_seconds: NOW,
            restored_at_seconds: Some(NOW - DAY),
            ..Advised::default()
        }),
        now_seconds: NOW,
    }
}

/// Ten days with so many reads in a second, each of which took so many milliseconds.
fn hours(rate: u64, ms: u64) -> Vec<Hour> {
    let latency = Histogram::default();
    latency.record_many(Duration::from_millis(ms), rate * 3_600);
    let counts = latency.sample().counts.to_vec();
    let reads = Reads { latency: counts, max_micros: ms * 1_000, ..Reads::default() };
    let hour = |hour| Hour {
        hour,
        seconds: 3_600.0,
        patterns: [("person".to_owned(), reads.clone())].into(),
        ..Hour::default()
    };
    (NOW / 3_600 - 240..NOW / 3_600).map(hour).collect()
}

fn found(file: &File, seen: &Seen) -> Vec<(&'static str, String)> {
    let examination = examine(file, seen, &ExamBudget::default());
    assert_eq!(examination.skipped, []);
    assert_eq!(examination.made, LOOKS.len());
    examination.found.into_iter().map(|diagnosis| (diagnosis.check, diagnosis.subject)).collect()
}

#[test]
fn a_whole_instance_has_no_finding() {
    assert_eq!(found(&file(FILE), &whole()), []);
}

/// What one change to a whole instance makes.
#[track_caller]
fn reports(change: impl FnOnce(&mut Seen, &mut Status), check: &'static str, subject: &str) {
    let mut seen = whole();
    let mut status = seen.status.take().unwrap();
    change(&mut seen, &mut status);
    seen.status = Some(status);
    assert_eq!(found(&file(FILE), &seen), [(check, subject.to_owned())]);
}

#[test]
fn what_nobody_uses_tries_or_looks_at_is_reported() {
    reports(|seen, _| seen.hours = hours(0, 1), "HW3002", "person");
    reports(|seen, _| seen.hours = hours(301, 1), "HW3003", "person");
    reports(|seen, _| seen.hours = hours(33, 1), "HW3003", "person");
    reports(|_, status| status.stores[1].views[0].verified = None, "HW3004", "local/person");
    reports(
        |_, status| status.stores[1].views[0].verified.as_mut().unwrap().at_micros = micros(NOW - 31 * DAY),
        "HW3004",
        "local/person",
    );
    reports(|seen, _| seen.drilled_at_seconds = None, "HW3005", "drills");
    reports(|seen, _| seen.drilled_at_seconds = Some(NOW - 91 * DAY), "HW3005", "drills");
    reports(|seen, _| seen.advised = None, "HW3013", "source");
    let restored = |seen: &mut Seen, days: u64| {
        seen.advised.as_mut().unwrap().restored_at_seconds = Some(NOW - days * DAY);
    };
    reports(|seen, _| restored(seen, 91), "HW3013", "source");
}

#[test]
fn an_index_that_was_advised_is_a_finding_until_the_advice_is_another() {
    let index = AdvisedIndex {
        subject: "public.people (name)".into(),
        exists: false,
        worth: 0.2,
        bytes: 8192.0,
        statement: "CREATE EXTENSION a;\nCREATE INDEX b;".into(),
        undo: "DROP INDEX b;".into(),
    };
    let mut seen = whole();
    seen.advised.as_mut().unwrap().indexes.push(index);
    let found = examine(&file(FILE), &seen, &ExamBudget::default()).found;
    assert_eq!((found[0].check, &*found[0].subject), ("HW3012", "public.people (name)"));
    assert_eq!(found[0].remedy, ["CREATE EXTENSION a;", "CREATE INDEX b;"]);
    assert_eq!((found[0].urgency, &found[0].undo[..]), (Urgency::Medium, &["DROP INDEX b;".to_owned()][..]));
}

#[test]
fn what_is_wrong_with_answers_and_documents_is_reported() {
    reports(|_, status| status.stores[1].quarantined_rows = 3, "HW3006", "store local");
    reports(|_, status| status.source.quarantined_rows = 1, "HW3006", "source");
    reports(
        |_, status| status.stores[0].views[0].part.as_mut().unwrap().misses = 200_000,
        "HW3009",
        "near/person",
    );
    reports(|seen, _| seen.hours = hours(100, 30), "HW3010", "person");
    reports(
        |_, status| status.stores[1].views[0].verified.as_mut().unwrap().drifted = 2,
        "HW3011",
        "local/person",
    );
}

#[test]
fn what_waits_and_what_fills_up_is_reported() {
    let at_micros = micros(NOW - 2 * DAY);
    reports(
        |_, status| {
            status.heal.held.push(Held {
                id: 7,
                part: "store near".into(),
                action: Action::Refill,
                cause: "its view is of another layout".into(),
                evidence: None,
                level: Level::One,
                at_micros,
                approvals: Vec::new(),
            });
        },
        "HW3007",
        "store near",
    );
    reports(
        |_, status| {
            status.heal.pauses.push(Pause {
                part: "all".into(),
                until_micros: None,
                by: "jo".into(),
                at_micros,
            });
        },
        "HW3007",
        "everything",
    );
    reports(|_, status| status.journal.bytes = 9 << 30, "HW3008", "journal");
    reports(|_, status| status.source.retained_log_bytes = Some(8 << 30), "HW3008", "source");
}

#[test]
fn what_the_file_itself_has_wrong_is_reported_without_an_instance() {
    let wrong = FILE
        .replace("get = \"person\"", "get = \"other\"")
        .replace("rediss://cache.x1.ng.0001.euc1", "redis://cache.x1.ng.0001.use1")
        .replace(", ttl = \"1h\"", "")
        + "[views.other]\nfrom = \"others\"\nstore = \"local\"\n";
    let seen = Seen::new(Path::new("/nonexistent"), None, NOW);
    let examination = examine(&file(&wrong), &seen, &ExamBudget::default());
    let found: Vec<_> =
        examination.found.iter().map(|diagnosis| (diagnosis.check, &*diagnosis.subject)).collect();
    let expected = [
        ("HW3001", "person"),
        ("HW3020", "near/person"),
        ("HW3021", "near/person"),
        ("HW3022", "near/person"),
    ];
    assert_eq!(found, expected);
    let skipped: Vec<_> = examination.skipped.iter().map(|skipped| skipped.check).collect();
    assert!(skipped.contains(&"HW3004") && !skipped.contains(&"HW3001"), "{skipped:?}");
}
