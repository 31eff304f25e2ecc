//! An InfluxDB 1.x server as a sandbox's store. What it has acknowledged is there again after it was killed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use headwater_model::{Error, Result};
use serde_json::Value as Json;

use crate::sandbox::{Folder, Process, SandboxStore, failed, free_port, output};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A server that was frozen answers nobody, and a drill must not wait for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

const DATABASE: &str = "drill";

pub struct Server {
    program: PathBuf,
    port: u16,
    folder: PathBuf,
    process: Process,
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("influxd")).find(|file| file.is_file())
}

impl Server {
    pub fn new(folder: &Folder) -> Result<Server> {
        let program = program().ok_or_else(|| {
            Error::unsupported("influxd is not in PATH")
                .with_remedy("install it, such as with `apt-get install influxdb`")
        })?;
        let process = Process::new(folder, "influxdb");
        let server = Server { program, port: free_port()?, folder: folder.join("influxdb"), process };
        let home = server.folder.display();
        let settings = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n\
             [meta]\ndir = \"{home}/meta\"\n\
             [data]\ndir = \"{home}/data\"\nwal-dir = \"{home}/wal\"\nquery-log-enabled = false\n\
             [http]\nbind-address = \"127.0.0.1:{}\"\nlog-enabled = false\n\
             [monitor]\nstore-enabled = false\n[subscriber]\nenabled = false\n",
            server.port
        );
        fs::create_dir(&server.folder).map_err(|error| failed("make a server's folder", error))?;
        fs::write(server.settings(), settings)
            .map_err(|error| failed("write the server's settings", error))?;
        server.start()?;
        server.ask(&format!("CREATE DATABASE {DATABASE}"))?;
        Ok(server)
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("influxdb.conf")
    }

    fn request(&self, path: &str) -> Result<String> {
        let lost = |error| failed("talk to the sandbox's InfluxDB", error);
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN).map_err(lost)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(lost)?;
        // HTTP/1.0: the answer comes in one piece and ends with the connection.
        let head = format!("POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).map_err(lost)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(lost)?;
        match answer.split_once("\r\n\r\n") {
            Some((_, body)) => Ok(body.to_owned()),
            None => Err(Error::transient("the sandbox's InfluxDB ended an answer before it began")),
        }
    }

    /// The rows of a statement, the time first.
    fn ask(&self, statement: &str) -> Result<Vec<Json>> {
        let statement: String = statement.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let body = self.request(&format!("/query?db={DATABASE}&epoch=ns&q={statement}"))?;
        let mut answer: Json = serde_json::from_str(body.trim())
            .map_err(|e| Error::transient("the sandbox's InfluxDB answers no JSON").with_cause(e))?;
        let result = answer["results"][0].take();
        for error in [&answer["error"], &result["error"]] {
            if let Some(error) = error.as_str() {
                return Err(Error::transient(format!("the sandbox's InfluxDB: {error}")));
            }
        }
        Ok(result["series"][0]["values"].as_array().cloned().unwrap_or_default())
    }

    /// Key and document of what the view's directory has, and a condition selects.
    fn look(&self, view: &str, condition: &str) -> Result<BTreeMap<String, String>> {
        let rows = self.ask(&format!("SELECT \"d\" FROM \"hw:key:{view}\"{condition}"))?;
        let mut found = BTreeMap::new();
        for row in rows {
            // A line that says of which key, and whether it is gone; then the document.
            let Some((head, document)) = row[1].as_str().and_then(|text| text.split_once('\n')) else {
                continue;
            };
            let head: Json = serde_json::from_str(head).unwrap_or_default();
            if let (Some(key), None) = (head["k"].as_str(), head["gone"].as_bool()) {
                found.insert(key.to_owned(), document.to_owned());
            }
        }
        Ok(found)
    }
}

impl SandboxStore for Server {
    fn url(&self) -> String {
        format!("influx://127.0.0.1:{}/{DATABASE}", self.port)
    }

    fn name(&self) -> String {
        let version = output(Command::new(&self.program).arg("version")).unwrap_or_default();
        let version = version.split_ascii_whitespace().nth(1).unwrap_or_default().to_owned();
        format!("InfluxDB {version}")
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], self.port)))
    }

    fn process(&self) -> Option<&Process> {
        Some(&self.process)
    }

    fn start(&self) -> Result<()> {
        let mut command = Command::new(&self.program);
        self.process.start(command.arg("-config").arg(self.settings()), &self.folder)?;
        let until = Instant::now() + READY_WITHIN;
        while self.ask("SHOW DATABASES").is_err() {
            if Instant::now() > until || !self.process.is_running() {
                let log = self.process.log_tail(5);
                return Err(Error::transient(format!("the sandbox's InfluxDB does not start: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn get(&self, view: &str, key: &str) -> Result<Option<String>> {
        // Keys of a sandbox are numbers.
        Ok(self.look(view, &format!(" WHERE \"d\" =~ /^.\"k\":\"{key}\",/"))?.remove(key))
    }

    fn documents(&self, view: &str) -> Result<BTreeMap<String, String>> {
        self.look(view, "")
    }

    fn flush(&self) -> Result<()> {
        self.ask(&format!("DROP DATABASE {DATABASE}"))?;
        self.ask(&format!("CREATE DATABASE {DATABASE}")).map(drop)
    }

    fn forgets(&self) -> bool {
        false
    }
}
