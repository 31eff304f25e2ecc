//! A host of its own for a program: a network namespace with one cable to this machine, on which packets can vanish in one
//! direction while the other flows, or some of them now and then, or arrive out of order. Needs CAP_NET_ADMIN, `ip`, `unshare` and
//! `nsenter`; for loss and disorder `iptables` and `tc` too.
//!
//! Nothing of it outlives the process that holds the namespace, which dies with the test: the cable goes with it.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Folder, Process};

#[derive(Debug)]
pub struct Network {
    holder: Process,
    /// The third byte and the first number of a block of four addresses that are for tests of networks (RFC 2544).
    block: (u8, u8),
    _folder: Folder,
}

impl Network {
    /// What this machine lacks for it.
    pub fn missing() -> Option<&'static str> {
        static MISSING: OnceLock<bool> = OnceLock::new();
        let missing = MISSING.get_or_init(|| {
            let tried = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
            !tried.is_ok_and(|ran| ran.status.success())
        });
        missing.then_some("CAP_NET_ADMIN: a network namespace of its own")
    }

    /// What this machine lacks to lose some packets and to disorder others.
    pub fn missing_disorder() -> Option<&'static str> {
        static MISSING: OnceLock<bool> = OnceLock::new();
        let missing = MISSING.get_or_init(|| {
            let try_it = "ip link set lo up && tc qdisc add dev lo root handle 1: htb default 1 \
                && iptables -A INPUT -m statistic --mode random --probability 0.05 -j DROP \
                && iptables -t mangle -A POSTROUTING -m statistic --mode random --probability 0.05 -j CLASSIFY --set-class 1:2";
            let tried = Command::new("unshare").args(["--net", "sh", "-c", try_it]).output();
            !tried.is_ok_and(|ran| ran.status.success())
        });
        Network::missing()
            .or(missing.then_some("iptables with `statistic` and `CLASSIFY`, and tc with `htb`"))
    }

    pub fn start() -> Network {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id().wrapping_mul(7).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let block = ((number >> 6 & 0xff) as u8, (number as u8 & 63) * 4);
        let (holder, folder) = (Process::default(), Folder::new("network"));
        let mut hold = Command::new("unshare");
        holder.start(hold.args(["--net", "sleep", "infinity"]).current_dir(folder.path()), folder.path());
        let network = Network { holder, block, _folder: folder };
        network.wait_until_apart();
        let (cable, pid) = (format!("hw{}x{}", block.0, block.1), network.pid());
        ip(&["link", "add", &cable, "type", "veth", "peer", "name", "cable", "netns", &pid]);
        ip(&["address", "add", &format!("{}/30", network.here()), "dev", &cable]);
        ip(&["link", "set", &cable, "up"]);
        network.ip_there(&["address", "add", &format!("{}/30", network.there()), "dev", "cable"]);
        network.ip_there(&["link", "set", "cable", "up"]);
        network.ip_there(&["link", "set", "lo", "up"]);
        network
    }

    /// `unshare` has done its work when its process is not in our namespace any more.
    fn wait_until_apart(&self) {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        while of(&self.pid()) == of("self") {
            assert!(!self.holder.has_ended(), "the namespace's process ended");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn pid(&self) -> String {
        self.holder.id().expect("the namespace's process runs").to_string()
    }

    /// This machine's end of the cable.
    pub fn here(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(198, 18, self.block.0, self.block.1 + 1))
    }

    fn there(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(198, 18, self.block.0, self.block.1 + 2))
    }

    /// In front of a program and its arguments: it runs there, with the same process id.
    pub fn via(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--net=/proc/{}/ns/net", self.pid()), "--".into()]
    }

    fn ip_there(&self, arguments: &[&str]) {
        self.there_runs("ip", arguments);
    }

    fn there_runs(&self, program: &str, arguments: &[&str]) -> String {
        let via = self.via();
        run(Command::new(&via[0]).args(&via[1..]).arg(program).args(arguments))
    }

    /// Of the packets in either direction, so many in a hundred vanish. Of those that are sent from there, every fifth has to wait in
    /// a slow queue, while later ones overtake it.
    pub fn lose_and_disorder(&self, percent: u32) {
        let share = format!("{:.2}", f64::from(percent) / 100.0);
        for chain in ["INPUT", "OUTPUT"] {
            let lose =
                ["-A", chain, "-m", "statistic", "--mode", "random", "--probability", &share, "-j", "DROP"];
            self.there_runs("iptables", &lose);
        }
        let tc = |arguments: &str| self.there_runs("tc", &arguments.split(' ').collect::<Vec<_>>());
        tc("qdisc add dev cable root handle 1: htb default 1");
        tc("class add dev cable parent 1: classid 1:1 htb rate 10gbit");
        tc("class add dev cable parent 1: classid 1:2 htb rate 2mbit burst 1600 cburst 1600");
        let late = "-t mangle -A POSTROUTING -m statistic --mode random --probability 0.2 -j CLASSIFY --set-class 1:2";
        self.there_runs("iptables", &late.split(' ').collect::<Vec<_>>());
    }

    /// All arrives again, and in order. How many packets vanished, and how many had to wait.
    pub fn deliver_in_order(&self) -> (u64, u64) {
        let counted = |table: &str, target: &str| -> u64 {
            let listed = self.there_runs("iptables", &["-t", table, "-L", "-v", "-x", "-n"]);
            let rules = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            rules
                .filter(|rule| rule.get(2) == Some(&target))
                .filter_map(|rule| rule[0].parse::<u64>().ok())
                .sum()
        };
        let counts = (counted("filter", "DROP"), counted("mangle", "CLASSIFY"));
        self.there_runs("iptables", &["-F"]);
        self.there_runs("iptables", &["-t", "mangle", "-F"]);
        self.there_runs("tc", &["qdisc", "del", "dev", "cable", "root"]);
        counts
    }

    /// What is sent from there vanishes; what is sent to there arrives.
    pub fn lose_what_it_sends(&self) {
        self.ip_there(&["route", "add", "blackhole", &format!("{}/32", self.here())]);
    }

    pub fn deliver_what_it_sends(&self) {
        self.ip_there(&["route", "del", "blackhole", &format!("{}/32", self.here())]);
    }

    /// What is sent to there vanishes; what is sent from there arrives.
    pub fn lose_what_it_is_sent(&self) {
        ip(&["route", "add", "blackhole", &format!("{}/32", self.there())]);
    }

    pub fn deliver_what_it_is_sent(&self) {
        ip(&["route", "del", "blackhole", &format!("{}/32", self.there())]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Of this machine, not of the namespace: it would stay.
        let there = format!("{}/32", self.there());
        let _ = Command::new("ip").args(["route", "del", "blackhole", &there]).stderr(Stdio::null()).status();
        self.holder.kill();
    }
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

fn run(command: &mut Command) -> String {
    let ran = command.stdin(Stdio::null()).output().expect("start a program");
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).into_owned()
}
