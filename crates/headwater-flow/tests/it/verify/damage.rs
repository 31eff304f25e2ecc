//! Damage behind our back, with the stores' own commands.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headwater_flow::NamedStore;
use headwater_flow::verify::report::DriftKind;
use headwater_model::{IndexEntry, Key, Layout, Listed, Record, Value, View, ViewChange};
use headwater_testkit::Chance;

use crate::support::block_on;

/// Keys and what happened to them, as a report should name it.
pub type Found = BTreeMap<String, DriftKind>;

pub struct Damage<'a> {
    pub redis_url: &'a str,
    pub sqlite: &'a Path,
    pub store: &'a NamedStore,
    pub view: &'a Arc<View>,
}

impl Damage<'_> {
    /// Removes, alters or adds a document that is still as it should be, or an entry of an index.
    pub fn inflict(&self, chance: &mut Chance, found: &mut Found) {
        if !self.view.indexes.is_empty() && chance.one_in(2) {
            return self.misplace(chance, found);
        }
        let keys: Vec<String> =
            block_on(self.all_keys()).into_iter().filter(|key| !found.contains_key(key)).collect();
        let (kind, key) = match chance.below(3) {
            0 if !keys.is_empty() => (DriftKind::Missing, chance.pick(&keys).clone()),
            1 if !keys.is_empty() => (DriftKind::Different, chance.pick(&keys).clone()),
            _ => {
                let key = if chance.one_in(2) {
                    format!("{}", 900_000 + chance.below(1_000))
                } else {
                    "no:such:row%25".to_owned()
                };
                if found.contains_key(&key) {
                    return;
                }
                (DriftKind::Extra, key)
            }
        };
        match &*self.store.name {
            "near" => self.redis(kind, &key),
            "local" => self.sqlite(kind, &key),
            _ => block_on(self.step(kind, &key)),
        }
        found.insert(key, kind);
    }

    /// Takes an entry out of an index, or puts one where it should not be: of a document that is there or of nobody.
    fn misplace(&self, chance: &mut Chance, found: &mut Found) {
        let entries = block_on(self.all_entries());
        let whole: Vec<&IndexEntry> =
            entries.iter().filter(|entry| !found.contains_key(&*entry.key)).collect();
        let Some(entry) = (!whole.is_empty()).then(|| (*chance.pick(&whole)).clone()) else { return };
        let mut stray = entry.clone();
        match chance.below(4) {
            // Behind where it stands, and, most of the time, with its part's other documents before it.
            0 => stray.place.sort.push(1),
            1 => {
                let of_index: Vec<_> = whole.iter().filter(|other| other.index == entry.index).collect();
                stray.place = chance.pick(&of_index).place.clone();
            }
            2 => stray.key = "999999".into(),
            _ => stray.key = "nobody's:at all%25".into(),
        }
        let taken = chance.one_in(2) || entries.contains(&stray) || found.contains_key(&*stray.key);
        // In some stores two documents cannot stand at the same place.
        let is_free = !entries.iter().any(|other| (other.index, &other.place) == (stray.index, &stray.place));
        let key = match &*self.store.name {
            "near" if taken => self.redis_member("ZREM", &entry),
            "near" => self.redis_member("ZADD", &stray),
            "local" if taken || !is_free => self.sqlite_entry("DELETE", &entry),
            "local" => self.sqlite_entry("INSERT", &stray),
            _ => block_on(self.take_out(&entry)),
        };
        found.insert(key, DriftKind::Misplaced);
    }

    async fn all_entries(&self) -> Vec<IndexEntry> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let (entries, next) = self.store.store.entries(self.view, cursor, 500).await.unwrap();
            all.extend(entries.into_iter().filter_map(|listed| match listed {
                Listed::Entry(entry) => Some(entry),
                Listed::Foreign(_) => None,
            }));
            match next {
                None => return all,
                next => cursor = next,
            }
        }
    }

    fn redis_member(&self, command: &str, entry: &IndexEntry) -> String {
        let mut connection = redis::Client::open(self.redis_url).unwrap().get_connection().unwrap();
        let name = Key(vec![Value::text(&*self.view.name)]).to_text();
        let set = [format!("p:%index:{name}:{}:", entry.index).as_bytes(), &entry.place.part].concat();
        let key = entry.key.as_bytes();
        let member = [&entry.place.sort, key, &(key.len() as u32).to_be_bytes()].concat();
        let mut asked = redis::cmd(command);
        asked.arg(set);
        if command == "ZADD" {
            asked.arg(0);
        }
        let done: i64 = asked.arg(member).query(&mut connection).unwrap();
        assert_eq!(done, 1, "{entry:?}");
        entry.key.to_string()
    }

    fn sqlite_entry(&self, command: &str, entry: &IndexEntry) -> String {
        let db = rusqlite::Connection::open(self.sqlite).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
        let table = format!("\"headwater_index_{}\"", self.view.name.replace('"', "\"\""));
        let sql = match command {
            "DELETE" => format!("DELETE FROM {table} WHERE number = ?1 AND place = ?2 AND key = ?3"),
            _ => format!("INSERT INTO {table} VALUES (?1, ?2, ?3)"),
        };
        let place = [&entry.place.part[..], &entry.place.sort].concat();
        assert_eq!(db.execute(&sql, (entry.index, place, &*entry.key)).unwrap(), 1, "{sql} {entry:?}");
        entry.key.to_string()
    }

    async fn take_out(&self, entry: &IndexEntry) -> String {
        loop {
            let held = self.store.store.held().await.unwrap().unwrap();
            let Ok(mut step) = self.store.store.begin(held.epoch, held.offset).await else { continue };
            step.unplace(self.view, &[Listed::Entry(entry.clone())]).await.unwrap();
            if step.commit(&held).await.is_ok() {
                return entry.key.to_string();
            }
        }
    }

    async fn all_keys(&self) -> Vec<String> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let (keys, next) = self.store.store.keys(self.view, cursor, 500).await.unwrap();
            all.extend(keys);
            match next {
                None => return all,
                next => cursor = next,
            }
        }
    }

    fn redis(&self, kind: DriftKind, key: &str) {
        let mut connection = redis::Client::open(self.redis_url).unwrap().get_connection().unwrap();
        let name = Key(vec![Value::text(&*self.view.name)]).to_text();
        let key = format!("p:{name}:{key}");
        match (kind, self.view.layout()) {
            (DriftKind::Missing, _) => redis::cmd("DEL").arg(key).exec(&mut connection).unwrap(),
            (_, Layout::Hash) => {
                redis::cmd("HSET").arg(key).arg("id").arg("damaged").exec(&mut connection).unwrap();
            }
            (_, Layout::Json) => {
                redis::cmd("SET").arg(key).arg("{\"id\":\"damaged\"}").exec(&mut connection).unwrap();
            }
        }
    }

    fn sqlite(&self, kind: DriftKind, key: &str) {
        let db = rusqlite::Connection::open(self.sqlite).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
        let table = format!("\"{}\"", self.view.name.replace('"', "\"\""));
        let sql = match kind {
            DriftKind::Missing => format!("DELETE FROM {table} WHERE key = ?1"),
            _ => format!(
                "INSERT OR REPLACE INTO {table} (key, document) VALUES (?1, '{{\"id\":\"damaged\"}}')"
            ),
        };
        assert_eq!(db.execute(&sql, [key]).unwrap(), 1, "{sql}");
    }

    /// A store that lives in the process: by a step of its own, which leaves the position as it is.
    async fn step(&self, kind: DriftKind, key: &str) {
        let store = &self.store.store;
        let (view, key) = (Arc::clone(self.view), Key::of_texts(key).unwrap());
        let change = match kind {
            DriftKind::Missing => ViewChange::Delete { view, key },
            _ => {
                let document =
                    Record { names: vec!["id".into()].into(), values: vec![Value::text("damaged")] };
                ViewChange::Put { view, key, moved_from: None, document }
            }
        };
        loop {
            let held = store.held().await.unwrap().unwrap();
            let Ok(mut step) = store.begin(held.epoch, held.offset).await else { continue };
            assert!(step.write(vec![change.clone()]).await.unwrap().is_empty());
            if step.commit(&held).await.is_ok() {
                return;
            }
        }
    }
}

pub fn empty_redis(url: &str) {
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    redis::cmd("FLUSHDB").exec(&mut connection).unwrap();
}
