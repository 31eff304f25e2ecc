//! What a good file says.

use std::path::Path;
use std::time::Duration;

use headwater_model::file::{HealSection, ObjectivesSection, Setting, default};
use headwater_model::heal::Level;
use headwater_model::{EmbedKind, Layout, Order, TableName};

use crate::support::load;

const FULL: &str = r#"
data = "${DATA}"

[source]
url = "postgres://headwater:${PGPASSWORD}@db.internal/shop"
hold_for = "5s"
retained_log_max = "20GiB"
slot = "shop"
connections = 4
tls = true

[stores]
near  = { url = "${REDIS_URL}", prefix = "shop" }
local = { url = "sqlite:derived.db" }

[views.book]
from  = "shop.books"
where = "price > 10"
embed.author  = { from = "authors", key = "author_id" }
embed.reviews = { from = "reviews", many = "book_id", order = ["-created_at", "id"], limit = 20, columns = ["id", "stars"] }
store = ["near", "local"]

[views.book.embed.publisher]
from = '"Odd.Schema"."Tab le"'
key = ["country", "number"]
references = ["country", "no"]
embed.city = { from = "cities", key = "city" }

[views.line]
from = "order_lines"
columns = { number = "line_no", what = "book_id" }
store = "near"
layout = "json"

[journal]
max = "1GiB"

[backfill]
parallel = 4
chunk_rows = 500
rate = "4000/s"

[run]
shutdown_within = "2m"

[heal]
safe = true
refill = "one"
rebuild = "two"

[objectives]
rto = "30s"
rpo = 5
"#;

#[test]
fn a_full_file_reads_as_written() {
    let file = load(FULL).unwrap();
    assert_eq!(file.data, Path::new("/var/lib/headwater"));
    assert_eq!(file.source().url.reveal(), "postgres://headwater:se%2Fcr%40et@db.internal/shop");
    assert_eq!(file.source().hold_for, Duration::from_secs(5));
    assert_eq!(file.source().retained_log_bytes_max, 20 << 30);
    assert!(matches!(&file.source().settings["slot"], Setting::Text(text) if text.reveal() == "shop"));
    assert!(matches!(file.source().settings["connections"], Setting::Int(4)));
    assert!(matches!(file.source().settings["tls"], Setting::Bool(true)));
    assert_eq!(file.stores.iter().map(|s| &*s.name).collect::<Vec<_>>(), ["near", "local"]);
    assert_eq!(file.stores[0].url.reveal(), "redis://:hush@cache:6380");
    assert_eq!(file.journal.bytes_max, 1 << 30);
    assert_eq!((file.backfill.parallel, file.backfill.chunk_rows), (4, 500));
    assert_eq!(file.backfill.rows_per_second_max, Some(4000));
    assert_eq!(file.run.shutdown_within, Duration::from_secs(120));
    let heal = HealSection { safe: true, refill: Level::One, rebuild: Level::Two, repair: Level::Alone };
    assert_eq!(file.heal, heal);
    let objectives = ObjectivesSection { rto: Duration::from_secs(30), rpo_transactions: 5 };
    assert_eq!(file.objectives, objectives);

    let book = file.view("book").unwrap();
    assert_eq!(book.from, TableName::new(Some("shop"), "books"));
    assert_eq!(book.filter.as_deref(), Some("price > 10"));
    assert_eq!(book.layout(), Layout::Json);
    let fields: Vec<_> = book.embeds.iter().map(|embed| &*embed.field).collect();
    assert_eq!(fields, ["author", "reviews", "publisher"], "embedded fields keep the order of the file");
    let reviews = &book.embeds[1];
    assert_eq!(
        reviews.order,
        [
            Order { column: "created_at".into(), descending: true },
            Order { column: "id".into(), descending: false }
        ]
    );
    assert_eq!(reviews.limit, Some(20));
    assert_eq!(reviews.columns.as_deref().unwrap().len(), 2);
    let publisher = &book.embeds[2];
    assert_eq!(publisher.from, TableName::new(Some("Odd.Schema"), "Tab le"));
    assert!(
        matches!(&publisher.kind, EmbedKind::One { columns, references: Some(r) } if columns.len() == 2 && r.len() == 2)
    );
    assert_eq!(&*publisher.embeds[0].field, "city");

    let line = file.view("line").unwrap();
    assert_eq!(
        line.columns.as_deref().unwrap(),
        [("line_no".into(), "number".into()), ("book_id".into(), "what".into())]
    );
    assert_eq!(line.layout(), Layout::Json);
}

#[test]
fn a_silent_file_has_the_defaults() {
    let file = load("[source]\nurl = \"sqlite:shop.db\"\n[stores]\nlocal.url = \"sqlite:derived.db\"\n[views.a]\nfrom = \"a\"")
        .unwrap();
    assert_eq!(file.data, Path::new(default::DATA));
    assert_eq!(file.source().hold_for, default::HOLD_FOR);
    assert_eq!(file.views[0].stores, ["local".into()], "the only store holds every view");
    assert_eq!(file.views[0].layout(), Layout::Hash);
    assert!(file.views[0].columns.is_none());
}

#[test]
fn passwords_come_from_files_and_variables() {
    let url = |section: &str| {
        load(&format!("[source]\n{section}")).map(|file| file.source().url.reveal().to_owned()).unwrap()
    };
    assert_eq!(
        url("url = \"postgres://me@h/d\"\npassword_file = \"/run/secrets/pg\""),
        "postgres://me:from-file@h/d"
    );
    assert_eq!(
        url("url = \"postgres://me@h/d\"\npassword = \"${PGPASSWORD}\""),
        "postgres://me:se%2Fcr%40et@h/d"
    );
    assert_eq!(
        url("url = \"postgres://me@h/d\"\npassword = \"file:/run/secrets/pg\""),
        "postgres://me:from-file@h/d"
    );
}

#[test]
fn a_socket_keeps_its_password_as_a_setting() {
    let file = load("[source]\nurl = \"redis+unix:///run/x.sock\"\npassword = \"${PGPASSWORD}\"\n").unwrap();
    assert_eq!(file.source().url.reveal(), "redis+unix:///run/x.sock");
    assert!(
        matches!(&file.source().settings["password"], Setting::Text(text) if text.reveal() == "se/cr@et")
    );
    assert!(file.to_config().contains("password = \"***\""), "{}", file.to_config());
}

#[test]
fn places_point_into_the_text() {
    let file = load(FULL).unwrap();
    let at = |path: &str| {
        let place = file.locate(path);
        (place.line, &file.text[place.span])
    };
    assert_eq!(at("views.book.embed.author.key"), (19, "\"author_id\""));
    assert_eq!(at("views.book.embed.author.nothing"), (19, "{ from = \"authors\", key = \"author_id\" }"));
    assert_eq!(at("views.book.embed.publisher.embed.city.from"), (27, "\"cities\""));
    assert_eq!(at("views.book"), (16, "[views.book]"));
    assert_eq!(at("stores.near.url"), (13, "\"${REDIS_URL}\""));
    assert_eq!(at("source.slot"), (8, "\"shop\""));
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", load(FULL).unwrap());
    assert!(!shown.contains("hush") && !shown.contains("et@db") && !shown.contains("se%2Fcr"), "{shown}");
}
