//! A Redis or Valkey server as a sandbox's store: one that keeps nothing on disk, and is empty after it was killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use headwater_model::{Error, Result};

use crate::sandbox::{Folder, Process, SandboxStore, failed, free_port};

const READY_WITHIN: Duration = Duration::from_secs(30);

/// A server that was frozen answers nobody, and a drill must not wait for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

pub struct Server {
    program: PathBuf,
    port: u16,
    folder: PathBuf,
    process: Process,
}

/// The server's program, if it is installed.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    ["redis-server", "valkey-server"]
        .iter()
        .find_map(|name| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file()))
}

impl Server {
    pub fn is_installed() -> bool {
        program().is_some()
    }

    pub fn new(folder: &Folder) -> Result<Server> {
        let program = program().ok_or_else(|| {
            Error::unsupported("neither redis-server nor valkey-server is in PATH")
                .with_remedy("install one, such as with `apt-get install redis-server`")
        })?;
        let process = Process::new(folder, "redis");
        let server = Server { program, port: free_port()?, folder: folder.path().to_owned(), process };
        server.start()?;
        Ok(server)
    }

    fn command(&self, words: &[&str]) -> Result<Reply> {
        let lost = |error| failed("talk to the sandbox's Redis", error);
        let stream =
            TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], self.port)), ANSWER_WITHIN)
                .map_err(lost)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(lost)?;
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        (&stream).write_all(text.as_bytes()).map_err(lost)?;
        reply(&mut BufReader::new(&stream)).map_err(lost)
    }
}

enum Reply {
    Nil,
    Text(String),
    List(Vec<Reply>),
}

impl Reply {
    fn text(self) -> Option<String> {
        match self {
            Reply::Text(text) => Some(text),
            Reply::Nil | Reply::List(_) => None,
        }
    }

    fn list(self) -> Vec<Reply> {
        match self {
            Reply::List(list) => list,
            Reply::Nil | Reply::Text(_) => Vec::new(),
        }
    }
}

fn reply(from: &mut impl BufRead) -> std::io::Result<Reply> {
    let broken = || std::io::Error::other("a reply that is none");
    let mut line = String::new();
    from.read_line(&mut line)?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).ok_or_else(broken)?;
    match kind {
        "+" | ":" => Ok(Reply::Text(rest.to_owned())),
        "-" => Err(std::io::Error::other(rest.to_owned())),
        "$" => {
            let Ok(length) = usize::try_from(rest.parse::<i64>().map_err(|_| broken())?) else {
                return Ok(Reply::Nil);
            };
            let mut bytes = Vec::new();
            from.by_ref().take(length as u64 + 2).read_to_end(&mut bytes)?;
            bytes.truncate(length);
            Ok(Reply::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        "*" => {
            let count: i64 = rest.parse().map_err(|_| broken())?;
            (0..count).map(|_| reply(from)).collect::<std::io::Result<_>>().map(Reply::List)
        }
        _ => Err(broken()),
    }
}

impl SandboxStore for Server {
    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn name(&self) -> String {
        let info = self.command(&["INFO", "server"]).ok().and_then(Reply::text).unwrap_or_default();
        let version =
            info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("").to_owned();
        format!("Redis {version}")
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], self.port)))
    }

    fn process(&self) -> Option<&Process> {
        Some(&self.process)
    }

    fn start(&self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args([
            "--port",
            &self.port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        self.process.start(&mut command, &self.folder)?;
        let until = Instant::now() + READY_WITHIN;
        while self.command(&["PING"]).is_err() {
            if Instant::now() > until || !self.process.is_running() {
                let log = self.process.log_tail(5);
                return Err(Error::transient(format!("the sandbox's Redis does not start: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn get(&self, view: &str, key: &str) -> Result<Option<String>> {
        Ok(self.command(&["GET", &format!("{view}:{key}")])?.text())
    }

    fn documents(&self, view: &str) -> Result<BTreeMap<String, String>> {
        let (prefix, mut cursor) = (format!("{view}:"), "0".to_owned());
        let mut found = BTreeMap::new();
        loop {
            let scan = ["SCAN", &cursor, "MATCH", &format!("{prefix}*"), "COUNT", "1000", "TYPE", "string"];
            let mut answer = self.command(&scan)?.list().into_iter();
            cursor = answer.next().and_then(Reply::text).unwrap_or_else(|| "0".to_owned());
            let keys: Vec<String> = answer
                .next()
                .map(Reply::list)
                .unwrap_or_default()
                .into_iter()
                .filter_map(Reply::text)
                .collect();
            if !keys.is_empty() {
                let words: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
                let documents = self.command(&words)?.list();
                for (key, document) in keys.iter().zip(documents) {
                    if let (Some(key), Some(document)) = (key.strip_prefix(&prefix), document.text()) {
                        found.insert(key.to_owned(), document);
                    }
                }
            }
            if cursor == "0" {
                return Ok(found);
            }
        }
    }

    fn flush(&self) -> Result<()> {
        self.command(&["FLUSHALL"]).map(drop)
    }

    fn forgets(&self) -> bool {
        true
    }
}
