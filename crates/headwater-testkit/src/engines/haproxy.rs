//! HAProxy before the servers of a [`super::patroni::Patroni`]: one address that leads to whichever is the primary.

use std::fs;
use std::process::Command;

use super::folder::Folder;
use super::port::free_port;
use super::process::Process;

/// One address for a primary that changes. Sessions with a server that is the primary no more are closed.
#[derive(Debug)]
pub struct Haproxy {
    port: u16,
    _process: Process,
    // Last: the process goes first.
    _folder: Folder,
}

impl Haproxy {
    /// Before servers at ports of this machine, each with the port at which Patroni says whether it is the primary.
    pub(super) fn start(servers: impl Iterator<Item = (u16, u16)>) -> Haproxy {
        let (port, folder, process) = (free_port(), Folder::new("haproxy"), Process::default());
        let servers: String = servers
            .map(|(port, api)| format!("  server at{port} 127.0.0.1:{port} check port {api}\n"))
            .collect();
        let config = format!(
            "global
  maxconn 200
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen primary
  bind 127.0.0.1:{port}
  option httpchk OPTIONS /primary
  http-check expect status 200
  default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}"
        );
        let path = folder.join("haproxy.cfg");
        fs::write(&path, config).expect("write haproxy.cfg");
        let program = super::program("haproxy").expect("HAProxy is not installed: run `cargo xtask test`");
        process.start(Command::new(program).arg("-db").arg("-f").arg(&path), folder.path());
        Haproxy { port, _process: process, _folder: folder }
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}
