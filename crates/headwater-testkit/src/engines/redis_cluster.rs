//! A Redis Cluster: masters with equal shares of the slots, and replicas of the first of them.

use std::time::{Duration, Instant};

use super::redis::{Redis, RedisBuilder};

const PATIENCE: Duration = Duration::from_secs(60);

const SLOTS: usize = 16384;

pub struct RedisCluster {
    masters: Vec<Redis>,
    replicas: Vec<Redis>,
}

impl RedisCluster {
    /// So many masters, and as many replicas of the first one.
    #[track_caller]
    pub fn start(masters: usize, replicas: usize) -> RedisCluster {
        RedisCluster::start_with(masters, replicas, |builder| builder)
    }

    #[track_caller]
    pub fn start_with(
        masters: usize,
        replicas: usize,
        each: impl Fn(RedisBuilder) -> RedisBuilder,
    ) -> RedisCluster {
        let node = |_| each(Redis::builder()).cluster_node().start();
        let cluster = RedisCluster {
            masters: (0..masters).map(node).collect(),
            replicas: (0..replicas).map(node).collect(),
        };
        let share = |n: usize| n * SLOTS / masters;
        for (n, master) in cluster.masters.iter().enumerate() {
            let (first, last) = (share(n).to_string(), (share(n + 1) - 1).to_string());
            master.cli(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            master.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
        }
        let first = &cluster.masters[0];
        for other in cluster.nodes().skip(1) {
            first.meet(other);
        }
        let nodes = cluster.nodes().count();
        cluster.wait_for("nodes that know each other", |node| {
            node.contains(&format!("cluster_known_nodes:{nodes}")) && node.contains("cluster_state:ok")
        });
        let id = first.cli(&["CLUSTER", "MYID"]);
        for replica in &cluster.replicas {
            replica.cli(&["CLUSTER", "REPLICATE", &id]);
        }
        if !cluster.replicas.is_empty() {
            let linked = || first.cli(&["INFO", "replication"]).matches("state=online").count() == replicas;
            wait("replicas that follow", linked);
            let listed = || {
                let known = |node: &Redis| {
                    node.cli(&["CLUSTER", "NODES"]).matches(" slave ").count() >= 1
                        || node.cli(&["CLUSTER", "NODES"]).contains("slave")
                };
                cluster.masters.iter().all(known)
            };
            wait("masters that know the replicas", listed);
        }
        cluster
    }

    pub fn masters(&self) -> &[Redis] {
        &self.masters
    }

    pub fn replicas(&self) -> &[Redis] {
        &self.replicas
    }

    /// Of the last master: no promise of ours may hang on the first.
    pub fn url(&self) -> String {
        self.masters[self.masters.len() - 1].url()
    }

    /// A command to whichever node has its keys, as [`Redis::cli`].
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> String {
        let living = self.nodes().rev().find(|node| node.is_running()).expect("a living node");
        living.cli(&[&["-c"], args].concat())
    }

    /// Removes all that the cluster holds.
    pub fn flush(&self) {
        self.masters.iter().for_each(|master| drop(master.cli(&["FLUSHALL"])));
    }

    /// The master whose share has a slot, as the cluster was begun.
    pub fn master_of(&self, slot: usize) -> &Redis {
        let masters = self.masters.len();
        let at = (0..masters).find(|n| slot < (n + 1) * SLOTS / masters).expect("a slot below 16384");
        &self.masters[at]
    }

    /// Where a document lies: the URL of its node, as the cluster was begun, and its key.
    pub fn place_of(&self, prefix: &str, name: &str, lanes: usize) -> (String, String) {
        let (lane, slot) = lane(prefix, lane_of(name, lanes), lanes);
        (self.master_of(slot).url(), format!("{lane}{name}"))
    }

    /// From now on the slot's keys move from one node to another, those that are moved first.
    pub fn begin_move(&self, slot: usize, from: &Redis, to: &Redis) {
        let slot = slot.to_string();
        let (from_id, to_id) = (from.cli(&["CLUSTER", "MYID"]), to.cli(&["CLUSTER", "MYID"]));
        to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    }

    /// Moves up to so many keys of a slot that is being moved; how many were left to move.
    pub fn move_keys(&self, slot: usize, from: &Redis, to: &Redis, at_most: usize) -> usize {
        let keys = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &at_most.to_string()]);
        let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
        for key in &keys {
            from.cli(&["MIGRATE", "127.0.0.1", &to.port().to_string(), key, "0", "5000"]);
        }
        keys.len()
    }

    /// The slot belongs to the new owner.
    pub fn end_move(&self, slot: usize, to: &Redis) {
        let id = to.cli(&["CLUSTER", "MYID"]);
        to.cli(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id]);
        for other in self.masters.iter().filter(|other| other.port() != to.port()) {
            other.cli(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id]);
        }
    }

    fn nodes(&self) -> impl DoubleEndedIterator<Item = &Redis> {
        self.masters.iter().chain(&self.replicas)
    }

    /// Until each node's CLUSTER INFO is as wanted.
    #[track_caller]
    fn wait_for(&self, what: &str, is: impl Fn(&str) -> bool) {
        wait(what, || {
            self.nodes().all(|node| node.try_cli(&["CLUSTER", "INFO"]).is_ok_and(|info| is(&info)))
        });
    }
}

/// The slot of a hash tag: CRC16 as the cluster specification defines it, bit by bit.
pub fn slot(tag: &str) -> usize {
    let mut crc = 0u16;
    for byte in tag.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
        }
    }
    usize::from(crc) % SLOTS
}

/// What the keys of a lane start with, and its slot, as the manual computes them.
pub fn lane(prefix: &str, lane: usize, lanes: usize) -> (String, usize) {
    let wanted = lane * 1024 / lanes;
    let tag = (0..).map(|n: u32| n.to_string()).find(|tag| slot(tag) / 16 == wanted).expect("a tag");
    (format!("{prefix}{{{tag}}}:"), slot(&tag))
}

/// The lane of a document by `view:key`.
pub fn lane_of(name: &str, lanes: usize) -> usize {
    slot(name) * lanes / SLOTS
}

#[track_caller]
fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
