//! A host of its own for a program: a network namespace with one cable to this machine, on which packets can vanish in one
//! direction while the other flows. Needs CAP_NET_ADMIN, `ip`, `unshare` and `nsenter`.
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
        let via = self.via();
        run(Command::new(&via[0]).args(&via[1..]).arg("ip").args(arguments));
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

fn run(command: &mut Command) {
    let ran = command.stdin(Stdio::null()).output().expect("start ip");
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
}
