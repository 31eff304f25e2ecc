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
    site.run(&["plan", "--offline", "--html", "plan.html"]).expect(0);
    assert!(site.read("plan.html").contains("Decision map"));
    assert!(site.run(&["plan", "--offline", "--markdown"]).expect(0).stdout.starts_with("# Plan"));
}

#[test]
fn what_stands_in_the_way_is_shown_at_its_place() {
    let text = include_str!("../../../../examples/bookshop/headwater.toml");
    let site = Site::with_file("plan", &text.replace("\"4000 USD\"", "\"100 USD\"")).env("PGPASSWORD", "x");
    site.run(&["plan", "--offline"]).expect(1).says(&["at most 100 USD per month", "headwater.toml:"]);
    let site = bookshop();
    let over = site.run(&["plan", "--offline", "--what-if", "access.book_page.rate=10x"]).expect(0);
    assert!(
        over.stderr.contains("and the budget is 4000 USD") && over.stdout.contains("becomes"),
        "{}",
        over.stderr
    );
    site.run(&["plan", "--offline", "--what-if", "access.bok_page.rate=2x"])
        .expect(2)
        .says(&["did you mean `book_page`?"]);
    site.write("old.json", "{}");
    site.run(&["plan", "--offline", "--diff", "old.json"])
        .expect(1)
        .says(&["is no plan", "headwater plan --json"]);
}

/// What it wrote it replaces and removes; what somebody else wrote or changed it leaves, and then writes nothing.
#[test]
fn infrastructure_is_written_and_nobody_elses_file_is_touched() {
    let site = bookshop();
    let emit = ["plan", "--offline", "--emit", "terraform", "infra"];
    let ran = site.run(&emit).expect(0);
    for part in
        ["wrote", "infra/main.tf", "infra/decisions/0001-", "infra/headwater.stores.toml", "README.md first"]
    {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let first = site.read("infra/stores.tf");
    assert!(first.contains("aws_elasticache_replication_group"), "{first}");
    site.run(&emit).expect(0);

    // Another plan: what it has no use for goes.
    site.write("blog.toml", include_str!("../../../../examples/plan/blog.toml"));
    let ran = site.run(&["-f", "blog.toml", "plan", "--offline", "--emit", "terraform", "infra"]).expect(0);
    assert!(ran.stdout.contains("removed") && !site.path("infra/headwater.tf").exists(), "{}", ran.stdout);
    site.run(&emit).expect(0);
    assert_eq!(site.read("infra/stores.tf"), first);

    site.write("infra/network.tf", "# mine now\n");
    site.write("infra/stores.tf", "# gone\n");
    site.run(&emit).expect(1).says(&["changed since", "network.tf, stores.tf", "nothing was written"]);
    assert_eq!(site.read("infra/network.tf"), "# mine now\n");
    assert_eq!(site.read("infra/stores.tf"), "# gone\n");

    // A folder with somebody's own file of that name.
    std::fs::create_dir(site.path("theirs")).unwrap();
    site.write("theirs/main.tf", "# theirs\n");
    site.run(&["plan", "--offline", "--emit", "terraform", "theirs"])
        .expect(1)
        .says(&["not written by --emit", "main.tf"]);
    assert!(!site.path("theirs/network.tf").exists());
    site.run(&["plan", "--offline", "--emit", "ansible", "x"])
        .expect(1)
        .says(&["no format `ansible`", "cloudformation"]);
    site.run(&["plan", "--offline", "--emit", "cloudformation", "stack"]).expect(0);
    assert!(site.read("stack/template.yaml").contains("AWS::ElastiCache::ReplicationGroup"));
}
