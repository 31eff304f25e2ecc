//! `headwater config`, and files that cannot be read.

use crate::support::Site;

const FILE: &str = "[source]\nurl = \"postgres://me:${SHOP_PW}@nowhere.invalid/shop\"\n[stores]\nlocal = { url = \"sqlite:derived.db\" }\n[views.book]\nfrom = \"books\"\n";

#[test]
fn the_effective_file_is_printed_without_its_secret() {
    let site = Site::with_file("config", FILE).env("SHOP_PW", "hunter2");
    let ran = site.run(&["config"]).expect(0);
    assert!(ran.stdout.contains("url = \"postgres://me:***@nowhere.invalid/shop\""), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("shutdown_within = \"10s\"") && !ran.stdout.contains("hunter2"),
        "{}",
        ran.stdout
    );
}

#[test]
fn mistakes_are_shown_at_their_place_all_in_one_run() {
    let site = Site::with_file("config", &FILE.replace("from", "form").replace("[stores]", "[store]"));
    let ran = site.run(&["config"]).expect(1);
    ran.says(&["`SHOP_PW` is not set", "headwater.toml:2:22", "export SHOP_PW"]);
    ran.says(&["unknown key `store`", "headwater.toml:3:2", "did you mean `stores`?"]);
    ran.says(&["unknown key `form` in [views.book]", "headwater.toml:6:1", "did you mean `from`?"]);
    assert_eq!(ran.stdout, "");
}

#[test]
fn the_file_may_lie_elsewhere() {
    let site = Site::new("config").env("SHOP_PW", "x");
    std::fs::create_dir(site.path("etc")).unwrap();
    site.write("etc/shop.toml", FILE);
    site.run(&["-f", "etc/shop.toml", "config"]).expect(0);
    site.run(&["config", "--file", "etc/shop.toml"]).expect(0);
    let ran = site.run(&["config"]).expect(2);
    assert!(ran.stderr.contains("there is no headwater.toml here") && ran.stderr.contains("headwater init"));
}

#[test]
fn a_file_that_is_not_text_is_located_too() {
    let site = Site::new("config");
    std::fs::write(site.path("headwater.toml"), b"[source]\nurl = \"\xff\"\n").unwrap();
    site.run(&["config"]).expect(1).says(&["not UTF-8", "headwater.toml:2:8", "help: "]);
}

#[test]
fn wrong_usage_exits_with_2() {
    let site = Site::new("config");
    site.run(&["confg"]).expect(2);
    site.run(&["check", "--jsn"]).expect(2);
}
