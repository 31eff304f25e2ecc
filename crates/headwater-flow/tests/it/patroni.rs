//! A failover that nobody here orders: Patroni with etcd replaces a primary that was killed under load, and changes roles on
//! request. Its permanent logical slot comes along, so there is no gap.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_flow::status::IncidentKind;
use headwater_testkit::checker::{Copy, Truth, eventually_equal};
use headwater_testkit::workload::{Dialect, Workload};
use headwater_testkit::{Folder, Patroni, program};

use crate::failover::{Writing, closes, incidents, seed, views, wait_until};
use crate::support::{self, Life, block_on};

const PATIENCE: Duration = Duration::from_secs(90);

const SLOT: &str = "headwater";

/// Set by `cargo xtask test` where Patroni, etcd or HAProxy is not to be had, which it then says.
const WITHOUT: &str = "HEADWATER_WITHOUT_PATRONI";

fn are_here() -> bool {
    ["patroni", "etcd", "haproxy"].into_iter().all(|name| program(name).is_some())
}

/// Whether the engines are here. Panics where they should be.
fn is_installed() -> bool {
    assert!(
        are_here() || std::env::var_os(WITHOUT).is_some(),
        "Patroni, etcd or HAProxy is missing: `cargo xtask test` installs them"
    );
    are_here()
}

#[test]
fn a_primary_that_patroni_replaces_is_followed_by_its_successor_without_a_gap() {
    if is_installed() {
        let patroni = Patroni::start(SLOT);
        primaries_change(&patroni, &patroni.url());
    }
}

#[test]
fn behind_haproxy_the_successor_is_found_at_the_same_address() {
    if is_installed() {
        let patroni = Patroni::start(SLOT);
        let haproxy = patroni.behind_haproxy();
        primaries_change(&patroni, &haproxy.url());
    }
}

/// The primary that is followed at `url` is lost, and then gives its role away, both under load.
fn primaries_change(patroni: &Patroni, url: &str) {
    support::log();
    let seed = seed();
    println!("HEADWATER_SEED={seed}");
    let workload = Workload::new(seed, Dialect::Postgres);
    let views = views(&workload);
    patroni.psql(&workload.ddl());
    let folder = Folder::new("patroni-life");
    let near = support::store("memory:", &[]);
    let local = folder.join("local.db");
    let stores = vec![
        support::named("near", Arc::clone(&near)),
        support::named("local", support::store(&format!("sqlite:{}", local.display()), &[])),
    ];
    let source = support::source(url, &[]);
    let mut life = Life::begin(support::options(&folder.join("data")), source, stores, &views);
    life.wait_settled(PATIENCE);
    patroni.wait_for_log_of(SLOT);
    let equal = || {
        let truth = Truth::Postgres(patroni.primary_url());
        for copy in [Copy::Store(Arc::clone(&near)), Copy::Sqlite(local.clone())] {
            block_on(eventually_equal(PATIENCE, &truth, &copy, &views));
        }
    };

    let mut workload = workload;
    let began = life.handle.status().epoch;
    let mut replaced = began;
    for planned in [false, true] {
        let epoch = life.handle.status().epoch;
        let writing = Writing::begin(patroni.primary_url(), workload);
        std::thread::sleep(Duration::from_millis(1500));
        let lost = Instant::now();
        if planned {
            patroni.switch_over(SLOT);
        } else {
            patroni.lose_primary();
        }
        let promoted = lost.elapsed();
        workload = writing.end();
        wait_until("the new primary is followed", &mut life, |life| life.handle.status().epoch > epoch);
        println!(
            "promoted after {} ms, followed after {} ms",
            promoted.as_millis(),
            lost.elapsed().as_millis()
        );
        let more = Writing::begin(patroni.primary_url(), workload);
        std::thread::sleep(Duration::from_millis(500));
        workload = more.end();
        equal();
        if !planned {
            life.wait_settled(PATIENCE);
            replaced = life.handle.status().epoch;
        }
    }
    life.wait_settled(PATIENCE);
    let noticed = incidents(&life, IncidentKind::Promoted, began);
    assert_eq!(
        noticed.iter().map(|incident| incident.times).sum::<u64>(),
        2,
        "{:#?}",
        life.handle.incidents()
    );
    // The slot came along. What the killed primary had sent and its successor never had is undone; not key by key if it
    // emptied a table.
    for gap in incidents(&life, IncidentKind::Gap, began) {
        assert!(
            gap.epoch == replaced && gap.cause.contains("former course"),
            "{:#?}",
            life.handle.incidents()
        );
    }
    assert!(!closes(&life, replaced + 1), "{:#?}", life.handle.incidents());
    life.stop();
}
