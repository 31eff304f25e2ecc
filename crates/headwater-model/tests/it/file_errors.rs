//! Every mistake is reported with line, column, what is wrong and what to do, all mistakes in one run.

use std::fmt::Write as _;

use proptest::prelude::*;

use crate::support::{load, render};

/// A fine file that mistakes are put into, in place of one of its lines.
const FINE: &str = r#"[source]
url = "postgres://headwater:${PGPASSWORD}@db.internal/shop"
[stores]
near = { url = "redis://cache" }
local = { url = "sqlite:derived.db" }
[views.book]
from = "books"
store = "near"
embed.author = { from = "authors", key = "author_id" }
embed.reviews = { from = "reviews", many = "book_id", order = "-created_at", limit = 20 }
"#;

/// Lines that take the place of the line of `FINE` with the same key.
const BAD_LINES: &[(&str, &str)] = &[
    ("unknown key at the top", "sorces = 1\n[source]"),
    ("several sources that are none", "sources = 1\n[source]"),
    ("unknown key in a view", "form = \"books\""),
    ("unknown key in an embed", "embed.author = { from = \"authors\", keys = \"author_id\" }"),
    ("unknown key with nothing near", "store = \"near\"\nfrobnicate = true"),
    ("a misspelt key of the source", "[source]\nhold_fro = \"5s\""),
    ("no url", "near = { prefix = \"x\" }"),
    ("a store that is a string", "near = \"redis://cache\""),
    ("a url without scheme", "url = \"db.internal/shop\""),
    ("a literal password", "url = \"postgres://headwater:hunter2@db.internal/shop\""),
    ("a literal password in the query", "url = \"postgres://db.internal/shop?user=a&password=hunter2\""),
    ("a literal password key", "[source]\npassword = \"hunter2\""),
    ("two passwords", "[source]\npassword = \"${PGPASSWORD}\""),
    ("a missing variable", "url = \"postgres://headwater:${NOT_SET}@db.internal/shop\""),
    ("an unclosed reference", "url = \"postgres://headwater:${PGPASSWORD@db.internal/shop\""),
    ("a bad name of a variable", "near = { url = \"redis://cache\", prefix = \"${A-B}\" }"),
    ("a missing secret file", "near = { url = \"file:/run/secrets/none\" }"),
    ("a missing password file", "[source]\npassword_file = \"/nope\""),
    ("a number without unit", "[source]\nhold_for = 5"),
    ("a text without unit", "[source]\nhold_for = \"5\""),
    ("a bad unit of time", "[source]\nhold_for = \"5 minutes\""),
    ("a duration out of range", "[run]\nshutdown_within = \"0s\"\n[source]"),
    ("a level that is none", "[heal]\nrefill = \"never\"\nsafe = \"yes\"\nlet-go = \"one\"\n[source]"),
    ("objectives out of range", "[objectives]\nrto = \"0s\"\nrpo = -1\n[source]"),
    ("a size without unit", "[journal]\nmax = 10_000\n[source]"),
    ("a bad unit of size", "[journal]\nmax = \"10gb\"\n[source]"),
    ("a size out of range", "[source]\nretained_log_max = \"1MiB\""),
    ("a rate without unit", "[backfill]\nrate = 4000\n[source]"),
    ("a rate of zero", "[backfill]\nrate = \"0/s\"\n[source]"),
    ("numbers out of range", "[backfill]\nparallel = 0\nchunk_rows = 10_000_000\n[source]"),
    ("a number in quotes", "[backfill]\nparallel = \"2\"\n[source]"),
    ("a setting that is a list", "near = { url = \"redis://cache\", nodes = [\"a\"] }"),
    ("an unknown store", "store = \"nera\""),
    ("an unknown store with nothing near", "store = [\"local\", \"warehouse\"]"),
    ("a store twice", "store = [\"near\", \"near\"]"),
    ("no store of several", "from = \"books\"\n[views.other]\nfrom = \"others\"\n[views.third]"),
    ("a bad name of a view", "[views.\"best sellers\"]"),
    ("a bad name of a store", "\"1st\" = { url = \"redis://x\" }\nnear = { url = \"redis://cache\" }"),
    ("a reserved name", "[views.Headwater_view]"),
    ("two stores that are one", "near = { url = \"redis://cache\" }\nfar = { url = \"redis://cache\" }"),
    (
        "a store that is the source",
        "near = { url = \"postgres://headwater:${PGPASSWORD}@db.internal/shop\" }",
    ),
    ("no from", "embed.author = { key = \"author_id\" }"),
    ("a from with too many parts", "from = \"db.shop.books\""),
    ("a from with an open quote", "from = '\"shop.books'"),
    ("an empty from", "from = \"\""),
    ("a from that is a number", "from = 7"),
    ("neither key nor many", "embed.author = { from = \"authors\" }"),
    ("both key and many", "embed.author = { from = \"authors\", key = \"author_id\", many = \"x\" }"),
    (
        "order and limit of one row",
        "embed.author = { from = \"authors\", key = \"author_id\", order = \"a\", limit = 3 }",
    ),
    (
        "references of another count",
        "embed.author = { from = \"authors\", key = [\"a\", \"b\"], references = \"id\" }",
    ),
    ("a key column twice", "embed.author = { from = \"authors\", key = [\"a\", \"a\"] }"),
    ("an empty key", "embed.author = { from = \"authors\", key = [] }"),
    ("a limit of zero", "embed.reviews = { from = \"reviews\", many = \"book_id\", limit = 0 }"),
    (
        "a limit that is no number",
        "embed.reviews = { from = \"reviews\", many = \"book_id\", limit = \"20\" }",
    ),
    ("order twice", "embed.reviews = { from = \"reviews\", many = \"book_id\", order = [\"a\", \"-a\"] }"),
    ("an embed that is a string", "embed.author = \"authors\""),
    ("embed that is a list", "embed = []\nfrom = \"books\""),
    ("columns with a star", "store = \"near\"\ncolumns = [\"id\", \"*\"]"),
    ("columns twice", "store = \"near\"\ncolumns = [\"id\", \"id\"]"),
    ("columns of another kind", "store = \"near\"\ncolumns = true"),
    ("a column and an embed of one name", "store = \"near\"\ncolumns = { author = \"author_id\" }"),
    ("an unknown layout", "store = \"near\"\nlayout = \"xml\""),
    ("an empty where", "store = \"near\"\nwhere = \" \""),
    ("a where that ends early", "store = \"near\"\nwhere = \"price >\""),
    ("a where with a stray word", "store = \"near\"\nwhere = \"price > 10 und stock\""),
    ("a where with a function", "store = \"near\"\nwhere = 'lower(title) = \"x\"'"),
    ("a where with an open string", "store = \"near\"\nwhere = \"title = 'x\""),
    ("a reference in a view", "store = \"near\"\nwhere = \"tenant = '${TENANT}'\""),
    ("views that differ in case", "[views.Book]\nfrom = \"b\"\nstore = \"local\"\n[views.book]"),
    ("a section twice", "[source]\nurl = \"sqlite:a\"\n[source]"),
    ("a section that is a string", "source = \"postgres://h/d\"\n[other]"),
    ("a value without quotes", "from = books"),
    ("an open string", "from = \"books"),
    ("a missing equals sign", "store \"near\""),
    ("a broken header", "[views.book"),
    ("syntax and other mistakes", "form = \"books\"\nlimit 20"),
    ("a part and nothing whole", "store = { name = \"near\", hold = \"10%\" }"),
    (
        "parts and nothing whole",
        "store = [{ name = \"near\", hold = \"10%\" }, { name = \"local\", hold = 5 }]",
    ),
    ("a part of no store", "store = [\"local\", { hold = \"10%\" }]"),
    ("a part of an unknown store", "store = [\"local\", { name = \"nera\", hold = \"10%\" }]"),
    ("a part of no size", "store = [\"local\", { name = \"near\" }]"),
    ("a part of everything and more", "store = [\"local\", { name = \"near\", hold = \"110%\" }]"),
    ("a part of nothing", "store = [\"local\", { name = \"near\", hold = 0 }]"),
    ("a part in bytes", "store = [\"local\", { name = \"near\", hold = \"64MiB\" }]"),
    (
        "a part with a ttl of nothing",
        "store = [\"local\", { name = \"near\", hold = \"10%\", ttl = \"10ms\" }]",
    ),
    (
        "a part with a bad where",
        "store = [\"local\", { name = \"near\", hold = \"10%\", where = \"price >\" }]",
    ),
    ("a part with a misspelt key", "store = [\"local\", { name = \"near\", hodl = \"10%\" }]"),
    ("all and part in one store", "store = [\"near\", { name = \"near\", hold = \"10%\" }]"),
    ("a number as a store", "store = [\"local\", 7]"),
    ("telemetry without a scheme", "[telemetry]\notlp = \"collector:4318\"\n[source]"),
    ("telemetry to one path", "[telemetry]\notlp = \"http://collector:4318/v1/traces\"\n[source]"),
    ("telemetry with a password", "[telemetry]\notlp = \"https://a:b@collector\"\n[source]"),
    ("a sample without a unit", "[telemetry]\nsample = 0.5\n[source]"),
    ("a sample of everything and more", "[telemetry]\nsample = \"200%\"\n[source]"),
    ("a literal secret in a header", "[telemetry]\nheaders = { X-Api-Key = \"hunter2\" }\n[source]"),
    ("a bad name of a header", "[telemetry]\nheaders = { \"a b\" = \"c\" }\n[source]"),
    ("a header of two lines", "[telemetry]\nheaders = { a = \"b\\nc\" }\n[source]"),
    ("an unknown key of telemetry", "[telemetry]\nsampel = \"1%\"\n[source]"),
];

fn with_line(bad: &str) -> String {
    let key = |line: &str| line.split(['=', ' ']).next().unwrap_or_default().trim().to_owned();
    let keys: Vec<String> = bad.lines().map(key).collect();
    let near = |line: &str| {
        let key = key(line);
        keys.contains(&key) || (key == "from" && keys.contains(&"form".to_owned()))
    };
    let at = FINE.lines().position(near).or_else(|| FINE.lines().position(|l| l.starts_with("[views")));
    FINE.lines().enumerate().fold(String::new(), |mut text, (i, line)| {
        let _ = writeln!(text, "{}", if Some(i) == at { bad } else { line });
        text
    })
}

#[test]
fn mistakes_are_located_and_have_a_remedy() {
    assert!(load(FINE).is_ok());
    let mut out = String::new();
    for (what, bad) in BAD_LINES {
        let errors = match load(&with_line(bad)) {
            Err(errors) => render(&errors),
            Ok(_) => "NO ERROR\n".to_owned(),
        };
        let _ = writeln!(out, "## {what}\n{errors}");
    }
    insta::assert_snapshot!(out);
}

#[test]
fn whole_files_are_judged_too() {
    let mut out = String::new();
    for text in [
        "",
        "[source]",
        "[source]\nurl = \"sqlite:a\"\n[views.a]\nfrom = \"a\"",
        "\u{feff}[source]\nurl = 1",
        "views = 1\nstores = []",
    ] {
        let _ = writeln!(out, "## {text:?}\n{}", render(&load(text).unwrap_err()));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn all_mistakes_come_in_one_run() {
    let text = r#"
colour = "blue"
[source]
url = "postgres://headwater:${NOT_SET}@db/shop"
hold_for = 5
[stores]
near = { url = "redis://cache" }
far = { url = "nowhere" }
[views.book]
from = "books"
store = ["neer", "far"]
embed.author = { from = "authors" }
embed.reviews = { from = "reviews", many = "book_id", limti = 20 }
[views.order]
store = "near"
[journal]
max = "lots"
"#;
    insta::assert_snapshot!(render(&load(text).unwrap_err()));
}

#[test]
fn rows_nest_so_deep_and_no_deeper() {
    let nested = |depth: usize| {
        let mut text = FINE.to_owned();
        for i in 1..=depth {
            let path = ".embed.x".repeat(i);
            text += &format!("[views.book{path}]\nfrom = \"t\"\nkey = \"k\"\n");
        }
        text
    };
    assert!(load(&nested(16)).is_ok());
    let errors = load(&nested(17)).unwrap_err();
    assert!(errors.to_string().contains("rows nest deeper than 16"), "{errors}");
}

#[test]
fn lines_that_end_as_on_windows_are_counted_alike() {
    let errors = |text: &str| {
        let errors = load(text).unwrap_err().errors;
        errors.into_iter().map(|e| (e.line, e.column, e.message)).collect::<Vec<_>>()
    };
    let text = with_line("form = \"books\"\nwhere = \"price >\"\nlimti = 3");
    assert_eq!(errors(&text), errors(&text.replace('\n', "\r\n")));
}

#[test]
fn a_password_in_the_file_is_never_shown() {
    for (_, bad) in BAD_LINES.iter().filter(|(_, bad)| bad.contains("hunter2")) {
        for text in [with_line(bad), format!("{}\nbroken", with_line(bad))] {
            let errors = load(&text).unwrap_err();
            assert!(!format!("{errors:?} {errors}").contains("hunter2"), "{errors:?}");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        let _ = load(&text).map_err(|errors| render(&errors));
    }

    #[test]
    fn a_damaged_file_never_panics(at in 0..FINE.len(), drop in 0..40usize, put in "[\\[\\]{}=\"'$.,\\n#a-z0-9é-]{0,6}") {
        let mut text = FINE.as_bytes().to_vec();
        text.splice(at..(at + drop).min(FINE.len()), put.bytes());
        let text = String::from_utf8_lossy(&text);
        if let Err(errors) = load(&text) {
            prop_assert!(!errors.errors.is_empty());
            for error in &errors.errors {
                prop_assert!(error.line >= 1 && error.column >= 1 && error.span.end <= text.len(), "{error:?}");
            }
            render(&errors);
        }
    }
}
