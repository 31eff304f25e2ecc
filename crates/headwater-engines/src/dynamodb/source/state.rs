//! What a source keeps in the user's account: who follows, since when each table is followed, and how far its streams have
//! been read at each position. One table, `PREFIX.headwater-source`; a partition per follower.
//!
//! | item | what |
//! |---|---|
//! | `course` | the name of this history of positions; another one begins after a gap |
//! | `lease` | who follows, and a number that moves while it does |
//! | `join TABLE` | the stream that is followed of the table, and where that began: an iterator of each shard that was open |
//! | `at NUMBER` | how far every shard was read at the position of this number |
//!
//! DynamoDB has no position of its own over several shards, so positions are numbers given here. Invariant: the item of a number
//! is written before anybody is told the number, by the one who holds the lease, and stays until that position is released. No
//! number is given twice, also where what it stood for was never told: a chunk that was read at it would be taken for newer than
//! changes that came by later.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem, Update};
use headwater_model::{Error, Result};
use serde_json::{Map, Value as Json};

use super::shards::{Place, Shards};
use crate::dynamodb::failure::{failure, is_condition, is_missing};
use crate::dynamodb::item::{STATE_KEY, number};
use crate::dynamodb::tables::{FOLLOWER, Table};

type Item = HashMap<String, AttributeValue>;

const COURSE: &str = "course";
const LEASE: &str = "lease";
const JOIN: &str = "join ";
const AT: &str = "at ";

/// Owns the lease while nobody follows.
pub(super) const NOBODY: &str = "-";

/// Deleted at once, at most.
const DELETES_MAX: usize = 10;

pub(super) struct State {
    client: Client,
    table: String,
    follower: String,
}

/// Since when a table is followed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Join {
    /// No two joins have the same.
    pub(super) id: String,
    pub(super) stream: String,
    pub(super) shards: Shards,
    /// By shard, behind what lay in it. The service takes them for 15 minutes.
    pub(super) iterators: BTreeMap<String, String>,
}

/// How far a table was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Read {
    /// The join that it goes back to.
    pub(super) join: String,
    pub(super) shards: Shards,
}

/// How far all tables were read.
pub(super) type Checkpoint = BTreeMap<String, Read>;

/// Who follows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lease {
    pub(super) owner: String,
    pub(super) beat: u64,
    /// When streams were read last, by the owner's clock: milliseconds since 1970.
    pub(super) at_ms: i64,
}

/// What came of a write that only the owner may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owned {
    Yes,
    /// Another one follows by now.
    No,
}

impl State {
    pub(super) fn new(client: Client, prefix: &str, follower: &str) -> State {
        State { client, table: Table::of_source(prefix).name, follower: follower.to_owned() }
    }

    fn key(&self, item: &str) -> Item {
        Item::from([
            (FOLLOWER.to_owned(), AttributeValue::S(self.follower.clone())),
            (STATE_KEY.to_owned(), AttributeValue::S(item.to_owned())),
        ])
    }

    async fn get(&self, item: &str) -> Result<Option<Item>> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(self.key(item)));
        match request.consistent_read(true).send().await {
            Ok(found) => Ok(found.item),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failure(format_args!("read {item:?} of {:?}", self.table), error)),
        }
    }

    /// Items between two names, in order, at most `limit`.
    async fn between(&self, from: &str, upto: &str, forward: bool, limit: Option<i32>) -> Result<Vec<Item>> {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let (mut found, mut start) = (Vec::new(), None);
        loop {
            let request = (self.client.query())
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("#f = :f AND #i BETWEEN :a AND :b")
                .expression_attribute_names("#f", FOLLOWER)
                .expression_attribute_names("#i", STATE_KEY)
                .expression_attribute_values(":f", text(&self.follower))
                .expression_attribute_values(":a", text(from))
                .expression_attribute_values(":b", text(upto))
                .scan_index_forward(forward)
                .set_limit(limit)
                .set_exclusive_start_key(start);
            let page = match request.send().await {
                Ok(page) => page,
                Err(error) if is_missing(&error) => return Ok(Vec::new()),
                Err(error) => return Err(failure(format_args!("read {:?}", self.table), error)),
            };
            found.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() || limit.is_some() {
                return Ok(found);
            }
        }
    }

    /// The name of the history of positions; `None` before it began.
    pub(super) async fn course(&self) -> Result<Option<String>> {
        match self.get(COURSE).await? {
            Some(item) => text(&item, "course").map(Some),
            None => Ok(None),
        }
    }

    /// Begins a history of positions, unless there is one.
    pub(super) async fn begin(&self, course: &str) -> Result<()> {
        let mut item = self.key(COURSE);
        item.insert("course".to_owned(), AttributeValue::S(course.to_owned()));
        let request = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let request = request
            .condition_expression("attribute_not_exists(#i)")
            .expression_attribute_names("#i", STATE_KEY);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if is_condition(&error) => Ok(()),
            Err(error) => Err(failure(format_args!("begin in {:?}", self.table), error)),
        }
    }

    pub(super) async fn joins(&self) -> Result<BTreeMap<String, Join>> {
        let mut joins = BTreeMap::new();
        for item in self.between(JOIN, &format!("{JOIN}\u{10ffff}"), true, None).await? {
            let name = text(&item, STATE_KEY)?;
            let table = name.strip_prefix(JOIN).unwrap_or_default().to_owned();
            let shards = json(&text(&item, "shards")?).as_ref().and_then(shards_of);
            let shards = shards.ok_or_else(|| broken("shards"))?;
            let iterators = serde_json::from_str(&text(&item, "iterators")?).ok();
            let iterators = iterators.ok_or_else(|| broken("iterators"))?;
            let (id, stream) = (text(&item, "join")?, text(&item, "stream")?);
            joins.insert(table, Join { id, stream, shards, iterators });
        }
        Ok(joins)
    }

    pub(super) async fn join(&self, table: &str, join: &Join) -> Result<()> {
        let mut item = self.key(&format!("{JOIN}{table}"));
        item.insert("join".to_owned(), AttributeValue::S(join.id.clone()));
        item.insert("stream".to_owned(), AttributeValue::S(join.stream.clone()));
        item.insert("shards".to_owned(), AttributeValue::S(json_of(&join.shards).to_string()));
        item.insert(
            "iterators".to_owned(),
            AttributeValue::S(Json::from_iter(join.iterators.clone()).to_string()),
        );
        let request = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let done = request.send().await;
        done.map_err(|e| failure(format_args!("note in {:?} that {table} is followed", self.table), e))?;
        Ok(())
    }

    pub(super) async fn leave(&self, table: &str) -> Result<()> {
        self.delete(vec![self.key(&format!("{JOIN}{table}"))]).await
    }

    /// The number of the newest position.
    pub(super) async fn newest(&self) -> Result<Option<u64>> {
        let items = self.between(AT, &at(u64::MAX), false, Some(1)).await?;
        items.first().map(number_of).transpose()
    }

    /// How far everything was read at a position; `None` if that is not known any more.
    pub(super) async fn checkpoint(&self, number: u64) -> Result<Option<Checkpoint>> {
        let Some(item) = self.get(&at(number)).await? else { return Ok(None) };
        let tables = json(&text(&item, "tables")?);
        let tables = tables.as_ref().and_then(Json::as_object).ok_or_else(|| broken("tables"))?;
        let read = |(table, read): (&String, &Json)| {
            let (join, shards) = (read.get("join")?.as_str()?.to_owned(), shards_of(read.get("shards")?)?);
            Some((table.clone(), Read { join, shards }))
        };
        let checkpoint: Option<Checkpoint> = tables.iter().map(read).collect();
        checkpoint.map(Some).ok_or_else(|| broken("tables"))
    }

    /// Writes how far everything is read at a new position, and renews the lease.
    pub(super) async fn advance(&self, lease: &mut Lease, to: u64, read: &Checkpoint) -> Result<Owned> {
        let bug = |e| Error::bug("a write to the source's state is incomplete").with_cause(e);
        let tables: Map<String, Json> = read
            .iter()
            .map(|(table, read)| {
                let fields = [
                    ("join".to_owned(), Json::String(read.join.clone())),
                    ("shards".to_owned(), json_of(&read.shards)),
                ];
                (table.clone(), Json::Object(fields.into_iter().collect()))
            })
            .collect();
        let mut item = self.key(&at(to));
        item.insert("tables".to_owned(), AttributeValue::S(Json::Object(tables).to_string()));
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).build().map_err(bug)?;
        let next = Lease { beat: lease.beat + 1, at_ms: now_ms(), ..lease.clone() };
        let renew = Update::builder()
            .table_name(&self.table)
            .set_key(Some(self.key(LEASE)))
            .update_expression("SET beat = :b, at_ms = :t")
            .condition_expression("#o = :o")
            .expression_attribute_names("#o", "owner")
            .expression_attribute_values(":o", AttributeValue::S(next.owner.clone()))
            .expression_attribute_values(":b", number(next.beat))
            .expression_attribute_values(":t", number(next.at_ms))
            .build()
            .map_err(bug)?;
        let request = (self.client.transact_write_items())
            .transact_items(TransactWriteItem::builder().update(renew).build())
            .transact_items(TransactWriteItem::builder().put(put).build());
        match request.send().await {
            Ok(_) => {
                *lease = next;
                Ok(Owned::Yes)
            }
            Err(error) => {
                let reasons = error.as_service_error().and_then(|error| match error {
                    aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
                        canceled,
                    ) => Some(canceled.cancellation_reasons()),
                    _ => None,
                });
                let refused = |reason: &aws_sdk_dynamodb::types::CancellationReason| {
                    reason.code() == Some("ConditionalCheckFailed")
                };
                match reasons {
                    Some(reasons) if reasons.iter().any(refused) => Ok(Owned::No),
                    // Throttled, or in each other's way: the whole is repeated.
                    Some(_) => Err(Error::transient(format!("write to {:?}: {}", self.table, said(&error)))),
                    None => Err(failure(format_args!("write to {:?}", self.table), error)),
                }
            }
        }
    }

    /// Forgets the positions before `before`.
    pub(super) async fn forget_before(&self, before: u64) -> Result<()> {
        let Some(last) = before.checked_sub(1) else { return Ok(()) };
        self.forget(&at(0), &at(last)).await
    }

    /// Forgets everything but who follows.
    pub(super) async fn forget_all(&self) -> Result<()> {
        // The course first: what is left of it without its name is of no use to anybody.
        self.forget(COURSE, COURSE).await?;
        self.forget(AT, &at(u64::MAX)).await?;
        self.forget(JOIN, &format!("{JOIN}\u{10ffff}")).await
    }

    async fn forget(&self, from: &str, upto: &str) -> Result<()> {
        let items = self.between(from, upto, true, None).await?;
        let keys: Vec<Item> = items
            .into_iter()
            .map(|mut item| {
                item.retain(|name, _| name == FOLLOWER || name == STATE_KEY);
                item
            })
            .collect();
        for keys in keys.chunks(DELETES_MAX) {
            self.delete(keys.to_vec()).await?;
        }
        Ok(())
    }

    async fn delete(&self, keys: Vec<Item>) -> Result<()> {
        let bug = |e| Error::bug("a deletion from the source's state is incomplete").with_cause(e);
        let mut request = self.client.transact_write_items();
        for key in keys {
            let delete = Delete::builder().table_name(&self.table).set_key(Some(key)).build().map_err(bug)?;
            request = request.transact_items(TransactWriteItem::builder().delete(delete).build());
        }
        request.send().await.map_err(|e| failure(format_args!("delete from {:?}", self.table), e))?;
        Ok(())
    }

    pub(super) async fn lease(&self) -> Result<Option<Lease>> {
        let Some(item) = self.get(LEASE).await? else { return Ok(None) };
        Ok(Some(Lease {
            owner: text(&item, "owner")?,
            beat: numeric(&item, "beat")?,
            at_ms: numeric(&item, "at_ms")?,
        }))
    }

    /// Takes the lease if it is still as it was seen; `None` if somebody was faster. When streams were read last stays.
    pub(super) async fn take(&self, seen: Option<&Lease>, owner: &str) -> Result<Option<Lease>> {
        let at_ms = seen.map_or_else(now_ms, |seen| seen.at_ms);
        self.hold(seen, owner, at_ms).await
    }

    /// Renews the lease: everything was read a moment ago.
    pub(super) async fn renew(&self, lease: &mut Lease) -> Result<Owned> {
        Ok(match self.hold(Some(lease), &lease.owner, now_ms()).await? {
            Some(next) => {
                *lease = next;
                Owned::Yes
            }
            None => Owned::No,
        })
    }

    async fn hold(&self, seen: Option<&Lease>, owner: &str, at_ms: i64) -> Result<Option<Lease>> {
        let next = Lease { owner: owner.to_owned(), beat: seen.map_or(1, |seen| seen.beat + 1), at_ms };
        let mut item = self.key(LEASE);
        item.insert("owner".to_owned(), AttributeValue::S(next.owner.clone()));
        item.insert("beat".to_owned(), number(next.beat));
        item.insert("at_ms".to_owned(), number(next.at_ms));
        let request = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let request = match seen {
            None => request
                .condition_expression("attribute_not_exists(#i)")
                .expression_attribute_names("#i", STATE_KEY),
            Some(seen) => request
                .condition_expression("#o = :o AND beat = :b")
                .expression_attribute_names("#o", "owner")
                .expression_attribute_values(":o", AttributeValue::S(seen.owner.clone()))
                .expression_attribute_values(":b", number(seen.beat)),
        };
        match request.send().await {
            Ok(_) => Ok(Some(next)),
            Err(error) if is_condition(&error) => Ok(None),
            Err(error) => Err(failure(format_args!("take the lease in {:?}", self.table), error)),
        }
    }

    /// Gives the lease back, so that the next one need not wait.
    pub(super) async fn give_back(&self, lease: &Lease) -> Result<()> {
        // Nobody's, and when streams were read last stays.
        self.take(Some(lease), NOBODY).await.map(drop)
    }
}

fn at(number: u64) -> String {
    format!("{AT}{number:020}")
}

fn number_of(item: &Item) -> Result<u64> {
    let name = text(item, STATE_KEY)?;
    name.strip_prefix(AT).and_then(|digits| digits.parse().ok()).ok_or_else(|| broken(STATE_KEY))
}

fn json(text: &str) -> Option<Json> {
    serde_json::from_str(text).ok()
}

fn json_of(shards: &Shards) -> Json {
    let shard = |(id, place): (&String, &Place)| (id.clone(), Json::String(place.to_text()));
    Json::Object(shards.0.iter().map(shard).collect())
}

fn shards_of(json: &Json) -> Option<Shards> {
    let shard = |(id, place): (&String, &Json)| Some((id.clone(), Place::read(place.as_str()?)?));
    json.as_object()?.iter().map(shard).collect::<Option<_>>().map(Shards)
}

fn text(item: &Item, name: &str) -> Result<String> {
    item.get(name).and_then(|value| value.as_s().ok()).cloned().ok_or_else(|| broken(name))
}

fn numeric<T: std::str::FromStr>(item: &Item, name: &str) -> Result<T> {
    let number = item.get(name).and_then(|value| value.as_n().ok());
    number.and_then(|number| number.parse().ok()).ok_or_else(|| broken(name))
}

fn broken(what: &str) -> Error {
    Error::misconfigured(format!(
        "the table in which Headwater keeps how far it follows has no {what} where it should be"
    ))
    .with_remedy(
        "somebody else writes there, or a newer version did: delete the table, and every view is read again",
    )
}

fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = error.to_string();
        cause = error.source();
    }
    said
}

/// For leases and joins, which other machines compare with their own clocks, coarsely.
pub(super) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
