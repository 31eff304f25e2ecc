//! `headwater engines`: reads no file, and says of every engine what it is good for.

use serde_json::Value as Json;

use crate::support::Site;

#[test]
fn every_engine_is_listed_with_what_it_promises() {
    let site = Site::new("engines");
    let ran = site.run(&["engines"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let line = |name: &str| {
        let found = ran.stdout.lines().find(|line| line.starts_with(name));
        found.unwrap_or_else(|| panic!("no {name}:\n{}", ran.stdout)).to_owned()
    };
    assert!(line("PostgreSQL").contains("logical replication"), "{}", ran.stdout);
    assert!(line("Redis, Valkey").contains("transaction*"), "{}", ran.stdout);
    assert!(ran.stdout.contains("* Redis, Valkey: key in a cluster"), "{}", ran.stdout);
    let list: Json = serde_json::from_str(&site.run(&["engines", "--json"]).stdout).unwrap();
    let list = list.as_array().unwrap();
    let sqlite = list.iter().find(|engine| engine["name"] == "SQLite").unwrap();
    assert_eq!(sqlite["store"]["promise"], "transaction");
    assert_eq!(sqlite["built_in"], true);
    assert_eq!(sqlite["source"]["follows"], "triggers");
    let dynamodb = list.iter().find(|engine| engine["name"] == "Amazon DynamoDB").unwrap();
    // Other packages of a workspace that is built as a whole may have asked for it.
    let offered = line("Amazon DynamoDB").contains("--features dynamodb");
    assert_eq!(dynamodb["built_in"], !offered);
    assert_eq!(dynamodb["store"]["promise"], "key");
}
