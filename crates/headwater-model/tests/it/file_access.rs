//! Kinds of views, access patterns and `[serve]`: what good ones say, and every mistake at its place with a remedy.

use std::fmt::Write as _;
use std::time::Duration;

use headwater_model::file::{File, FileErrors, Role, ServeSection};
use headwater_model::{
    Aggregate, Buckets, FigureFunction, Hop, Index, Layout, Order, Pattern, Ranking, ViewKind,
};
use proptest::prelude::*;

use crate::support::{load, render};

const FINE: &str = r#"[source]
url = "postgres://headwater:${PGPASSWORD}@db.internal/shop"
[stores]
near = { url = "redis://cache" }
local = { url = "sqlite:derived.db" }
[views.book]
from = "books"
store = ["near", "local"]
embed.author = { from = "authors", key = "author_id" }
[views.order]
from = "orders"
store = "local"
[views.bestsellers]
from = "order_lines"
store = "local"
rank = { by = "book_id", within = "shop_id", score = "sum(quantity)" }
[views.price]
from = "price_changes"
store = "local"
series = { time = "changed_at", tags = ["book_id"], fields = ["price", "list_price"] }
[views.bought]
from = "orders"
store = "local"
edge = { source = "customer_id", label = "BOUGHT", target = "book_id" }
"#;

fn with(text: &str) -> Result<File, FileErrors> {
    load(&format!("{FINE}{text}"))
}

#[test]
fn views_of_every_kind_read_as_written() {
    let file = with("[views.paid]\nfrom = \"orders\"\nstore = \"local\"\ncolumns = { when = \"placed_at\" }\nwhere = \"paid\"\nedge = { source = \"a\", label = \"PAID\", target = \"b\" }\n").unwrap();
    let ViewKind::Ranking(ranking) = &file.view("bestsellers").unwrap().kind else { panic!() };
    assert_eq!(ranking.function, Aggregate::Sum);
    assert_eq!(
        (&*ranking.by[0], &*ranking.within[0], ranking.column.as_deref()),
        ("book_id", "shop_id", Some("quantity"))
    );
    let index = &file.view("bestsellers").unwrap().kind.indexes()[0];
    let best_first = Order { column: Ranking::SCORE.into(), descending: true };
    assert_eq!(*index, Index { by: vec!["shop_id".into()], order: vec![best_first] });
    let columns = |name: &str| {
        let columns = file.view(name).unwrap().columns.clone().unwrap();
        columns.into_iter().map(|(column, field)| format!("{field}={column}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(columns("bestsellers"), "shop_id=shop_id book_id=book_id");
    assert_eq!(columns("price"), "changed_at=changed_at book_id=book_id price=price list_price=list_price");
    assert_eq!(columns("bought"), "customer_id=customer_id book_id=book_id");
    assert_eq!(columns("paid"), "a=a b=b when=placed_at", "the ends of an edge are always there");
    assert_eq!(file.view("bought").unwrap().layout(), Layout::Json);
    let indexes = file.view("bought").unwrap().kind.indexes();
    assert_eq!((&*indexes[Hop::OUT].by[0], &*indexes[Hop::IN].by[0]), ("customer_id", "book_id"));
}

#[test]
fn access_patterns_read_as_written() {
    let file = with(
        r#"
[access.book_page]
get = "book"
rate = "4000/s"
p99 = "500us"
stale = "1s"
store = ["local", "near"]
source = false
[access.orders_of_customer]
range = "order"
by = "customer_id"
order = ["-placed_at", "id"]
[access.best]
top = "bestsellers"
limit = 10
[access.also_bought]
walk = ["<BOUGHT", "BOUGHT>"]
limit = 20
[access.price_history]
window = "price"
limit = 1000
[access.price_by_day]
window = "price"
every = "1d"
figures = { low = "min(price)", n = "count(*)", close = "last(list_price)" }
"#,
    )
    .unwrap();
    let [page, orders, best, also, history, by_day] = &file.access[..] else { panic!("{:?}", file.access) };
    assert_eq!(page.pattern, Pattern::Get { view: "book".into() });
    assert_eq!((page.rate_per_second, page.p99), (Some(4000), Some(Duration::from_micros(500))));
    assert_eq!((page.stale, page.source), (Some(Duration::from_secs(1)), false));
    assert_eq!(page.stores, ["local".into(), "near".into()]);
    let order = |column: &str, descending| Order { column: column.into(), descending };
    assert_eq!(
        orders.pattern,
        Pattern::Range {
            view: "order".into(),
            by: vec!["customer_id".into()],
            order: vec![order("placed_at", true), order("id", false)],
            limit: 100,
        }
    );
    assert!(orders.source && orders.stores.is_empty() && orders.stale.is_none());
    assert_eq!(best.pattern, Pattern::Top { view: "bestsellers".into(), limit: 10 });
    let Pattern::Walk { hops, limit: 20 } = &also.pattern else { panic!() };
    assert_eq!(hops.iter().map(ToString::to_string).collect::<Vec<_>>(), ["<BOUGHT", "BOUGHT>"]);
    assert!(matches!(&history.pattern, Pattern::Window { buckets: None, limit: 1000, .. }));
    let Pattern::Window { buckets: Some(buckets), figures, .. } = &by_day.pattern else { panic!() };
    assert_eq!(*buckets, Buckets::of(Duration::from_secs(86_400)));
    assert_eq!((&*figures[0].name, figures[0].function), ("low", FigureFunction::Min));
    assert_eq!((figures[1].function, &figures[1].column), (FigureFunction::Count, &None));
    assert_eq!(figures[2].column.as_deref(), Some("list_price"));
}

#[test]
fn serving_has_safe_defaults_and_tokens_by_reference() {
    let silent = with("").unwrap().serve;
    assert_eq!(silent.listen, Some(([127, 0, 0, 1], 7070).into()));
    assert_eq!((silent.resp, silent.tls, silent.tokens.len()), (None, None, 0));
    let ServeSection { source_rate_per_second, source_parallel, source_timeout, .. } = silent;
    assert_eq!(
        (source_rate_per_second, source_parallel, source_timeout),
        (200, 4, Duration::from_millis(500))
    );

    let file = with(
        r#"
[serve]
listen = "0.0.0.0:80"
resp = "[::]:6379"
tls_cert = "cert.pem"
tls_key = "key.pem"
source_rate = "50/s"
source_parallel = 2
source_timeout = "1s"
[serve.tokens]
dashboards = { role = "viewer", token = "${API_TOKEN}" }
deploy = { role = "operator", token_file = "/run/secrets/token" }
"#,
    )
    .unwrap();
    let serve = &file.serve;
    assert_eq!((serve.listen.unwrap().port(), serve.resp.unwrap().port()), (80, 6379));
    assert_eq!((&*serve.tokens[0].name, serve.tokens[0].role), ("dashboards", Role::Viewer));
    assert_eq!(serve.tokens[1].secret.reveal(), "fedcba9876543210");
    let shown = format!("{:?} {}", file, file.to_config());
    assert!(!shown.contains("0123456789abcdef") && !shown.contains("fedcba9876543210"), "{shown}");
    assert!(shown.contains("token_file = \"/run/secrets/token\""), "{shown}");
    assert_eq!(with("[serve]\nlisten = \"off\"").unwrap().serve.listen, None);
    assert_eq!(
        with("[serve]\nlisten = \"localhost:1\"").unwrap().serve.listen,
        Some(([127, 0, 0, 1], 1).into())
    );
}

/// What is wrong, and the sections that it is wrong in.
const CASES: &[(&str, &str)] = &[
    (
        "two kinds",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"a\", score = \"count(*)\" }\nedge = { source = \"a\", label = \"L\", target = \"b\" }",
    ),
    ("a rank that is a string", "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = \"sum(a)\""),
    ("a rank without score", "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"a\" }"),
    ("a rank without by", "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { score = \"count(*)\" }"),
    (
        "a misspelt key of a rank",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"a\", scroe = \"count(*)\" }",
    ),
    (
        "a score that is a column",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"a\", score = \"quantity\" }",
    ),
    (
        "a score that calculates",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"a\", score = \"sum(price) * 2\" }",
    ),
    (
        "a score of two columns",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"a\", score = \"sum(a, b)\" }",
    ),
    (
        "a score of everything",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"a\", score = \"sum(*)\" }",
    ),
    (
        "an average",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"a\", score = \"avg(stars)\" }",
    ),
    (
        "an unknown function",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"a\", score = \"smu(stars)\" }",
    ),
    (
        "by and within the same",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"a\", within = \"a\", score = \"count(*)\" }",
    ),
    (
        "ranked by a score",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"score\", score = \"count(*)\" }",
    ),
    (
        "rows embedded in a ranking",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"a\", score = \"count(*)\" }\nembed.b = { from = \"b\", key = \"c\" }",
    ),
    (
        "columns of a ranking",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"a\", score = \"count(*)\" }\ncolumns = [\"a\"]",
    ),
    (
        "a ranking as a hash",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nrank = { by = \"a\", score = \"count(*)\" }\nlayout = \"hash\"",
    ),
    ("a series without time", "[views.x]\nfrom = \"t\"\nstore = \"local\"\nseries = { fields = \"a\" }"),
    (
        "a series without fields",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nseries = { time = \"at\", tag = \"a\" }",
    ),
    (
        "a column twice in a series",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nseries = { time = \"at\", tags = \"a\", fields = [\"b\", \"a\"] }",
    ),
    (
        "columns of a series",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nseries = { time = \"at\", fields = \"a\" }\ncolumns = \"*\"",
    ),
    (
        "an edge without label",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nedge = { source = \"a\", target = \"b\" }",
    ),
    (
        "an odd label",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nedge = { source = \"a\", label = \"HAS BOUGHT\", target = \"b\" }",
    ),
    (
        "an edge to itself",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nedge = { source = \"a\", label = \"L\", target = \"a\" }",
    ),
    (
        "an end renamed",
        "[views.x]\nfrom = \"t\"\nstore = \"local\"\nedge = { source = \"a\", label = \"L\", target = \"b\" }\ncolumns = { a = \"other\" }",
    ),
    ("no pattern", "[access.x]\nlimit = 3"),
    ("a misspelt pattern", "[access.x]\ntpo = \"bestsellers\""),
    ("two patterns", "[access.x]\nget = \"book\"\nrange = \"order\""),
    ("an unknown key", "[access.x]\nget = \"book\"\nstael = \"1s\""),
    ("an unknown view", "[access.x]\nget = \"bok\""),
    ("a view like none", "[access.x]\nget = \"spaceship\""),
    (
        "a view that is wrong itself",
        "[views.y]\nfrom = \"t\"\nstore = \"local\"\nrank = {}\n[access.x]\ntop = \"y\"",
    ),
    ("top of a document", "[access.x]\ntop = \"book\""),
    ("window of a ranking", "[access.x]\nwindow = \"bestsellers\""),
    ("order in a get", "[access.x]\nget = \"book\"\norder = \"title\"\nlimit = 3"),
    ("every in a top", "[access.x]\ntop = \"bestsellers\"\nevery = \"1d\""),
    (
        "order by what is given",
        "[access.x]\nrange = \"order\"\nby = \"customer_id\"\norder = [\"-customer_id\", \"id\"]",
    ),
    ("a limit of zero", "[access.x]\nrange = \"order\"\nlimit = 0"),
    ("a limit beyond the bound", "[access.x]\nrange = \"order\"\nlimit = 10001"),
    ("an unknown label", "[access.x]\nwalk = \"BUOGHT>\""),
    ("a label like none", "[access.x]\nwalk = [\"BOUGHT>\", \"<KNOWS\"]"),
    ("a step without direction", "[access.x]\nwalk = \"BOUGHT\""),
    ("a step in both directions", "[access.x]\nwalk = \"<BOUGHT>\""),
    (
        "too many steps",
        "[access.x]\nwalk = [\"BOUGHT>\",\"<BOUGHT\",\"BOUGHT>\",\"<BOUGHT\",\"BOUGHT>\",\"<BOUGHT\",\"BOUGHT>\",\"<BOUGHT\",\"BOUGHT>\"]",
    ),
    ("no step", "[access.x]\nwalk = []"),
    ("every without figures", "[access.x]\nwindow = \"price\"\nevery = \"1d\""),
    ("figures without every", "[access.x]\nwindow = \"price\"\nfigures = { low = \"min(price)\" }"),
    (
        "a zone that is not there",
        "[access.x]\nwindow = \"price\"\nevery = \"1d\"\nzone = \"Europe/Viena\"\nfigures = { low = \"min(price)\" }",
    ),
    (
        "buckets that do not fit into days",
        "[access.x]\nwindow = \"price\"\nevery = \"7h\"\nzone = \"UTC\"\nfigures = { low = \"min(price)\" }",
    ),
    ("gaps without buckets", "[access.x]\nwindow = \"price\"\ngaps = \"null\""),
    (
        "gaps that are closed in no way we know",
        "[access.x]\nwindow = \"price\"\nevery = \"1d\"\ngaps = \"linear\"\nfigures = { low = \"min(price)\" }",
    ),
    ("figures that are a list", "[access.x]\nwindow = \"price\"\nevery = \"1d\"\nfigures = [\"min(price)\"]"),
    (
        "an unknown figure",
        "[access.x]\nwindow = \"price\"\nevery = \"1d\"\nfigures = { low = \"mni(price)\" }",
    ),
    (
        "a figure of no field",
        "[access.x]\nwindow = \"price\"\nevery = \"1d\"\nfigures = { low = \"min(prize)\", mid = \"median(price)\" }",
    ),
    (
        "a figure of everything",
        "[access.x]\nwindow = \"price\"\nevery = \"1d\"\nfigures = { low = \"min(*)\" }",
    ),
    (
        "a figure called as the time",
        "[access.x]\nwindow = \"price\"\nevery = \"1d\"\nfigures = { changed_at = \"count(*)\" }",
    ),
    ("no figure", "[access.x]\nwindow = \"price\"\nevery = \"1d\"\nfigures = {}"),
    ("a bucket too short", "[access.x]\nwindow = \"price\"\nevery = \"1ms\"\nfigures = { n = \"count(*)\" }"),
    ("amounts without units", "[access.x]\nget = \"book\"\nstale = 1\np99 = \"2\"\nrate = 4000"),
    ("amounts out of range", "[access.x]\nget = \"book\"\nstale = \"0s\"\np99 = \"2m\"\nrate = \"0/s\""),
    (
        "part of a ranking",
        "[views.v]\nfrom = \"t\"\nstore = [\"local\", { name = \"near\", hold = \"10%\" }]\nrank = { by = \"a\", score = \"count(*)\" }",
    ),
    (
        "a range from a part",
        "[views.v]\nfrom = \"t\"\nstore = [\"local\", { name = \"near\", hold = \"10%\" }]\n[access.x]\nrange = \"v\"\nstore = [\"local\", \"near\"]",
    ),
    (
        "a get from nothing but a part",
        "[views.v]\nfrom = \"t\"\nstore = [\"local\", { name = \"near\", hold = \"10%\" }]\n[access.x]\nget = \"v\"\nstore = \"near\"",
    ),
    ("an unknown store", "[access.x]\nget = \"book\"\nstore = \"neer\""),
    ("a store that does not hold the view", "[access.x]\nget = \"order\"\nstore = [\"near\", \"local\"]"),
    ("a store twice", "[access.x]\nget = \"book\"\nstore = [\"near\", \"near\"]"),
    ("a source that is a string", "[access.x]\nget = \"book\"\nsource = \"no\""),
    ("patterns that differ in case", "[access.x]\nget = \"book\"\n[access.X]\nget = \"book\""),
    ("a pattern with a bad name", "[access.\"a b\"]\nget = \"book\""),
    (
        "a walk that no store holds",
        "[views.x]\nfrom = \"t\"\nstore = \"near\"\nedge = { source = \"a\", label = \"KNOWS\", target = \"b\" }\n[access.x]\nwalk = [\"BOUGHT>\", \"KNOWS>\"]",
    ),
    ("open to everyone", "[serve]\nlisten = \"0.0.0.0:7070\"\nresp = \"[::]:6379\""),
    ("a port alone", "[serve]\nlisten = \":7070\""),
    ("no address", "[serve]\nlisten = \"example.org:80\""),
    ("one address twice", "[serve]\nresp = \"127.0.0.1:7070\""),
    ("a certificate without key", "[serve]\ntls_cert = \"a.pem\""),
    ("a literal token", "[serve.tokens]\na = { role = \"viewer\", token = \"hunter2hunter2hunter2\" }"),
    ("a short token", "[serve.tokens]\na = { role = \"viewer\", token = \"${SHORT}\" }"),
    ("no token", "[serve.tokens]"),
    ("a token without secret and role", "[serve.tokens]\na = {}"),
    ("an unknown role", "[serve.tokens]\na = { role = \"admin\", token = \"${API_TOKEN}\" }"),
    (
        "a token twice",
        "[serve.tokens]\na = { role = \"viewer\", token = \"${API_TOKEN}\" }\nb = { role = \"operator\", token = \"${API_TOKEN}\" }",
    ),
    ("budgets out of range", "[serve]\nsource_rate = \"0/s\"\nsource_parallel = 0\nsource_timeout = \"1ms\""),
];

#[test]
fn mistakes_are_located_and_have_a_remedy() {
    let mut out = String::new();
    for (what, text) in CASES {
        let errors = match with(text) {
            Err(errors) => {
                assert!(errors.errors.iter().all(|error| error.remedy.is_some()), "{what}: {errors}");
                assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
                render(&errors)
            }
            Ok(_) => "NO ERROR\n".to_owned(),
        };
        let _ = writeln!(out, "## {what}\n{errors}");
    }
    assert!(!out.contains("NO ERROR"), "{out}");
    insta::assert_snapshot!(out);
}

#[test]
fn a_file_without_views_says_so_where_one_is_read() {
    let errors =
        load("[source]\nurl = \"sqlite:a\"\n[access.x]\nget = \"a\"\n[access.y]\nwalk = \"A>\"").unwrap_err();
    insta::assert_snapshot!(render(&errors));
}

proptest! {
    #[test]
    fn damaged_sections_never_panic(case in 0..CASES.len(), at in 0..400usize, drop in 0..20usize, put in "[\\[\\]{}=\"'$.,()*<>\\n#a-z0-9é-]{0,6}") {
        let mut text = CASES[case].1.as_bytes().to_vec();
        let at = at.min(text.len());
        text.splice(at..(at + drop).min(text.len()), put.bytes());
        if let Err(errors) = with(&String::from_utf8_lossy(&text)) {
            render(&errors);
        }
    }
}
