//! InfluxDB 1.x: a server of its own, on a free port, in a folder that goes with it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::folder::Folder;
use super::port::free_port;
use super::process::{self, Process};

/// Set where it cannot be had: its tests say that they were skipped.
const WITHOUT: &str = "HEADWATER_WITHOUT_INFLUXDB";

const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. Stopped and removed on drop; what it held is there again after [`InfluxDb::kill`] and
/// [`InfluxDb::launch`].
#[derive(Debug)]
pub struct InfluxDb {
    port: u16,
    process: Process,
    folder: Folder,
}

impl InfluxDb {
    /// Whether tests are to do without it, which is said.
    pub fn is_left_out() -> bool {
        let left_out = std::env::var_os(WITHOUT).is_some();
        if left_out {
            eprintln!("skipped: {WITHOUT} is set");
        }
        left_out
    }

    /// `None` where there is none, and the test has to be skipped.
    #[track_caller]
    pub fn start() -> Option<InfluxDb> {
        InfluxDb::start_with("")
    }

    /// A server that asks who is there; the first user may be created by anybody.
    #[track_caller]
    pub fn start_closed() -> Option<InfluxDb> {
        InfluxDb::start_with("auth-enabled = true\n")
    }

    #[track_caller]
    fn start_with(http: &str) -> Option<InfluxDb> {
        if InfluxDb::is_left_out() {
            return None;
        }
        let server =
            InfluxDb { port: free_port(), process: Process::default(), folder: Folder::new("influxdb") };
        server.configure(http);
        server.launch();
        Some(server)
    }

    fn configure(&self, http: &str) {
        let folder = self.folder.path().display();
        let (port, rpc) = (self.port, free_port());
        let text = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n\
             [meta]\ndir = \"{folder}/meta\"\n\
             [data]\ndir = \"{folder}/data\"\nwal-dir = \"{folder}/wal\"\nquery-log-enabled = false\n\
             [http]\nbind-address = \"127.0.0.1:{port}\"\nlog-enabled = false\n{http}\
             [monitor]\nstore-enabled = false\n[subscriber]\nenabled = false\n"
        );
        fs::write(self.folder.path().join("influxdb.conf"), text).expect("write the server's configuration");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("influx://127.0.0.1:{}/{database}", self.port)
    }

    /// Kill -9: what was acknowledged is on disk.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Starts again on the same port. It must not run.
    #[track_caller]
    pub fn launch(&self) {
        let mut command = Command::new("influxd");
        command.arg("-config").arg(self.folder.path().join("influxdb.conf"));
        self.process.start(&mut command, self.folder.path());
        let until = Instant::now() + PATIENCE;
        while request(self.port, "GET", "/ping", "").is_err() {
            assert!(!self.process.has_ended(), "InfluxDB did not start\n{}", self.log_tail());
            assert!(Instant::now() < until, "InfluxDB does not answer\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    pub fn log_tail(&self) -> String {
        process::log_tail(self.folder.path())
    }

    /// A statement past the store: the answer's JSON.
    #[track_caller]
    pub fn ask(&self, database: &str, statement: &str) -> serde_json::Value {
        InfluxDb::query(self.port, &format!("db={database}"), statement)
    }

    /// As [`InfluxDb::ask`], of a server that asks who is there.
    #[track_caller]
    pub fn ask_as(&self, user: &str, password: &str, statement: &str) -> serde_json::Value {
        InfluxDb::query(self.port, &format!("u={user}&p={password}"), statement)
    }

    #[track_caller]
    pub(crate) fn query(port: u16, with: &str, statement: &str) -> serde_json::Value {
        let encoded: String = statement.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/query?{with}&epoch=ns&q={encoded}");
        let answer = request(port, "POST", &path, "").expect("ask InfluxDB");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body.trim()).unwrap_or_else(|e| panic!("ask {statement}: {e}: {answer}"))
    }

    /// Points past the store: the head of the answer.
    #[track_caller]
    pub fn write(&self, database: &str, lines: &str) -> String {
        let path = format!("/write?db={database}&precision=ns");
        request(self.port, "POST", &path, lines).expect("write to InfluxDB")
    }
}

impl Drop for InfluxDb {
    fn drop(&mut self) {
        self.process.kill();
    }
}

fn request(port: u16, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    let head =
        format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}
