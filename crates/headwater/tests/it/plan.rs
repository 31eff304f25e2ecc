//! `headwater plan`: the program on the bookshop's file, without its database.

use crate::support::Site;

fn bookshop() -> Site {
    let text = include_str!("../../../../examples/bookshop/headwater.toml");
    Site::with_file("plan", text).env("PGPASSWORD", "x")
}

#[test]
fn a_plan_is_printed_kept_and_compared() {
    let site = bookshop();
    let ran = site.run(&["plan", "--offline"]).expect(0);
    for part in
        ["per month in us-east-1", "ENGINES", "ACCESS PATTERNS", "book_page", "WHERE PRICES COME FROM"]
    {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let kept = site.run(&["plan", "--offline", "--json"]).expect(0).stdout;
    let plan: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert!(plan["monthly"].as_f64().unwrap() > 0.0 && plan["engines"].as_array().unwrap().len() > 1);
    site.write("old.json", &kept);
    let same = site.run(&["plan", "--offline", "--diff", "old.json"]).expect(0).stdout;
    assert!(same.contains("nothing else is different"), "{same}");
    let other = site.run(&["plan", "--offline", "--what-if", "access.book_page.rate=0.1x"]).expect(0).stdout;
    assert!(other.contains("book_page") && other.contains("becomes"), "{other}");
    assert!(site.run(&["plan", "--offline", "--markdown"]).expect(0).stdout.starts_with("# Plan"));
}

#[test]
fn what_stands_in_the_way_is_shown_at_its_place() {
    let text = include_str!("../../../../examples/bookshop/headwater.toml");
    let site = Site::with_file("plan", &text.replace("\"4000 USD\"", "\"100 USD\"")).env("PGPASSWORD", "x");
    site.run(&["plan", "--offline"]).expect(1).says(&["at most 100 USD per month", "headwater.toml:"]);
    let site = bookshop();
    site.run(&["plan", "--offline", "--what-if", "access.bok_page.rate=2x"])
        .expect(2)
        .says(&["did you mean `book_page`?"]);
    site.write("old.json", "{}");
    site.run(&["plan", "--offline", "--diff", "old.json"])
        .expect(1)
        .says(&["is no plan", "headwater plan --json"]);
}
