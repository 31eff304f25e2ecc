//! Redis Cluster: which node owns which slot.
//!
//! With a hash tag in the prefix all keys lie in one slot: we connect to the node that owns it, and a redirection says
//! which that is. Without one the store has keys in many slots; [`Nodes`] then knows the whole map. It is asked for again when
//! something gave reason to doubt it, and not more often than [`REFRESH_EVERY`], however many ask.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use headwater_model::{Error, Result};
use tokio::time::{Instant, timeout};

use super::config::{Address, Config};
use super::connection::Connection;
use super::failure;
use super::lane::{RESTED, lock};
use super::resp::Reply;

/// More redirections than any cluster in order gives.
const HOPS_MAX: usize = 5;

/// The map is not asked for again before so much time has passed.
const REFRESH_EVERY: Duration = Duration::from_millis(200);

/// How long one node may take to say who owns which slot, before another is asked.
const MAP_WITHIN: Duration = Duration::from_secs(3);

/// Connections kept per node for reads.
const READERS_MAX: usize = 8;

/// Connects, and follows redirections to the node that owns the meta key.
pub(super) async fn open_home(config: &Config, start: Address) -> Result<Connection> {
    let meta = config.meta();
    let mut address = start;
    for _ in 0..HOPS_MAX {
        let mut connection = Connection::open(config, &address).await?;
        match connection.ask(&[b"EXISTS", &meta]).await? {
            Reply::Error(text) if text.starts_with("MOVED ") => address = moved(&text, &address)?,
            Reply::Error(text) => return Err(failure::from_reply(&text)),
            _ => return Ok(connection),
        }
    }
    Err(Error::transient("the cluster's nodes do not agree on who owns the prefix's slot"))
}

/// `MOVED 3999 host:port`, or `ASK …`; an empty host is the one that answered.
pub(super) fn moved(text: &str, from: &Address) -> Result<Address> {
    let target = text.split(' ').nth(2).and_then(|target| target.rsplit_once(':'));
    match target {
        Some((host, port)) if let Ok(port) = port.parse() => at(host.trim_matches(['[', ']']), port, from),
        _ => None,
    }
    .ok_or_else(|| failure::from_reply(text))
}

/// The address that a node announces for itself or for another; without a host it is the one that was asked.
fn at(host: &str, port: u16, asked: &Address) -> Option<Address> {
    match asked {
        Address::Tcp { host: same, .. } => {
            let host = if matches!(host, "" | "?") { same.as_str() } else { host };
            Some(Address::Tcp { host: host.to_owned(), port })
        }
        #[cfg(unix)]
        Address::Unix(_) if host.is_empty() => None,
        #[cfg(unix)]
        Address::Unix(_) => Some(Address::Tcp { host: host.to_owned(), port }),
    }
}

/// The nodes of a cluster, and connections to them for reads.
pub(super) struct Nodes {
    config: Config,
    map: Mutex<Map>,
    /// One asks, the others wait for what comes of it.
    asking: tokio::sync::Mutex<()>,
    readers: Mutex<HashMap<Address, Vec<(Connection, Instant)>>>,
}

#[derive(Default)]
struct Map {
    /// First and last slot, and the master that owns them.
    slots: Vec<(u16, u16, Address)>,
    /// All nodes, replicas too: each can be asked for the map.
    known: BTreeSet<Address>,
    asked_at: Option<Instant>,
    doubted: bool,
}

impl Map {
    fn owner(&self, slot: u16) -> Option<&Address> {
        self.slots.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(.., owner)| owner)
    }

    fn is_wanted(&self) -> bool {
        self.asked_at.is_none_or(|at| self.doubted && at.elapsed() >= REFRESH_EVERY)
    }
}

impl Nodes {
    pub(super) fn new(config: Config) -> Nodes {
        Nodes { config, map: Mutex::default(), asking: Default::default(), readers: Mutex::default() }
    }

    /// Something went wrong that another map may put right.
    pub(super) fn doubt(&self) {
        lock(&self.map).doubted = true;
    }

    /// The master that owns a slot.
    pub(super) async fn owner(&self, slot: u16) -> Result<Address> {
        if lock(&self.map).is_wanted() {
            let _one = self.asking.lock().await;
            if lock(&self.map).is_wanted() {
                self.ask().await?;
            }
        }
        lock(&self.map).owner(slot).cloned().ok_or_else(|| {
            self.doubt();
            Error::transient(format!("no node of the cluster serves slot {slot} just now"))
        })
    }

    /// The masters that own these slots, each once, in an order of their own.
    pub(super) async fn owners(&self, slots: impl Iterator<Item = u16>) -> Result<BTreeSet<Address>> {
        let mut owners = BTreeSet::new();
        for slot in slots {
            owners.insert(self.owner(slot).await?);
        }
        Ok(owners)
    }

    /// Asks the nodes that are known, one after the other, until one says.
    async fn ask(&self) -> Result<()> {
        let mut candidates: Vec<Address> = lock(&self.map).known.iter().cloned().collect();
        if !candidates.contains(&self.config.address) {
            candidates.push(self.config.address.clone());
        }
        let mut first_error = None;
        for address in candidates {
            let asked = timeout(MAP_WITHIN, self.map_of(&address)).await.unwrap_or_else(|_| {
                Err(Error::transient(format!("{address} did not say which slots the nodes have")))
            });
            match asked {
                Ok(map) => {
                    *lock(&self.map) = map;
                    return Ok(());
                }
                Err(e) => {
                    first_error.get_or_insert(e);
                }
            }
        }
        // The old map may still be right for the nodes that live; who uses it finds out.
        let mut map = lock(&self.map);
        map.asked_at = map.asked_at.map(|_| Instant::now());
        match (first_error, map.asked_at) {
            (Some(error), None) => Err(error.while_doing(format!("store {:?}", self.config.store))),
            _ => Ok(()),
        }
    }

    async fn map_of(&self, address: &Address) -> Result<Map> {
        let mut connection = self.reader(address).await?;
        let reply = connection.call(&[b"CLUSTER", b"SLOTS"]).await?;
        let map = read_map(reply, address)?;
        self.give_back(connection);
        Ok(map)
    }

    /// A connection to the owner of the slot that the meta key of `config` is in.
    pub(super) async fn open(&self, config: &Config, slot: u16) -> Result<Connection> {
        let start = self.owner(slot).await?;
        let opened = open_home(config, start.clone()).await;
        if !opened.as_ref().is_ok_and(|connection| connection.address == start) {
            self.doubt();
        }
        opened
    }

    /// A connection for reads; give it back when it has no reply outstanding, or drop it.
    pub(super) async fn reader(&self, address: &Address) -> Result<Connection> {
        loop {
            let resting = lock(&self.readers).get_mut(address).and_then(Vec::pop);
            let Some((mut reader, since)) = resting else {
                return Connection::open(&self.config, address).await.inspect_err(|_| self.doubt());
            };
            if since.elapsed() < RESTED || reader.call(&[b"PING"]).await.is_ok() {
                return Ok(reader);
            }
        }
    }

    pub(super) fn give_back(&self, reader: Connection) {
        let mut readers = lock(&self.readers);
        let known = &lock(&self.map).known;
        // Nodes that are gone keep no connections.
        readers
            .retain(|address, _| known.is_empty() || known.contains(address) || *address == reader.address);
        let of_node = readers.entry(reader.address.clone()).or_default();
        if of_node.len() < READERS_MAX {
            of_node.push((reader, Instant::now()));
        }
    }
}

/// Reads the answer to CLUSTER SLOTS: per range its ends, its master, its replicas.
fn read_map(reply: Reply, asked: &Address) -> Result<Map> {
    let Reply::Array(ranges) = reply else { return Err(failure::unexpected("CLUSTER SLOTS")) };
    let mut map = Map { asked_at: Some(Instant::now()), ..Map::default() };
    for range in ranges {
        let Reply::Array(range) = range else { return Err(failure::unexpected("CLUSTER SLOTS")) };
        let mut nodes = range.iter().skip(2).filter_map(|node| match node {
            Reply::Array(node) => match node.as_slice() {
                [host, Reply::Int(port), ..] => at(&host.lossy(), u16::try_from(*port).ok()?, asked),
                _ => None,
            },
            _ => None,
        });
        if let [Reply::Int(first), Reply::Int(last), ..] = range.as_slice()
            && let (Ok(first), Ok(last)) = (u16::try_from(*first), u16::try_from(*last))
            && let Some(master) = nodes.next()
        {
            map.known.insert(master.clone());
            map.known.extend(nodes);
            map.slots.push((first, last, master));
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn a_redirection_names_a_node_or_the_one_that_gave_it() {
        let from = tcp("a", 1);
        for (text, expected) in [
            ("MOVED 3999 127.0.0.1:6381", tcp("127.0.0.1", 6381)),
            ("ASK 3999 host.example:7", tcp("host.example", 7)),
            ("MOVED 1 :6382", tcp("a", 6382)),
            ("MOVED 1 ::1:6382", tcp("::1", 6382)),
        ] {
            assert_eq!(moved(text, &from).expect(text), expected);
        }
        assert!(moved("MOVED 1", &from).is_err());
        assert!(moved("MOVED 1 a:b", &from).is_err());
    }

    #[test]
    fn a_map_says_who_owns_a_slot_and_who_else_can_be_asked() {
        let text = |text: &str| Reply::Text(text.as_bytes().to_vec());
        let node = |host: Reply, port| Reply::Array(vec![host, Reply::Int(port), text("id")]);
        let range = |first, last, nodes: Vec<Reply>| {
            Reply::Array([vec![Reply::Int(first), Reply::Int(last)], nodes].concat())
        };
        let reply = Reply::Array(vec![
            range(0, 99, vec![node(text("b"), 1), node(text("c"), 2)]),
            range(200, 200, vec![node(Reply::Nil, 3)]),
        ]);
        let map = read_map(reply, &tcp("a", 9)).expect("a map");
        assert_eq!(map.owner(99), Some(&tcp("b", 1)));
        assert_eq!(map.owner(200), Some(&tcp("a", 3)));
        assert_eq!(map.owner(100), None);
        assert_eq!(map.known, [tcp("b", 1), tcp("c", 2), tcp("a", 3)].into());
        assert!(read_map(Reply::Nil, &tcp("a", 9)).is_err());
    }
}
