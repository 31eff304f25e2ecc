//! MongoDB: a server of its own, on a free port, in a folder that goes with it. `cargo xtask test` puts it into `target/mongodb`.
//!
//! The last version that a distribution has is 3.6, and the driver talks to none before 4.4. What Headwater asks for is the same in
//! both, so there is somebody between them who tells the driver that the server is that new ([`introduce`]), and who ends a login
//! with the message that newer servers do without, and changes nothing else.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value as Json, json};

use super::aside::Aside;
use super::folder::Folder;
use super::port::free_port;
use super::process::{self, Process};

/// Set where it cannot be had: its tests say that they were skipped.
const WITHOUT: &str = "HEADWATER_WITHOUT_MONGODB";

const PATIENCE: Duration = Duration::from_secs(60);

/// The oldest that the driver takes, 4.4's:
/// <https://github.com/mongodb/specifications/blob/master/source/wireversion-featurelist/wireversion-featurelist.md>.
const WIRE_VERSION: i32 = 9;

/// A running server, the only member of a replica set unless it is alone. Stopped and removed on drop; what it held is there again
/// after [`MongoDb::kill`] and [`MongoDb::launch`].
#[derive(Debug)]
pub struct MongoDb {
    /// Where clients find it.
    introduced: u16,
    port: u16,
    process: Process,
    folder: Folder,
    settings: &'static [&'static str],
}

impl MongoDb {
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
    pub fn start() -> Option<MongoDb> {
        let server = MongoDb::start_with(&["--replSet", "rs0"])?;
        let member = json!({ "_id": 0, "host": format!("127.0.0.1:{}", server.port) });
        server.run("admin", &json!({ "replSetInitiate": { "_id": "rs0", "members": [member] } }));
        server.wait_for_primary();
        Some(server)
    }

    /// No member of a replica set.
    #[track_caller]
    pub fn start_alone() -> Option<MongoDb> {
        MongoDb::start_with(&[])
    }

    /// One that is alone and asks who is there: `user`, who may read and write `database`, and nobody else.
    #[track_caller]
    pub fn start_closed(user: &str, password: &str, database: &str) -> Option<MongoDb> {
        let mut server = MongoDb::start_alone()?;
        let roles = json!([{ "role": "readWrite", "db": database }]);
        let kept = json!({ "w": 1, "j": true });
        let create = json!({ "createUser": user, "pwd": password, "roles": roles, "writeConcern": kept });
        server.run("admin", &create);
        server.kill();
        server.settings = &["--auth"];
        server.launch();
        Some(server)
    }

    #[track_caller]
    fn start_with(settings: &'static [&'static str]) -> Option<MongoDb> {
        if MongoDb::is_left_out() {
            return None;
        }
        let port = free_port();
        let (process, folder) = (Process::default(), Folder::new("mongodb"));
        let server = MongoDb { introduced: introduce(port), port, process, folder, settings };
        server.launch();
        Some(server)
    }

    /// The server's own, for whoever needs no driver.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        self.url_as("", database)
    }

    /// The same with `login` (`user:password@`) in it.
    pub fn url_as(&self, login: &str, database: &str) -> String {
        format!("mongodb://{login}127.0.0.1:{}/{database}?directConnection=true", self.introduced)
    }

    /// Kill -9: what was acknowledged is in the journal.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Starts again on the same port. It must not run.
    #[track_caller]
    pub fn launch(&self) {
        let home = home();
        let data = self.folder.path().join("data");
        std::fs::create_dir_all(&data).expect("make the data folder");
        let mut command = home.program("usr/bin/mongod");
        command
            .args(["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"])
            .args(["--oplogSize", "64", "--port", &self.port.to_string()])
            .arg("--dbpath")
            .arg(data)
            .args(self.settings);
        self.process.start(&mut command, self.folder.path());
        let until = Instant::now() + PATIENCE;
        while self.ask("admin", &json!({ "isMaster": 1 })).is_err() {
            assert!(!self.process.has_ended(), "MongoDB did not start\n{}", self.log_tail());
            assert!(Instant::now() < until, "MongoDB does not answer\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Until it takes writes, as it does a while after it was started again.
    #[track_caller]
    pub fn wait_for_primary(&self) {
        let until = Instant::now() + PATIENCE;
        let is_primary = || {
            let answer = self.ask("admin", &json!({ "isMaster": 1 })).unwrap_or_default();
            contains(&answer, b"\x08ismaster\0\x01")
        };
        while !is_primary() {
            assert!(Instant::now() < until, "MongoDB is no primary\n{}", self.log_tail());
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

    /// A command past the store. Panics unless it is done.
    #[track_caller]
    pub fn run(&self, database: &str, command: &Json) {
        let answer = self.ask(database, command).unwrap_or_else(|e| panic!("{command}: {e}"));
        let is_done = contains(&answer, &[&b"\x01ok\0"[..], &1_f64.to_le_bytes()].concat());
        let has_failed = contains(&answer, b"\x04writeErrors\0");
        assert!(is_done && !has_failed, "{command}: {}", String::from_utf8_lossy(&answer));
    }

    /// A statement in MongoDB's own shell, as a person pastes it. What it answers; panics if it throws, or answers that it failed.
    #[track_caller]
    pub fn paste(&self, statement: &str) -> String {
        let home = home();
        let mut command = home.program("usr/bin/mongo");
        command.args(["--quiet", "--norc", "--host", "127.0.0.1", "--port", &self.port.to_string()]);
        let script = format!(
            "var answer = {statement}\nif (answer && answer.ok === 0) throw tojson(answer);\nprintjson(answer)"
        );
        let output = command.arg("--eval").arg(script).stdin(Stdio::null()).output().expect("start mongo");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{statement}: {said}");
        said
    }

    /// The documents of a collection: [`exported`].
    #[track_caller]
    pub fn export(&self, database: &str, collection: &str) -> Vec<Json> {
        exported(self.port, database, collection)
    }

    /// A JSON document of each line of a file, by MongoDB's own program, acknowledged by a majority.
    #[track_caller]
    pub fn import(&self, database: &str, collection: &str, file: &Path) {
        let mut command = tool("mongoimport", self.port, database, collection);
        command.args(["--writeConcern", "majority"]).arg("--file").arg(file);
        let output = command.stdin(Stdio::null()).output().expect("start mongoimport");
        assert!(output.status.success(), "mongoimport: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// One message of the protocol there, one back: <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>.
    fn ask(&self, database: &str, command: &Json) -> std::io::Result<Vec<u8>> {
        let mut command = command.as_object().expect("a command").clone();
        command.insert("$db".into(), database.into());
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&op_msg(&bson(&command)))?;
        read_message(&mut stream)
    }
}

impl Drop for MongoDb {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// The documents of a collection, as MongoDB's own program exports them: each a JSON object, with types that JSON does not have as
/// objects of one field that begins with a `$`.
#[track_caller]
pub(crate) fn exported(port: u16, database: &str, collection: &str) -> Vec<Json> {
    let mut command = tool("mongoexport", port, database, collection);
    let output = command.stdin(Stdio::null()).output().expect("start mongoexport");
    assert!(output.status.success(), "mongoexport: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn home() -> Aside {
    Aside::find("mongodb").expect("MongoDB is not installed: run `cargo xtask test`")
}

fn tool(name: &str, port: u16, database: &str, collection: &str) -> Command {
    let mut command = home().program(Path::new("usr/bin").join(name));
    command.args(["--quiet", "--host", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--db", database, "--collection", collection]);
    command
}

/// What lies behind a new port: the server of this one, which says of itself that it is newer. Ends with the process.
fn introduce(port: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).expect("listen");
    let introduced = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect((Ipv4Addr::LOCALHOST, port))) else {
                continue;
            };
            let (Ok(to_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { continue };
            std::thread::spawn(move || pass_on(client, to_server, |_, _| Ok(())));
            std::thread::spawn(move || pass_on(server, to_client, as_newer));
        }
    });
    introduced
}

fn pass_on(
    mut from: TcpStream,
    mut to: TcpStream,
    change: fn(&mut [u8], &mut TcpStream) -> std::io::Result<()>,
) {
    while let Ok(mut message) = read_message(&mut from) {
        if change(&mut message, &mut from).and_then(|()| to.write_all(&message)).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Whole, its head included.
fn read_message(from: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let rest = usize::try_from(i32::from_le_bytes(length)).ok().and_then(|length| length.checked_sub(4));
    let rest = rest.filter(|rest| *rest <= 64 << 20).ok_or(std::io::ErrorKind::InvalidData)?;
    let mut message = length.to_vec();
    message.resize(4 + rest, 0);
    from.read_exact(&mut message[4..])?;
    Ok(message)
}

/// What a server says, as a newer one would.
fn as_newer(message: &mut [u8], server: &mut TcpStream) -> std::io::Result<()> {
    // What says such things is short.
    let until = message.len().min(4096);
    let behind = |field: &[u8]| {
        let at = message[..until].windows(field.len()).position(|bytes| bytes == field)?;
        Some(at + field.len())
    };
    if let Some(at) = behind(b"\x10maxWireVersion\0") {
        message[at..at + 4].copy_from_slice(&WIRE_VERSION.to_le_bytes());
    } else if let (Some(_), Some(done)) = (behind(b"\0v="), behind(b"\x08done\0"))
        && message[done] == 0
    {
        // The server's proof is the last that either side has to say, and yet it waits for an empty answer.
        let nothing = b"\x10saslContinue\0\x01\0\0\0\x10conversationId\0\x01\0\0\0\x05payload\0\0\0\0\0\0";
        server.write_all(&op_msg(&document([&nothing[..], b"\x02$db\0\x06\0\0\0admin\0"].concat())))?;
        message[done] = read_message(server)?.windows(7).any(|bytes| bytes == b"\x08done\0\x01").into();
    }
    Ok(())
}

fn contains(message: &[u8], bytes: &[u8]) -> bool {
    message.windows(bytes.len()).any(|window| window == bytes)
}

/// What commands are made of: <https://bsonspec.org/spec.html>.
fn bson(fields: &serde_json::Map<String, Json>) -> Vec<u8> {
    elements(fields.iter().map(|(name, value)| (name.clone(), value)).collect())
}

fn elements(fields: Vec<(String, &Json)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        let (kind, bytes) = match value {
            Json::Null => (0x0a, Vec::new()),
            Json::Bool(flag) => (0x08, vec![u8::from(*flag)]),
            Json::Number(number) => (0x12, number.as_i64().expect("a whole number").to_le_bytes().to_vec()),
            Json::String(text) => {
                let length = i32::try_from(text.len() + 1).expect("a short text");
                (0x02, [&length.to_le_bytes()[..], text.as_bytes(), &[0]].concat())
            }
            Json::Array(items) => {
                (0x04, elements(items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect()))
            }
            Json::Object(fields) => (0x03, bson(fields)),
        };
        out.push(kind);
        out.extend(name.as_bytes());
        out.push(0);
        out.extend(bytes);
    }
    document(out)
}

/// Elements with their length in front and their end behind.
fn document(elements: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(elements.len() + 5).expect("a short document");
    [&length.to_le_bytes()[..], &elements, &[0]].concat()
}

/// The message of a command.
fn op_msg(body: &[u8]) -> Vec<u8> {
    const OP_MSG: i32 = 2013;
    let length = i32::try_from(16 + 5 + body.len()).expect("a short command");
    let head: Vec<u8> = [length, 1, 0, OP_MSG, 0].into_iter().flat_map(i32::to_le_bytes).collect();
    [&head[..], &[0], body].concat()
}
