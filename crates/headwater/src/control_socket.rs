//! How a command in one terminal asks `run` in another: a socket in the data folder. A client sends a [`Request`] as one line of
//! JSON, and is sent JSON: one document, or of a verification a line whenever there is something to say. Who may write to the
//! data folder may ask for anything here.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headwater_flow::Handle;
use headwater_flow::heal::Heal;
use headwater_flow::status::Status;
use headwater_flow::verify::report;
use headwater_flow::whereabouts::Whereabouts;
use headwater_model::{Error, ErrorKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tracing::warn;

/// A client that does not read is given up after this, and an instance that does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Rows in a status may have been counted so long ago: `--watch` need not wait for each count.
pub const ROWS_AGE_MAX: Duration = Duration::from_secs(10);

/// A store that counts for longer does not hold the answer up.
pub const ROWS_WITHIN: Duration = Duration::from_secs(1);

/// Tracing a row asks every store, and looks through the journal.
const FOUND_WITHIN: Duration = Duration::from_secs(60);

/// More than any answer needs: a bound on what a client takes from a socket.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Longer than any request.
const REQUEST_BYTES_MAX: u64 = 64 << 10;

/// How often a client hears how far a verification is.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Not tagged within: numbers that are read twice lose their exactness, and then serde refuses them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Answered by a [`Status`].
    Status,
    /// Answered by lines of [`Told`]. It ends when the client goes away.
    Verify(report::Request),
    /// Answered by a [`Found`].
    Where {
        table: String,
        key: String,
    },
    /// This and all that follow are answered by a [`Done`].
    Approve {
        id: u64,
        name: String,
    },
    Pause {
        part: String,
        within_ms: Option<u64>,
        name: String,
    },
    Resume {
        part: String,
        name: String,
    },
    /// Without a name: the first store.
    CutStore {
        store: Option<String>,
    },
    StepDown,
}

/// What came of something that was asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// What to say.
    Fine(String),
    Refused(Refused),
}

impl Done {
    /// As a command reports it.
    pub fn into_result(self) -> Result<String, Error> {
        match self {
            Done::Fine(text) => Ok(text),
            Done::Refused(refused) => Err(refused.into()),
        }
    }
}

/// What became of a row.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Found {
    Row(Box<Whereabouts>),
    Refused(Refused),
}

/// One line about a verification.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    Progress(report::Progress),
    /// The last line.
    Report(report::Report),
    /// Instead of a report.
    Refused(Refused),
}

/// Why nothing came of what was asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refused {
    why: String,
    remedy: Option<String>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused { why: error.to_string(), remedy: error.remedy().map(str::to_owned) }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        let error = Error::new(ErrorKind::Misconfigured, refused.why);
        match refused.remedy {
            Some(remedy) => error.with_remedy(remedy),
            None => error,
        }
    }
}

fn path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// Answers until dropped. The folder's lock, not the socket, decides who leads: a standby serves when it leads.
pub async fn serve(data: &Path, handle: Handle) -> io::Result<()> {
    let path = path(data);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    loop {
        let (client, _) = listener.accept().await?;
        let handle = handle.clone();
        tokio::spawn(async move {
            // A client that went away needs no answer.
            if let Err(error) = answer(client, &handle).await
                && !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
            {
                warn!(%error, "a command cannot be answered");
            }
        });
    }
}

async fn answer(client: UnixStream, handle: &Handle) -> io::Result<()> {
    let (read, mut write) = client.into_split();
    let mut line = String::new();
    let mut lines = BufReader::new(read.take(REQUEST_BYTES_MAX));
    if !matches!(timeout(ANSWER_WITHIN, lines.read_line(&mut line)).await, Ok(Ok(_))) {
        return Ok(());
    }
    match serde_json::from_str(&line) {
        Ok(Request::Status) => {
            send(&mut write, &handle.status_with_rows(ROWS_AGE_MAX, ROWS_WITHIN).await).await
        }
        Ok(Request::Verify(request)) => {
            let client = lines.into_inner().into_inner();
            verify(&request, handle, client, &mut write).await
        }
        Ok(Request::Where { table, key }) => {
            let found = match handle.find(&table, &key).await {
                Ok(found) => Found::Row(Box::new(found)),
                Err(error) => Found::Refused(error.into()),
            };
            send(&mut write, &found).await
        }
        Ok(request) => {
            let done = match done(&request, handle) {
                Ok(text) => Done::Fine(text),
                Err(error) => Done::Refused(error.into()),
            };
            send(&mut write, &done).await
        }
        Err(error) => {
            let why = format!("the running instance does not understand the question: {error}");
            let remedy = Some("the command and the instance may be of different versions".to_owned());
            send(&mut write, &Told::Refused(Refused { why, remedy })).await
        }
    }
}

fn done(request: &Request, handle: &Handle) -> Result<String, Error> {
    let idle = || Error::transient("this instance does not lead");
    match request {
        Request::CutStore { store } => cut_store(handle, store.as_deref()),
        Request::StepDown if handle.step_down() => Ok("the leader stepped down".to_owned()),
        Request::StepDown => Err(idle()),
        request => heal_as_asked(&*handle.heal().ok_or_else(idle)?, request),
    }
}

fn cut_store(handle: &Handle, store: Option<&str>) -> Result<String, Error> {
    let stores = handle.stores();
    let Some(name) = store.or(stores.first().map(|name| &**name)) else {
        return Err(Error::misconfigured("there is no store"));
    };
    if handle.cut_store(name) {
        return Ok(format!("gave up the connection to store {name}"));
    }
    Err(Error::misconfigured(format!("there is no store `{name}`, or this instance does not lead"))
        .with_remedy(format!("stores here: {}", stores.join(", "))))
}

/// Does what was asked of healing, here or while no instance runs.
pub fn heal_as_asked(heal: &Heal, request: &Request) -> Result<String, Error> {
    match request {
        Request::Approve { id, name } => {
            let held = heal.approve(*id, name)?;
            let what = format!("{} of {}", held.action.name(), held.part);
            Ok(match held.missing() {
                0 => format!("approved: {what}"),
                _ => format!("approved by {name}; another person has to approve {what} too"),
            })
        }
        Request::Pause { part, within_ms, name } => {
            heal.pause(part, within_ms.map(Duration::from_millis), name)?;
            Ok(format!("healing of {part} is paused"))
        }
        Request::Resume { part, name } => Ok(match heal.resume(part, name)? {
            true => format!("healing of {part} goes on"),
            false => format!("healing of {part} was not paused"),
        }),
        _ => Err(Error::bug("this is not asked of healing")),
    }
}

/// Verifies for as long as the client stays.
async fn verify(
    request: &report::Request,
    handle: &Handle,
    mut client: OwnedReadHalf,
    write: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let (sink, mut progress) = watch::channel(report::Progress::default());
    let mut running = std::pin::pin!(handle.verify(request, &sink));
    let mut tick = interval(PROGRESS_EVERY);
    let mut byte = [0];
    loop {
        tokio::select! {
            report = &mut running => {
                let told = match report {
                    Ok(report) => Told::Report(report),
                    Err(error) => Told::Refused(error.into()),
                };
                return send(write, &told).await;
            }
            _ = client.read(&mut byte) => return Ok(()),
            _ = tick.tick() => {
                if progress.has_changed().unwrap_or(false) {
                    let now = progress.borrow_and_update().clone();
                    send(write, &Told::Progress(now)).await?;
                }
            }
        }
    }
}

/// One line of JSON.
async fn send(to: &mut (impl AsyncWrite + Unpin), what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    match timeout(ANSWER_WITHIN, to.write_all(&line)).await {
        Ok(sent) => sent,
        Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// A client of the instance that leads in this data folder; `None` if none runs.
async fn connect(data: &Path, request: &Request) -> io::Result<Option<UnixStream>> {
    let mut client = match UnixStream::connect(path(data)).await {
        Ok(client) => client,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    send(&mut client, request).await?;
    Ok(Some(client))
}

/// The status of the instance that leads in this data folder; `None` if none runs.
pub async fn ask(data: &Path) -> io::Result<Option<Status>> {
    ask_for(data, &Request::Status).await
}

/// What became of a row, told by the instance that leads in this data folder; `None` if none runs.
pub async fn whereabouts(
    data: &Path,
    table: &str,
    key: &str,
) -> io::Result<Option<headwater_model::Result<Whereabouts>>> {
    let asked = Request::Where { table: table.to_owned(), key: key.to_owned() };
    let answer: Option<Found> = document(data, &asked, FOUND_WITHIN).await?;
    Ok(answer.map(|answer| match answer {
        Found::Row(found) => Ok(*found),
        Found::Refused(refused) => Err(refused.into()),
    }))
}

/// What is answered by one document; `None` if no instance runs.
pub async fn ask_for<T: DeserializeOwned>(data: &Path, request: &Request) -> io::Result<Option<T>> {
    document(data, request, ANSWER_WITHIN).await
}

async fn document<T: DeserializeOwned>(
    data: &Path,
    request: &Request,
    within: Duration,
) -> io::Result<Option<T>> {
    let Some(client) = connect(data, request).await? else { return Ok(None) };
    let mut answer = Vec::new();
    match timeout(within, client.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)).await {
        Ok(read) => read?,
        Err(_) => {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the running instance does not answer"));
        }
    };
    serde_json::from_slice(&answer).map(Some).map_err(io::Error::other)
}

/// What the instance that leads in this data folder says of a verification, line by line. Dropped, it ends there too.
pub struct Verifying {
    lines: Box<dyn AsyncRead + Send + Unpin>,
    rest: Vec<u8>,
}

impl Verifying {
    /// `None` if no instance runs.
    pub async fn begin(data: &Path, request: report::Request) -> io::Result<Option<Verifying>> {
        let client = connect(data, &Request::Verify(request)).await?;
        Ok(client.map(|client| Verifying { lines: Box::new(client), rest: Vec::new() }))
    }

    /// The next line. An error once the instance is gone.
    pub async fn next(&mut self) -> io::Result<Told> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(io::Error::other);
            }
            let mut part = [0; 16 << 10];
            let read = self.lines.read(&mut part).await?;
            if read == 0 || self.rest.len() as u64 > ANSWER_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the running instance went away"));
            }
            self.rest.extend_from_slice(&part[..read]);
        }
    }
}
