//! DynamoDB Local: AWS's own implementation, in memory, one server per [`DynamoDb`]. `cargo xtask test` puts it into
//! `target/dynamodb-local`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value as Json;

use super::folder::Folder;
use super::port::free_port;
use super::process::{self, Process};

/// A JVM on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server. Stopped and removed on drop; what it held is gone after a [`DynamoDb::kill`].
#[derive(Debug)]
pub struct DynamoDb {
    port: u16,
    process: Process,
    folder: Folder,
}

impl DynamoDb {
    #[track_caller]
    pub fn start() -> DynamoDb {
        let server =
            DynamoDb { port: free_port(), process: Process::default(), folder: Folder::new("dynamodb") };
        server.launch();
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kill -9: all tables are gone.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Starts again on the same port, empty. It must not run.
    #[track_caller]
    pub fn launch(&self) {
        let home = home();
        let mut command = Command::new("java");
        command
            // Small, and quick to start rather than fast in the end.
            .args(["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Djava.library.path={}", home.join("DynamoDBLocal_lib").display()))
            .arg("-jar")
            .arg(home.join("DynamoDBLocal.jar"))
            .args(["-inMemory", "-sharedDb", "-port", &self.port.to_string()])
            .current_dir(self.folder.path());
        self.process.start(&mut command, self.folder.path());
        let until = Instant::now() + PATIENCE;
        while !self.answers() {
            assert!(!self.process.has_ended(), "DynamoDB Local did not start\n{}", self.log_tail());
            assert!(Instant::now() < until, "DynamoDB Local does not answer\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// An operation in plain HTTP. Panics unless it is done.
    #[track_caller]
    pub fn ask(&self, operation: &str, what: &Json) -> Json {
        DynamoDb::ask_at(self.port, operation, what)
    }

    /// As [`DynamoDb::ask`], of the server on a port.
    #[track_caller]
    pub fn ask_at(port: u16, operation: &str, what: &Json) -> Json {
        let answer = crate::checker::dynamodb::request(port, operation, what);
        assert!(answer["__type"].is_null(), "{operation} of {what}: {answer}");
        answer
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

    /// Any answer of HTTP will do: one without a signature is refused.
    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<usize> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            stream.read(&mut [0; 64])
        };
        ask().is_ok_and(|read| read > 0)
    }
}

impl Drop for DynamoDb {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// Beside the program that runs: in the target folder.
#[track_caller]
fn home() -> PathBuf {
    let program = std::env::current_exe().expect("the path of the running test");
    let homes = program.ancestors().map(|folder| folder.join("dynamodb-local"));
    let found = homes.into_iter().find(|home| home.join("DynamoDBLocal.jar").is_file());
    found.expect("DynamoDB Local is not installed: run `cargo xtask test`")
}
