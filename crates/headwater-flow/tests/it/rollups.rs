//! The rollup that the documentation of InfluxDB shows, as it is printed there: a table of the source that its triggers count, followed
//! as a series of its own, which outlives the points.

use std::sync::Arc;
use std::time::Duration;

use headwater_flow::serve::{Ask, Content, Options, Serving};
use headwater_flow::verify::Pace;
use headwater_flow::verify::report::Request;
use headwater_model::View;
use headwater_testkit::checker::answer;
use headwater_testkit::{Chance, Folder, InfluxDb, Postgres};
use serde_json::{Map, Value as Json};

use crate::support::{self, Life, block_on};
use crate::writer::Writer;

const PATIENCE: Duration = Duration::from_secs(60);

const TABLE: &str = "
CREATE TABLE price_changes (id bigserial PRIMARY KEY, book_id bigint NOT NULL, changed_at timestamptz NOT NULL, price numeric);
CREATE INDEX ON price_changes (book_id, changed_at)";

const BY_HAND: &str =
    "SELECT book_id, date_trunc('hour', changed_at, 'UTC') AS hour, max(price) AS high, min(price) AS low,
    sum(price) AS total, count(price) AS n FROM price_changes GROUP BY 1, 2";

/// The nth block of that language under the page's heading.
fn printed(language: &str, nth: usize) -> &'static str {
    let page = include_str!("../../../../docs/engines/influxdb.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Rollups\n")).unwrap();
    let block = section.split(&format!("```{language}\n")).nth(nth + 1).unwrap();
    block.split("```").next().unwrap()
}

/// Prices of six books, of the last two hundred days: three hours a day at most, so that hours are changed often.
fn change(chance: &mut Chance) -> String {
    let at = |chance: &mut Chance| {
        let (day, hour, second) = (chance.below(200), 8 * chance.below(3), chance.below(3600));
        format!(
            "date_trunc('day', now(), 'UTC') - interval '{day} days {hour} hours' + interval '{second} seconds'"
        )
    };
    let (book, other, id) = (chance.below(6), chance.below(6), chance.below(400));
    let price = if chance.one_in(9) {
        "NULL".into()
    } else {
        format!("{}.{:02}", chance.below(90), chance.below(100))
    };
    let (one, two) = (at(chance), at(chance));
    match chance.below(8) {
        0..4 => format!(
            "INSERT INTO price_changes (book_id, changed_at, price) VALUES ({book}, {one}, {price}), ({other}, {two}, 7.5)"
        ),
        4 => format!("UPDATE price_changes SET price = {price} WHERE id IN ({id}, {id} + 1)"),
        5 => format!("UPDATE price_changes SET changed_at = {one}, book_id = {book} WHERE id = {id}"),
        6 => format!("UPDATE price_changes SET price = price + 1 WHERE book_id = {book} AND id % 5 = 0"),
        _ => format!("DELETE FROM price_changes WHERE id = {id}"),
    }
}

fn write(url: &str, seed: u64) {
    let (mut writer, mut chance) = (Writer::connect(url), Chance::new(seed));
    for _ in 0..120 {
        let change = change(&mut chance);
        // Who waits for each other in a circle is told so, and tries again.
        while let Err(error) = writer.try_execute(&change) {
            assert!(error.contains("deadlock"), "{error}\n{change}");
        }
    }
}

#[test]
fn the_documented_rollup_is_counted_exactly_and_outlives_its_points() {
    let Some(influxdb) = InfluxDb::start() else { return };
    support::log();
    let (postgres, folder) = (Postgres::start(), Folder::new("rollups"));
    postgres.psql(TABLE);
    postgres.psql(printed("sql", 0));
    influxdb.ask("", "CREATE DATABASE shop");
    let file = support::file(&format!(
        "[source]\nurl = \"{}\"\n[stores]\nhistory = {{ url = \"{}\" }}\n\
         [views.price]\nfrom = \"price_changes\"\n\
         series = {{ time = \"changed_at\", tags = [\"book_id\"], fields = [\"price\"] }}\nstore = \"history\"\n{}",
        postgres.url(),
        influxdb.url("shop"),
        printed("toml", 0)
    ));
    let source = support::source(&postgres.url(), &[]);
    let facts = block_on(source.inspect()).unwrap();
    let resolved =
        headwater_control::resolve(&file, &facts).unwrap_or_else(|findings| panic!("{findings:#?}"));
    let views: Vec<View> = resolved.views.iter().map(|view| View::clone(view)).collect();
    let stores = vec![support::named("history", support::store(&influxdb.url("shop"), &[]))];
    let mut life =
        Life::begin(support::options(&folder.join("data")), Arc::clone(&source), stores.clone(), &views);
    std::thread::scope(|scope| {
        let url = postgres.url();
        (1..=3).for_each(|seed| {
            drop(scope.spawn({
                let url = url.clone();
                move || write(&url, seed)
            }))
        });
    });

    let differs = |one: &str, other: &str| {
        let differs =
            |one, other| postgres.psql(&format!("SELECT count(*) FROM (({one}) EXCEPT ({other})) AS d"));
        (differs(one, other), differs(other, one))
    };
    let none = ("0".to_owned(), "0".to_owned());
    assert_eq!(differs("TABLE price_1h", BY_HAND), none, "counted while three wrote");

    postgres.psql("CREATE TABLE before AS TABLE price_1h");
    postgres.psql(printed("sql", 1));
    let left =
        postgres.psql("SELECT count(*) FROM price_changes WHERE changed_at < now() - interval '91 days'");
    assert_eq!((left, differs("TABLE price_1h", "TABLE before")), ("0".to_owned(), none.clone()));
    let late =
        "INSERT INTO price_changes (book_id, changed_at, price) VALUES (1, now() - interval '120 days', 1)";
    assert!(postgres.try_psql(late).unwrap_err().contains("rolled up for good"));
    postgres.psql("UPDATE price_changes SET price = price + 1 WHERE id % 2 = 0");
    let kept = "SELECT * FROM price_1h, price_kept WHERE hour >= since";
    assert_eq!(differs(kept, &format!("SELECT * FROM ({BY_HAND}) AS h, price_kept")), none);

    life.wait_settled(PATIENCE);
    let verified = life.verify(&Request { pace: Pace::Full, ..Request::default() });
    assert_eq!((verified.drift(), verified.views.len()), (0, 2), "{verified:?}");
    let serving =
        Serving::new(life.handle.clone(), source.clone(), &stores, resolved.access, Options::default());
    let (position, _) = block_on(source.progress()).unwrap();
    let mut days = 0;
    for book in 0..6 {
        let wanted: Json = serde_json::from_str(&postgres.psql(&format!(
            "SET timezone = 'UTC'; SELECT coalesce(json_agg(row_to_json(d)), '[]') FROM (
             SELECT date_trunc('day', hour, 'UTC') AS hour, max(high) AS high, min(low) AS low, sum(total) AS total, sum(n) AS n
             FROM price_1h WHERE book_id = {book} GROUP BY 1 ORDER BY 1) AS d"
        )))
        .unwrap();
        let wanted: Vec<Map<String, Json>> = serde_json::from_value(wanted).unwrap();
        let ask = Ask {
            params: vec![("book_id".to_owned(), book.to_string())],
            after: Some(source.notation(&position)),
            within: Some(Duration::from_secs(30)),
        };
        let reply =
            block_on(serving.answer("price_by_day", &ask)).unwrap_or_else(|refused| panic!("{refused:?}"));
        let Content::List { items, .. } = reply.content else { panic!("{:?}", reply.content) };
        let found: Vec<Json> = items.iter().map(|item| serde_json::from_str(item).unwrap()).collect();
        assert_eq!(answer::list_differs(wanted.iter(), &found), None, "book {book}");
        days += found.len();
    }
    assert!(days > 100, "{days}");
    life.stop();
}
