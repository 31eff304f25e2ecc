//! Indexes that lack, that nobody reads, that another one begins with; queries that read all.

use std::collections::{BTreeMap, BTreeSet};

use headwater_model::exam::Urgency;
use headwater_model::{Error, Result};
use mongodb::bson::{Bson, DateTime, Document, doc};

use super::super::item::{GONE, OURS};
use super::super::server::{at_least, batch};
use super::super::{collections, item};
use super::{Asks, first, number, shown};
use crate::checks::{Found, Limits, Symptom, evidence};

/// Collections that are looked at, at most.
const COLLECTIONS_MAX: i64 = 1_000;

/// Documents of a collection that are asked where they stand in indexes.
const SAMPLE: i64 = 20;

/// Entries of the profile that are read.
const PROFILED: i64 = 1_000;

const DAY_MS: f64 = 86_400_000.0;

impl Asks<'_> {
    async fn collections(&self) -> Result<Vec<String>> {
        let asked = doc! {
            "listCollections": 1,
            "filter": { "type": "collection" },
            "nameOnly": true,
            "cursor": { "batchSize": COLLECTIONS_MAX },
        };
        let found = batch(self.ask(asked).await?);
        let mut names: Vec<String> =
            found.iter().filter_map(|found| found.get_str("name").ok().map(str::to_owned)).collect();
        names.retain(|name| !name.starts_with("system."));
        names.sort();
        Ok(names)
    }

    async fn indexes(&self, collection: &str) -> Result<Vec<Index>> {
        let asked = doc! { "listIndexes": collection, "cursor": { "batchSize": 1_000 } };
        Ok(batch(self.ask(asked).await?).into_iter().filter_map(Index::read).collect())
    }

    pub(super) async fn lacking(&self) -> Result<Found> {
        let mut found = Found::new();
        for name in self.collections().await?.into_iter().filter(|name| name.starts_with(self.prefix)) {
            let sample = batch(self.ask(first(&name, doc! { OURS: 1 }, SAMPLE)).await?);
            let ours = || sample.iter().filter_map(|document| document.get_document(OURS).ok());
            let wanted: BTreeSet<usize> =
                ours().flat_map(Document::keys).filter_map(|field| item::index_of(field)).collect();
            let has: Vec<Index> = self.indexes(&name).await?;
            let lacks = |field: &str| {
                !has.iter().any(|index| index.key.keys().next().is_some_and(|first| first == field))
            };
            let names: Vec<&str> = has.iter().map(|index| &*index.name).collect();
            let answered = evidence(&[("indexes", names.join(", "))]);
            let collection = self.collection(&name);
            for number in wanted {
                let field = item::place_field(number);
                if !lacks(&field) {
                    continue;
                }
                let symptom = Symptom::new(
                    format!("{name} ({field})"),
                    Urgency::High,
                    format!(
                        "documents are read in the order of {field}, which no index has: each such read sorts all of them"
                    ),
                    &[&Index::of(collections::place(number)).make(&collection)],
                );
                found.push((symptom, answered.clone()));
            }
            if ours().next().is_some() && lacks(GONE) {
                let symptom = Symptom::new(
                    format!("{name} ({GONE})"),
                    Urgency::Medium,
                    "no index has the server remove what deleted documents leave: the collection only grows",
                    &[&Index::of(collections::gone()).make(&collection)],
                );
                found.push((symptom, answered.clone()));
            }
        }
        Ok(found)
    }

    pub(super) async fn unread(&self, limits: &Limits<'_>) -> Result<Found> {
        let mut found = Found::new();
        for name in self.collections().await? {
            let asked = doc! {
                "aggregate": &*name,
                "pipeline": [{ "$indexStats": {} }],
                "cursor": { "batchSize": 1_000 },
            };
            // A sharded collection says it once for each shard.
            let mut uses: BTreeMap<String, (f64, f64)> = BTreeMap::new();
            for stats in batch(self.ask(asked).await?) {
                let (Ok(index), Ok(accesses)) = (stats.get_str("name"), stats.get_document("accesses"))
                else {
                    continue;
                };
                let since = accesses.get_datetime("since").copied().unwrap_or_else(|_| DateTime::now());
                let days = (DateTime::now().timestamp_millis() - since.timestamp_millis()) as f64 / DAY_MS;
                let (reads, known) = uses.entry(index.to_owned()).or_insert((0.0, f64::MAX));
                *reads += number(accesses.get("ops")).unwrap_or_default();
                *known = known.min(days);
            }
            let collection = self.collection(&name);
            for index in self.indexes(&name).await?.into_iter().filter(|index| !index.has_another_use()) {
                let Some((reads, days)) = uses.get(&index.name) else { continue };
                if *reads > 0.0 || *days < limits.of("days") {
                    continue;
                }
                let remedy = match index.name.strip_prefix("hw_p") {
                    Some(_) => vec![format!(
                        "// take the access pattern that reads {name} in this order out of the file: the index goes at the next start"
                    )],
                    None => self.drop(&collection, &index),
                };
                let mut symptom = Symptom::new(
                    format!("{name} ({})", index.name),
                    Urgency::Medium,
                    format!(
                        "nobody has read it on this member in the {days:.0} days that it has counted, and every write keeps it up"
                    ),
                    &remedy.iter().map(String::as_str).collect::<Vec<_>>(),
                );
                if !index.name.starts_with("hw_p") {
                    symptom = symptom.undo(index.make(&collection));
                }
                let answered =
                    [("ops".to_owned(), "0".to_owned()), ("days".to_owned(), format!("{days:.1}"))];
                found.push((symptom, BTreeMap::from(answered)));
            }
        }
        Ok(found)
    }

    /// Hidden first, where the server can: what it was good for shows while it can be had back at once.
    fn drop(&self, collection: &str, index: &Index) -> Vec<String> {
        let name = super::quoted(&index.name);
        let version = self.server.name.strip_prefix("MongoDB ").unwrap_or_default();
        let mut lines = vec![format!("{collection}.dropIndex({name})")];
        if at_least(version, (4, 4)) {
            lines.insert(0, format!("{collection}.hideIndex({name})  // and drop it when a week has passed"));
        }
        lines
    }

    pub(super) async fn covered(&self) -> Result<Found> {
        let mut found = Found::new();
        for name in self.collections().await? {
            let (indexes, collection) = (self.indexes(&name).await?, self.collection(&name));
            for index in indexes.iter().filter(|index| !index.has_another_use()) {
                let Some(longer) = indexes.iter().find(|longer| index.begins(longer)) else { continue };
                let symptom = Symptom::new(
                    format!("{name} ({})", index.name),
                    Urgency::Medium,
                    format!(
                        "the index {} begins with the same fields and answers what this one does; every write keeps both up",
                        longer.name
                    ),
                    &[&format!("{collection}.dropIndex({})", super::quoted(&index.name))],
                )
                .undo(index.make(&collection));
                let answered = [("key".to_owned(), shown(&index.key)), ("of".to_owned(), shown(&longer.key))];
                found.push((symptom, BTreeMap::from(answered)));
            }
        }
        Ok(found)
    }

    pub(super) async fn reading_all(&self, limits: &Limits<'_>) -> Result<Found> {
        let level = self.ask(doc! { "profile": -1 }).await?;
        let asked = doc! {
            "find": "system.profile",
            "filter": { "op": { "$in": ["query", "update", "remove"] } },
            "sort": { "$natural": -1 },
            "limit": PROFILED,
            "batchSize": PROFILED,
            "singleBatch": true,
        };
        let entries = batch(self.ask(asked).await?);
        if entries.is_empty() && number(level.get("was")) == Some(0.0) {
            return Err(Error::unsupported("the profiler is off, so that nobody knows what queries read"));
        }
        let mut shapes: BTreeMap<(String, String), Sum> = BTreeMap::new();
        for entry in &entries {
            let Some((name, question)) = question(entry, self.server.database()) else { continue };
            let sum = shapes
                .entry((name, question.to_string()))
                .or_insert_with(|| Sum { question, ..Sum::default() });
            let of = |field: &str| number(entry.get(field)).unwrap_or_default();
            sum.times += 1.0;
            sum.examined += of("docsExamined");
            sum.returned += of("nreturned") + of("nModified") + of("ndeleted");
            sum.milliseconds += of("millis");
        }
        let mut found: Vec<((String, String), Sum)> = shapes.into_iter().collect();
        found.retain(|(_, sum)| {
            sum.examined >= limits.of("examined_per_returned") * sum.returned.max(1.0)
                && sum.milliseconds >= limits.of("milliseconds")
        });
        found.sort_by(|(_, a), (_, b)| b.milliseconds.total_cmp(&a.milliseconds));
        Ok(found
            .into_iter()
            .map(|((name, shape), sum)| {
                let Sum { question, times, examined, returned, milliseconds } = sum;
                let symptom = Symptom::new(
                    format!("{name} by {shape}"),
                    if milliseconds >= 10_000.0 { Urgency::High } else { Urgency::Medium },
                    format!("asked {times} times lately, read {examined} documents for {returned} that were wanted, in {milliseconds} ms"),
                    &[&Index::of(doc! { "key": question.index() }).make(&self.collection(&name))],
                );
                let answered =
                    [("docsExamined", examined), ("nreturned", returned), ("millis", milliseconds), ("entries", times)];
                (symptom, answered.map(|(name, value)| (name.to_owned(), value.to_string())).into())
            })
            .collect())
    }
}

/// As `listIndexes` describes it.
struct Index {
    name: String,
    key: Document,
    options: Document,
}

impl Index {
    fn read(mut described: Document) -> Option<Index> {
        let key = described.get_document("key").ok()?;
        // MongoDB's shell makes them of floats.
        let whole = |value: &Bson| match value {
            Bson::Double(f) if f.fract() == 0.0 => Bson::Int64(*f as i64),
            other => other.clone(),
        };
        let key = key.iter().map(|(field, value)| (field.clone(), whole(value))).collect();
        let name = described.get_str("name").ok()?.to_owned();
        for field in ["key", "v", "ns", "hidden", "background"] {
            described.remove(field);
        }
        Some(Index { name, key, options: described })
    }

    /// One that is to be made.
    fn of(described: Document) -> Index {
        let name = described.get_str("name").unwrap_or_default().to_owned();
        let key = described.get_document("key").cloned().unwrap_or_default();
        let mut options = described;
        options.remove("key");
        Index { name, key, options }
    }

    /// That keeps keys unique, removes documents, or is every collection's own.
    fn has_another_use(&self) -> bool {
        self.name == "_id_"
            || self.options.contains_key("expireAfterSeconds")
            || self.options.get_bool("unique").unwrap_or(false)
    }

    /// Whether `longer` has these fields first, over the same documents in the same order.
    fn begins(&self, longer: &Index) -> bool {
        let plain = |value: &Bson| number(Some(value)).is_some();
        let alike = |option: &str| self.options.get(option) == longer.options.get(option);
        self.name != longer.name
            && self.key.len() < longer.key.len()
            && self
                .key
                .iter()
                .zip(&longer.key)
                .all(|(a, b)| a.0 == b.0 && plain(a.1) && number(Some(a.1)) == number(Some(b.1)))
            && ["sparse", "partialFilterExpression", "collation"].into_iter().all(alike)
    }

    fn make(&self, collection: &str) -> String {
        match self.options.is_empty() {
            true => format!("{collection}.createIndex({})", shown(&self.key)),
            false => format!("{collection}.createIndex({}, {})", shown(&self.key), shown(&self.options)),
        }
    }
}

/// What a query asks, without the values in it: those are somebody's data.
#[derive(Default)]
struct Question {
    equal: Vec<String>,
    sort: Vec<(String, i32)>,
    between: Vec<String>,
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields: Vec<&str> = self.equal.iter().chain(&self.between).map(String::as_str).collect();
        f.write_str(&fields.join(", "))?;
        let sort: Vec<&str> = self.sort.iter().map(|(field, _)| field.as_str()).collect();
        if sort.is_empty() { Ok(()) } else { write!(f, " in the order of {}", sort.join(", ")) }
    }
}

impl Question {
    /// What is equal first, then the order, then ranges:
    /// <https://www.mongodb.com/docs/manual/tutorial/equality-sort-range-guideline/>.
    fn index(&self) -> Document {
        let mut key = Document::new();
        let fields = self.equal.iter().map(|field| (field, 1));
        let sort = self.sort.iter().map(|(field, direction)| (field, *direction));
        for (field, direction) in fields.chain(sort).chain(self.between.iter().map(|field| (field, 1))) {
            key.entry(field.clone()).or_insert(Bson::Int32(direction));
        }
        key
    }
}

#[derive(Default)]
struct Sum {
    question: Question,
    times: f64,
    examined: f64,
    returned: f64,
    milliseconds: f64,
}

/// The collection and the question of an entry of the profile; `None` if it asks for everything, or in no way that an index of plain
/// fields would serve.
fn question(entry: &Document, database: &str) -> Option<(String, Question)> {
    let collection = entry.get_str("ns").ok()?.strip_prefix(database)?.strip_prefix('.')?;
    let command = entry.get_document("command").ok()?;
    let filter = command.get_document("filter").or_else(|_| command.get_document("q")).ok()?;
    let mut question = Question::default();
    for (field, value) in filter {
        if field.starts_with('$') {
            return None;
        }
        let operator = value.as_document().and_then(|value| value.keys().next());
        match operator.is_some_and(|operator| operator.starts_with('$')) {
            true => question.between.push(field.clone()),
            false => question.equal.push(field.clone()),
        }
    }
    question.equal.sort();
    question.between.sort();
    if let Ok(sort) = command.get_document("sort") {
        // Not `$natural`, nor by how well a text was found.
        let plain = |(field, value): (&String, &Bson)| {
            let direction = number(Some(value)).filter(|_| !field.starts_with('$'))?;
            Some((field.clone(), if direction < 0.0 { -1 } else { 1 }))
        };
        question.sort = sort.iter().filter_map(plain).collect();
    }
    let asks_something = !filter.is_empty() && !collection.starts_with("system.");
    asks_something.then(|| (collection.to_owned(), question))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn index(name: &str, key: Document, options: Document) -> Index {
        Index { name: name.to_owned(), key, options }
    }

    #[test]
    fn an_index_begins_another_over_the_same_documents_only() {
        let short = index("a", doc! { "a": 1 }, doc! {});
        assert!(short.begins(&index("ab", doc! { "a": 1.0, "b": -1 }, doc! {})));
        for other in [
            index("ba", doc! { "b": 1, "a": 1 }, doc! {}),
            index("ab", doc! { "a": -1, "b": 1 }, doc! {}),
            index("a2", doc! { "a": 1 }, doc! {}),
            index("ab", doc! { "a": 1, "b": 1 }, doc! { "sparse": true }),
            index("ab", doc! { "a": 1, "b": 1 }, doc! { "partialFilterExpression": { "b": 1 } }),
        ] {
            assert!(!short.begins(&other), "{}", shown(&other.key));
        }
        assert!(!index("t", doc! { "a": "hashed" }, doc! {}).begins(&index(
            "tb",
            doc! { "a": "hashed", "b": 1 },
            doc! {}
        )));
    }

    #[test]
    fn a_question_is_told_without_its_values_and_its_index_has_the_order_of_use() {
        let entry = doc! {
            "ns": "shop.book",
            "command": { "find": "book", "filter": { "price": { "$gt": 7 }, "shelf": "secret" }, "sort": { "title": -1, "shelf": 1 } },
        };
        let (collection, asked) = question(&entry, "shop").unwrap();
        assert_eq!(
            (&*collection, &*asked.to_string()),
            ("book", "shelf, price in the order of title, shelf")
        );
        assert_eq!(asked.index(), doc! { "shelf": 1, "title": -1, "price": 1 });
        for none in [
            doc! { "ns": "shop.book", "command": { "filter": {} } },
            doc! { "ns": "other.book", "command": { "filter": { "a": 1 } } },
            doc! { "ns": "shop.book", "command": { "filter": { "$or": [] } } },
            doc! { "ns": "shop.system.views", "command": { "filter": { "a": 1 } } },
            doc! {},
        ] {
            assert!(question(&none, "shop").is_none(), "{none}");
        }
        let unsorted = doc! {
            "ns": "shop.book",
            "command": { "filter": { "a": 1 }, "sort": { "$natural": -1, "score": { "$meta": "textScore" } } },
        };
        assert_eq!(question(&unsorted, "shop").unwrap().1.index(), doc! { "a": 1 });
        let update = doc! { "ns": "shop.book", "command": { "q": { "a": 1 }, "u": { "b": 1 } } };
        assert_eq!(question(&update, "shop").unwrap().1.to_string(), "a");
    }
}
