//! The demo shows what it promises, and goes on where it was.

use rusqlite::Connection;

use crate::support::{Ran, Site};

#[test]
fn the_demo_ends_with_every_store_equal_and_goes_on_when_run_again() {
    let site = Site::new("demo");
    every_store_is_equal(&site.run(&["demo", "--for", "3s", "--dir", "shop"]).expect(0));
    let orders = || {
        let shop = Connection::open(site.path("shop/shop.db")).unwrap();
        shop.query_row("SELECT count(*) FROM price_changes", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let first = orders();

    site.write("shop/mine.txt", "not the demo's");
    every_store_is_equal(&site.run(&["demo", "--for", "3s", "--dir", "shop", "--rate", "400"]).expect(0));
    let second = orders();
    assert!(second > first, "the shop goes on: {first} price changes, then {second}");

    every_store_is_equal(&site.run(&["demo", "--reset", "--for", "1s", "--dir", "shop"]).expect(0));
    assert!(orders() < second, "the shop starts over");
    assert_eq!(site.read("shop/mine.txt"), "not the demo's");
}

#[track_caller]
fn every_store_is_equal(ran: &Ran) {
    let verdicts: Vec<&str> = ran.stdout.lines().filter(|line| line.contains("documents equal")).collect();
    assert!(verdicts.len() >= 11, "{}", ran.stdout);
    assert!(verdicts.iter().all(|line| line.ends_with(": equal")), "{}", ran.stdout);
}
