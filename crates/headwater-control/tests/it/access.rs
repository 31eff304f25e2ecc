//! Access patterns compared with a source: what they ask of views, what they take and give, and what does not fit.

use std::fmt::Write as _;

use headwater_control::{Resolved, check, resolve};
use headwater_model::{
    AccessPlan, ColumnType, Field, FieldShape, Hop, ParamRole, PlannedRead, Severity, SourceFacts, ViewKind,
};

use crate::support::{bookshop, load, render, table};

const VIEWS: &str = r#"[source]
url = "postgres://me@h/d"
[stores]
near = { url = "redis://cache" }
local = { url = "sqlite:derived.db" }
[views.book]
from = "books"
store = ["near", "local"]
columns = { id = "id", name = "title", author_id = "author_id", made = "created_at" }
embed.author = { from = "authors", key = "author_id", columns = ["name", "born_on"] }
embed.reviews = { from = "reviews", many = "book_id", columns = ["stars"] }
[views.order]
from = "orders"
store = "local"
[views.line]
from = "order_lines"
store = "local"
[views.best]
from = "order_lines"
store = "local"
rank = { by = "book_id", within = "order_id", score = "sum(quantity)" }
[views.price]
from = "price_changes"
store = "local"
series = { time = "changed_at", tags = "isbn", fields = "price" }
[views.bought]
from = "orders"
store = ["near", "local"]
edge = { source = "customer_id", label = "GAVE", target = "gift_for" }
"#;

fn resolved(access: &str) -> Resolved {
    let file = load(&format!("{VIEWS}{access}"));
    resolve(&file, &facts()).unwrap_or_else(|findings| panic!("{}", render(&file.text, &findings)))
}

fn facts() -> SourceFacts {
    let mut facts = bookshop();
    for table in &mut facts.tables {
        for column in &mut table.columns {
            if column.kind == ColumnType::Int {
                column.type_name =
                    if &*column.name == "quantity" { "integer".into() } else { "bigint".into() };
            }
        }
    }
    facts
        .tables
        .push(table("odd: id int, doc json, list list, ratio float, state text, flag bool, from text"));
    facts
}

fn plan(access: &str) -> AccessPlan {
    let resolved = resolved(&format!("[access.x]\n{access}"));
    let plan = resolved.access.into_iter().next().unwrap();
    for view in plan.read.views() {
        assert!(
            resolved.views.iter().any(|known| std::sync::Arc::ptr_eq(known, view)),
            "one view, not a copy"
        );
    }
    plan
}

fn params(plan: &AccessPlan) -> String {
    let shown = plan.params.iter().map(|param| {
        let optional = if param.required { "" } else { "?" };
        format!("{}{optional}: {:?} {}", param.name, param.kind, param.type_name)
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn fields(fields: &[Field]) -> String {
    let shown = fields.iter().map(|Field { name, nullable, shape }| {
        let optional = if *nullable { "?" } else { "" };
        match shape {
            FieldShape::Value { type_name, .. } => format!("{name}{optional}: {type_name}"),
            FieldShape::One(inner) => format!("{name}{optional}: {{{}}}", self::fields(inner)),
            FieldShape::Many(inner) => format!("{name}{optional}: [{}]", self::fields(inner)),
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_store_that_holds_part_of_a_view_answers_gets_alone_and_first() {
    let text = VIEWS.replacen(
        "store = [\"near\", \"local\"]",
        "store = [\"local\", { name = \"near\", hold = \"10%\" }]",
        1,
    );
    let file = load(&format!(
        "{text}[access.one]\nget = \"book\"\n[access.all]\nrange = \"book\"\norder = \"name\"\n\
         [access.said]\nget = \"book\"\nstore = [\"local\"]"
    ));
    let resolved =
        resolve(&file, &facts()).unwrap_or_else(|findings| panic!("{}", render(&file.text, &findings)));
    let stores = |name: &str| {
        let plan = resolved.access.iter().find(|plan| *plan.access.name == *name).unwrap();
        plan.stores.iter().map(|store| &**store).collect::<Vec<_>>()
    };
    assert_eq!(stores("one"), ["near", "local"]);
    assert_eq!(stores("all"), ["local"]);
    assert_eq!(stores("said"), ["local"]);
}

#[test]
fn a_get_takes_the_key_and_gives_the_whole_document() {
    let page = plan("get = \"book\"");
    assert_eq!(params(&page), "id: Int bigint");
    assert_eq!(page.params[0].role, ParamRole::Key);
    assert_eq!(
        fields(&page.fields),
        "id: bigint, name: text, author_id: bigint, made: timestamptz, \
         author?: {name: text, born_on?: date}, reviews: [stars: bigint]"
    );
    assert_eq!(page.stores, ["near".into(), "local".into()]);
    assert_eq!(params(&plan("get = \"line\"")), "order_id: Int bigint, line_no: Int bigint");
    let ranked = plan("get = \"best\"");
    assert_eq!(params(&ranked), "order_id: Int bigint, book_id: Int bigint", "within, then by");
    assert_eq!(fields(&ranked.fields), "order_id: bigint, book_id: bigint, score: bigint");
    assert_eq!(plan("get = \"book\"\nstore = \"local\"").stores, ["local".into()]);
}

#[test]
fn a_range_gives_its_view_an_order_that_patterns_share() {
    let resolved = resolved(
        r#"
[access.of_customer]
range = "order"
by = "customer_id"
order = "-placed_at"
[access.of_customer_short]
range = "order"
by = "customer_id"
order = "-placed_at"
limit = 3
[access.by_name]
range = "book"
order = ["name", "-made"]
[access.all]
range = "best"
by = "book_id"
order = "-score"
"#,
    );
    let view = |name: &str| resolved.views.iter().find(|view| &*view.name == name).unwrap();
    assert_eq!(view("order").indexes.len(), 1);
    assert_eq!(view("best").indexes.len(), 2, "behind the one that every ranking has");
    let at = |i: usize| match &resolved.access[i].read {
        PlannedRead::Range { index, limit, .. } => (*index, *limit),
        other => panic!("{other:?}"),
    };
    assert_eq!([at(0), at(1), at(2), at(3)], [(0, 100), (0, 3), (0, 100), (1, 100)]);
    assert_eq!(
        params(&resolved.access[0]),
        "customer_id: Int bigint, from?: TimestampTz timestamptz, to?: TimestampTz timestamptz"
    );
    assert_eq!(params(&resolved.access[2]), "from?: Text text, to?: Text text");
    let roles: Vec<ParamRole> = resolved.access[0].params.iter().map(|param| param.role).collect();
    assert_eq!(roles, [ParamRole::By, ParamRole::From, ParamRole::To]);
}

#[test]
fn a_top_takes_what_it_is_within() {
    let top = plan("top = \"best\"\nlimit = 5");
    assert!(matches!(top.read, PlannedRead::Range { index: 0, limit: 5, .. }));
    assert_eq!(params(&top), "order_id: Int bigint");
}

#[test]
fn scores_have_the_type_that_sql_gives_them() {
    let score = |score: &str| {
        let text = format!(
            "{VIEWS}[views.x]\nfrom = \"order_lines\"\nstore = \"local\"\nrank = {{ by = \"book_id\", score = \"{score}\" }}\n[access.x]\ntop = \"x\""
        );
        let mut facts = facts();
        let lines = facts.tables.iter_mut().find(|table| &*table.name.name == "order_lines").unwrap();
        lines.columns.iter_mut().find(|column| &*column.name == "price").unwrap().nullable = true;
        fields(&resolve(&load(&text), &facts).unwrap().access[0].fields[1..])
    };
    assert_eq!(score("count(*)"), "score: bigint");
    assert_eq!(score("count(price)"), "score: bigint");
    assert_eq!(score("sum(quantity)"), "score: bigint");
    assert_eq!(score("sum(line_no)"), "score: numeric", "a sum of 64-bit integers may need more");
    assert_eq!(score("sum(price)"), "score?: numeric", "NULL where every price is");
    assert_eq!(score("max(price)"), "score?: numeric");
    assert_eq!(score("min(line_no)"), "score: bigint");
}

#[test]
fn a_sum_of_values_without_a_kind_is_asked_for_exactly() {
    let mut facts = facts();
    facts.tables.push(table("loose: id int, n any null"));
    let text = format!(
        "{VIEWS}[views.x]\nfrom = \"loose\"\nstore = \"local\"\nrank = {{ by = \"id\", score = \"sum(n)\" }}\n[access.x]\nrange = \"x\"\norder = \"-score\""
    );
    let resolved = resolve(&load(&text), &facts).unwrap();
    assert_eq!(params(&resolved.access[0]), "from?: Decimal numeric, to?: Decimal numeric");
}

#[test]
fn a_walk_takes_its_start_and_finds_edges_both_ways() {
    let walk = plan("walk = [\"GAVE>\", \"<GAVE\"]\nlimit = 7");
    let PlannedRead::Walk { hops, limit: 7, edges_max } = &walk.read else { panic!() };
    assert!(*edges_max > 0);
    assert_eq!(hops.iter().map(Hop::index).collect::<Vec<_>>(), [Hop::OUT, Hop::IN]);
    assert_eq!(params(&walk), "start: Int bigint");
    assert_eq!(walk.params[0].role, ParamRole::Start);
    assert_eq!(fields(&walk.fields), "vertex: bigint, ways: bigint");
    assert_eq!(walk.stores, ["near".into(), "local".into()]);
    let edges = plan("range = \"bought\"");
    assert_eq!(fields(&edges.fields), "customer_id: bigint, gift_for: bigint", "no edge has a NULL end");
}

#[test]
fn a_window_takes_tags_and_bounds_in_time() {
    let points = plan("window = \"price\"");
    assert_eq!(
        params(&points),
        "isbn: Text text, from?: TimestampTz timestamptz, to?: TimestampTz timestamptz"
    );
    assert_eq!(fields(&points.fields), "id: bigint, changed_at: timestamptz, isbn: text, price: numeric");
    let days = plan(
        "window = \"price\"\nevery = \"1d\"\nfigures = { n = \"count(*)\", high = \"max(price)\", mean = \"avg(price)\" }",
    );
    assert_eq!(fields(&days.fields), "changed_at: timestamptz, n: bigint, high: numeric, mean: numeric");
    let PlannedRead::Window { view, index: 0, buckets: Some(_), figures, .. } = &days.read else { panic!() };
    assert!(matches!(view.kind, ViewKind::Series(_)) && figures.len() == 3);
}

const CASES: &[(&str, &str)] = &[
    ("a misspelt field", "[access.x]\nrange = \"order\"\nby = \"custmer_id\"\norder = \"-placed\""),
    ("a column that is renamed", "[access.x]\nrange = \"book\"\norder = \"title\""),
    ("a column that is not shown", "[access.x]\nrange = \"book\"\norder = \"price\""),
    (
        "a column that a series does not show",
        "[views.x]\nfrom = \"reviews\"\nstore = \"local\"\nseries = { time = \"created_at\", fields = \"stars\" }\n[access.x]\nrange = \"x\"\norder = \"customer_id\"",
    ),
    ("embedded rows", "[access.x]\nrange = \"book\"\nby = \"author\""),
    (
        "an order by a document",
        "[views.x]\nfrom = \"odd\"\nstore = \"local\"\n[access.x]\nrange = \"x\"\norder = \"doc\"",
    ),
    (
        "a field called as a parameter",
        "[views.x]\nfrom = \"odd\"\nstore = \"local\"\n[access.x]\nrange = \"x\"\nby = \"from\"",
    ),
    (
        "a misspelt column of a ranking",
        "[views.x]\nfrom = \"order_lines\"\nstore = \"local\"\nrank = { by = \"bookid\", within = \"order\", score = \"sum(qantity)\" }",
    ),
    (
        "a sum of texts",
        "[views.x]\nfrom = \"reviews\"\nstore = \"local\"\nrank = { by = \"book_id\", score = \"sum(body)\" }",
    ),
    (
        "a sum of floats",
        "[views.x]\nfrom = \"odd\"\nstore = \"local\"\nrank = { by = \"state\", score = \"sum(ratio)\" }",
    ),
    (
        "the greatest truth",
        "[views.x]\nfrom = \"odd\"\nstore = \"local\"\nrank = { by = \"state\", score = \"max(flag)\" }",
    ),
    (
        "ranked by a document",
        "[views.x]\nfrom = \"odd\"\nstore = \"local\"\nrank = { by = \"doc\", score = \"count(*)\" }",
    ),
    (
        "a series of no time",
        "[views.x]\nfrom = \"odd\"\nstore = \"local\"\nseries = { time = \"flag\", tags = \"list\", fields = [\"ratio\", \"rato\"] }",
    ),
    (
        "a series by a text",
        "[views.x]\nfrom = \"odd\"\nstore = \"local\"\nseries = { time = \"state\", fields = \"ratio\" }",
    ),
    (
        "an edge of nothing",
        "[views.x]\nfrom = \"orders\"\nstore = \"local\"\nedge = { source = \"customer\", label = \"L\", target = \"gift_for\" }\ncolumns = [\"sate\"]",
    ),
    (
        "a walk between types",
        "[views.x]\nfrom = \"reviews\"\nstore = \"local\"\nedge = { source = \"customer_id\", label = \"SAID\", target = \"body\" }\n[access.x]\nwalk = [\"SAID>\", \"SAID>\"]",
    ),
    (
        "buckets of a number",
        "[views.x]\nfrom = \"odd\"\nstore = \"local\"\nseries = { time = \"id\", fields = \"ratio\" }\n[access.x]\nwindow = \"x\"\nevery = \"1h\"\nfigures = { n = \"count(*)\" }",
    ),
    (
        "the sum of texts in a bucket",
        "[views.x]\nfrom = \"reviews\"\nstore = \"local\"\nseries = { time = \"created_at\", fields = \"body\" }\n[access.x]\nwindow = \"x\"\nevery = \"1h\"\nfigures = { s = \"sum(body)\" }",
    ),
    (
        "a misspelt column is said once",
        "[views.x]\nfrom = \"tags\"\nstore = \"local\"\ncolumns = [\"id\", \"lable\"]\n[access.x]\nrange = \"x\"\norder = \"lable\"",
    ),
    (
        "open without TLS",
        "[serve]\nlisten = \"0.0.0.0:7070\"\n[serve.tokens]\na = { role = \"viewer\", token = \"${A_LONG_TOKEN}\" }",
    ),
];

#[test]
fn what_does_not_fit_is_found_at_its_place() {
    let mut out = String::new();
    for (what, text) in CASES {
        let file = load(&format!("{VIEWS}{text}"));
        let findings = check::run(&file, &facts());
        assert!(!findings.is_empty(), "{what}");
        assert!(findings.iter().all(|finding| finding.remedy.is_some()), "{what}: {findings:?}");
        let refused = resolve(&file, &facts()).is_err();
        assert_eq!(refused, findings.iter().any(|finding| finding.severity == Severity::Error), "{what}");
        let _ = writeln!(out, "## {what}\n{}", render(&file.text, &findings));
    }
    insta::assert_snapshot!(out);
}
