//! Several sources in one file: which view is whose, what each source sees of the file, and what is refused.

use crate::support::{load, render};

const TWO: &str = r#"[sources.shop]
url = "postgres://db.internal/shop"
[sources.ledger]
url = "sqlite:ledger.db"
[stores]
near = { url = "redis://cache" }
local = { url = "sqlite:derived.db" }
[views.book]
source = "shop"
from = "books"
store = "near"
[views.entry]
source = "ledger"
from = "entries"
store = ["near", "local"]
[access.book]
get = "book"
[access.entry]
get = "entry"
[plan.tables.books]
rows = 5
[plan.tables.entries]
rows = 7
"#;

#[test]
fn each_source_sees_its_own_part_of_the_file() {
    let file = load(TWO).unwrap();
    assert_eq!(file.source_of("entry"), Some("ledger"));
    let flows = file.flows();
    let names = |place: usize| {
        let flow = &flows[place];
        let views: Vec<&str> = flow.views.iter().map(|view| &*view.name).collect();
        let access: Vec<&str> = flow.access.iter().map(|access| &*access.name).collect();
        let stores: Vec<String> = flow.stores.iter().map(|store| store.of_source("held")).collect();
        let tables: Vec<&str> =
            flow.plan.iter().flat_map(|plan| &plan.tables).map(|table| &*table.path).collect();
        (flow.source().path(), flow.data.display().to_string(), views, access, stores, tables)
    };
    let own = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
    assert_eq!(
        names(0),
        (
            "sources.shop".into(),
            "headwater-data/shop".into(),
            vec!["book"],
            vec!["book"],
            own(&["held@shop"]),
            vec!["books"]
        )
    );
    assert_eq!(
        names(1),
        (
            "sources.ledger".into(),
            "headwater-data/ledger".into(),
            vec!["entry"],
            vec!["entry"],
            own(&["held@ledger", "held@ledger"]),
            vec!["entries"]
        )
    );
}

#[test]
fn a_source_without_a_name_stays_where_it_was() {
    let file = load(
        "[source]\nurl = \"sqlite:a.db\"\n[stores]\nnear = { url = \"memory:\" }\n[views.a]\nfrom = \"a\"\n",
    )
    .unwrap();
    let flows = file.flows();
    assert_eq!((flows.len(), flows[0].data.clone()), (1, file.data.clone()));
    assert_eq!(
        (flows[0].source().path().as_str(), flows[0].stores[0].of_source("held").as_str()),
        ("source", "held")
    );
    // The only one of [sources] need not be named by its views.
    let named = load("[sources.one]\nurl = \"sqlite:a.db\"\n[stores]\nnear = { url = \"memory:\" }\n[views.a]\nfrom = \"a\"\n").unwrap();
    assert_eq!(named.source_of("a"), Some("one"));
}

#[test]
fn mistakes_about_sources_are_located_and_have_a_remedy() {
    let with = |from: &str, to: &str| {
        assert!(TWO.contains(from), "{from}");
        render(&load(&TWO.replacen(from, to, 1)).unwrap_err())
    };
    for (from, to, says) in [
        (
            "[views.book]\nsource = \"shop\"\n",
            "[views.book]\n",
            &[
                "8:8: view `book` does not say of which source it is",
                "add source = \"shop\"; the sources are shop, ledger",
            ][..],
        ),
        (
            "source = \"shop\"",
            "source = \"shpo\"",
            &["9:10: there is no source `shpo`", "did you mean `shop`?"],
        ),
        (
            "source = \"shop\"",
            "source = \"warehouse\"",
            &["9:10: there is no source `warehouse`", "the sources are shop, ledger"],
        ),
        ("source = \"shop\"", "sorce = \"shop\"", &["9:1: unknown key `sorce`", "did you mean `source`?"]),
        (
            "[sources.shop]",
            "[source]\nurl = \"sqlite:a.db\"\n[sources.shop]",
            &["[source] and [sources] are both there", "[sources.NAME]"],
        ),
        (
            "[sources.ledger]",
            "[sources.Shop]",
            &["sources `shop` and `Shop` differ only in case", "rename one of them"],
        ),
        ("[sources.ledger]", "[sources.\"a/b\"]", &["`a/b` cannot be the name of a source"]),
        (
            "[access.entry]\nget = \"entry\"",
            "[views.a]\nsource = \"shop\"\nfrom = \"a\"\nstore = \"near\"\nedge = { source = \"x\", label = \"L\", target = \"y\" }\n\
             [views.b]\nsource = \"ledger\"\nfrom = \"b\"\nstore = \"near\"\nedge = { source = \"x\", label = \"L\", target = \"y\" }\n\
             [access.entry]\nwalk = [\"L>\"]",
            &[
                ":8: `entry` reads views of 2 sources: ledger, shop",
                "an access pattern reads views of one source",
            ],
        ),
        (
            "url = \"sqlite:ledger.db\"",
            "url = \"sqlite:derived.db\"",
            &["store `local` is source `ledger` itself"],
        ),
    ] {
        let said = with(from, to);
        assert!(says.iter().all(|part| said.contains(part)), "{to}: {says:?} in\n{said}");
    }
    let alone = "[source]\nurl = \"sqlite:a.db\"\n[stores]\nnear = { url = \"memory:\" }\n[views.a]\nsource = \"shop\"\nfrom = \"a\"\n";
    let said = render(&load(alone).unwrap_err());
    assert!(said.contains("6:10: there is no source `shop`: the file's one source has no name"), "{said}");
    let said = render(&load("[sources]\n").unwrap_err());
    assert!(said.contains("[sources] names no source"), "{said}");
    assert!(!said.contains("has no [source]"), "{said}");
}
