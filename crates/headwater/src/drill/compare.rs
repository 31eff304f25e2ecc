//! Does every store hold what the source's rows make? Rows by the source's own client on one side, documents by the store's
//! on the other; nothing of what derives or applies is used.

use std::collections::{BTreeMap, BTreeSet};

use headwater_engines::sandbox::{SandboxSource, SandboxStore};
use serde_json::{Value, json};

/// Rows of an account that its document embeds.
pub const ENTRIES_EMBEDDED: usize = 3;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    pub keys: u64,
    pub different: u64,
    /// Entries that the source has and some store lacks.
    pub lost: BTreeSet<u64>,
    /// Entries that the source has.
    pub entries: BTreeSet<u64>,
    /// The first few differences, in words.
    pub samples: Vec<String>,
}

type Documents = BTreeMap<String, Value>;

fn number(text: &str) -> anyhow::Result<u64> {
    text.parse().map_err(|_| anyhow::anyhow!("`{text}` is no number"))
}

/// What the views have to be, made from the rows by hand.
fn expected(source: &dyn SandboxSource) -> anyhow::Result<BTreeMap<&'static str, Documents>> {
    let mut entries: BTreeMap<u64, (u64, u64, String)> = BTreeMap::new();
    for row in source.rows("SELECT id, account_id, amount, note FROM entry")? {
        let [id, account, amount, note] = &row[..] else { anyhow::bail!("a row of {} columns", row.len()) };
        entries.insert(number(id)?, (number(account)?, number(amount)?, note.clone()));
    }
    let mut accounts = Documents::new();
    for row in source.rows("SELECT id, balance, version FROM account")? {
        let [id, balance, version] = &row[..] else { anyhow::bail!("a row of {} columns", row.len()) };
        let id = number(id)?;
        let newest = entries.iter().rev().filter(|(_, (account, _, _))| *account == id);
        let newest =
            newest.take(ENTRIES_EMBEDDED).map(|(id, (_, amount, _))| json!({ "id": id, "amount": amount }));
        let document = json!({
            "id": id, "balance": number(balance)?, "version": number(version)?, "entries": newest.collect::<Vec<_>>(),
        });
        accounts.insert(id.to_string(), document);
    }
    let entries = entries.into_iter().map(|(id, (account, amount, note))| {
        (id.to_string(), json!({ "id": id, "account_id": account, "amount": amount, "note": note }))
    });
    Ok(BTreeMap::from([("account", accounts), ("entry", entries.collect())]))
}

/// Nothing may be written meanwhile.
pub fn compare(source: &dyn SandboxSource, stores: &[(&str, &dyn SandboxStore)]) -> anyhow::Result<Compared> {
    let mut compared = Compared::default();
    for (view, expected) in expected(source)? {
        if view == "entry" {
            compared.entries = expected.keys().map(|key| number(key)).collect::<anyhow::Result<_>>()?;
        }
        for (name, store) in stores {
            let mut found = store.documents(view)?;
            for (key, expected) in &expected {
                compared.keys += 1;
                let document = found.remove(key);
                if document.is_none() && view == "entry" {
                    compared.lost.insert(number(key)?);
                }
                let same = document.as_deref().is_some_and(|text| {
                    serde_json::from_str::<Value>(text).is_ok_and(|document| document == *expected)
                });
                if !same {
                    let found = document.as_deref().unwrap_or("missing");
                    compared.differs(format!("{name}: {view} {key} is {found} and should be {expected}"));
                }
            }
            for key in found.keys() {
                compared.keys += 1;
                compared.differs(format!("{name}: {view} {key} is not in the source"));
            }
        }
    }
    Ok(compared)
}

impl Compared {
    fn differs(&mut self, how: String) {
        self.different += 1;
        if self.samples.len() < 3 {
            self.samples.push(how.chars().take(300).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_engines::registry;
    use headwater_engines::sandbox::Folder;

    use super::*;

    /// Files written by hand: what equals passes, and each way to differ is found.
    #[test]
    fn a_missing_an_extra_and_an_altered_document_are_found() {
        let folder = Folder::new().unwrap();
        let source = registry::sandbox_source(false, &folder).unwrap();
        source
            .execute(
                "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, version INTEGER);
                 CREATE TABLE entry (id INTEGER PRIMARY KEY, account_id INTEGER, amount INTEGER, note TEXT);
                 INSERT INTO account VALUES (1, 10, 4), (2, 0, 0);
                 INSERT INTO entry VALUES (1, 1, 1, 'a'), (2, 1, 2, 'b'), (3, 1, 3, 'c'), (4, 1, 4, 'd')",
            )
            .unwrap();
        let path = folder.join("store.db");
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch(
            r#"CREATE TABLE account (key TEXT PRIMARY KEY, document TEXT);
               CREATE TABLE entry (key TEXT PRIMARY KEY, document TEXT);
               INSERT INTO account VALUES
                 ('1', '{"version":4,"id":1,"balance":10,"entries":[{"id":4,"amount":4},{"id":3,"amount":3},{"id":2,"amount":2}]}'),
                 ('2', '{"id":2,"balance":0,"version":0,"entries":[]}');
               INSERT INTO entry VALUES
                 ('1', '{"id":1,"account_id":1,"amount":1,"note":"a"}'), ('2', '{"id":2,"account_id":1,"amount":2,"note":"b"}'),
                 ('3', '{"id":3,"account_id":1,"amount":3,"note":"c"}'), ('4', '{"id":4,"account_id":1,"amount":4,"note":"d"}')"#,
        )
        .unwrap();
        let store = registry::sandbox_store(false, &folder, "store").unwrap();
        let compared = compare(&*source, &[("near", &*store)]).unwrap();
        assert_eq!((compared.keys, compared.different), (6, 0), "{:?}", compared.samples);
        assert_eq!(compared.entries, BTreeSet::from([1, 2, 3, 4]));

        db.execute_batch(
            "DELETE FROM entry WHERE key = '3'; INSERT INTO entry VALUES ('9', '{}');
             UPDATE account SET document = replace(document, '\"balance\":0', '\"balance\":7') WHERE key = '2'",
        )
        .unwrap();
        let compared = compare(&*source, &[("near", &*store)]).unwrap();
        assert_eq!((compared.different, &compared.lost), (3, &BTreeSet::from([3])));
        assert_eq!(compared.samples.len(), 3);
    }
}
