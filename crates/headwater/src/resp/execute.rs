//! One command: what waits for documents is put into the batch, everything else is answered behind it.

use std::io;
use std::time::{Duration, Instant};

use headwater_flow::serve::WITHIN_MAX;
use tokio::io::{AsyncRead, AsyncWrite};

use super::command::{Command, Kind, Meant, find};
use super::connection::Work;
use super::parse::Args;
use super::session::Session;
use super::shared::Reading;
use super::views::Named;
use super::{client, failure, info, rankings, reply, scan};
use crate::positions;

/// What a connection does after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Continue,
    Close,
}

pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// How long `HEADWATER.WAIT` waits if it does not say.
const WAIT_MS: u64 = 1_000;

/// A command with its arguments.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub args: &'a Args,
    pub input: &'a [u8],
}

impl<'a> Request<'a> {
    pub fn len(&self) -> usize {
        self.args.len()
    }

    pub fn get(&self, place: usize) -> &'a [u8] {
        self.args.get(self.input, place)
    }

    pub fn from(self, place: usize) -> impl Iterator<Item = &'a [u8]> {
        (place..self.args.len()).map(move |place| self.get(place))
    }

    /// Whether the argument is this word, which is given in capitals.
    pub fn is(&self, place: usize, word: &str) -> bool {
        self.get(place).eq_ignore_ascii_case(word.as_bytes())
    }

    pub fn integer(&self, place: usize) -> Option<i64> {
        std::str::from_utf8(self.get(place)).ok()?.parse().ok()
    }
}

pub async fn execute<S: AsyncRead + AsyncWrite + Unpin>(
    work: &mut Work<'_, S>,
    args: &Args,
    input: &[u8],
) -> io::Result<Next> {
    let request = Request { args, input };
    let refused = match find(request.get(0)) {
        Meant::Answered(command) if !command.takes(request.len()) => wrong_arity(command.name),
        Meant::Answered(command) => {
            let may = work.session.user.is_some()
                || matches!(command.kind, Kind::Auth | Kind::Hello | Kind::Quit | Kind::Reset);
            let waits = waits_for(&work.reading, command, request);
            if may && let Some(source) = waits {
                format!("LOADING source `{source}` cannot be looked at yet: this view has nothing to show")
            } else if may {
                if may_wait(work, command, request) {
                    if work.batch.is_full() {
                        work.answer_batch().await?;
                    }
                    return Ok(Next::Continue);
                }
                return Box::pin(answer(work, command, request)).await;
            } else {
                no_auth()
            }
        }
        _ if work.session.user.is_none() => no_auth(),
        Meant::Write => {
            format!("READONLY Headwater serves reads; write to the source ({})", work.reading.servers())
        }
        Meant::Unknown => unknown(request),
    };
    work.answer_batch().await?;
    reply::error(&refused, &mut work.out.bytes);
    Ok(Next::Continue)
}

/// The source, not there yet, of a view that the command reads.
fn waits_for(reading: &Reading, command: &Command, request: Request<'_>) -> Option<String> {
    if reading.waiting.is_empty() || command.keys.0 == 0 {
        return None;
    }
    let keys = if command.keys.1 < 0 { request.len() - 1 } else { 1 };
    request.from(1).take(keys).find_map(|key| reading.waits_for(key)).map(str::to_owned)
}

fn no_auth() -> String {
    "NOAUTH Authentication required.".to_owned()
}

pub fn wrong_arity(name: &str) -> String {
    format!("ERR wrong number of arguments for '{}' command", name.to_ascii_lowercase())
}

/// As Redis says it.
fn unknown(request: Request<'_>) -> String {
    const SHOWN_MAX: usize = 128;
    let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_MAX)]).into_owned();
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", show(request.get(0)));
    for arg in request.from(1) {
        if text.len() > 2 * SHOWN_MAX {
            break;
        }
        text.push_str(&format!("'{}' ", show(arg)));
    }
    text
}

/// Puts a command that needs documents alone into the batch. False: it needs more.
fn may_wait<S>(work: &mut Work<'_, S>, command: &Command, request: Request<'_>) -> bool {
    let views = &work.reading.views;
    let batch = &mut work.batch;
    match command.kind {
        Kind::Get
        | Kind::Strlen
        | Kind::Hget
        | Kind::Hmget
        | Kind::Hgetall
        | Kind::Hkeys
        | Kind::Hvals
        | Kind::Hlen
        | Kind::Hexists
        | Kind::Type
        | Kind::Ttl => {
            let document = match views.named(request.get(1)) {
                Named::Nothing => None,
                Named::Document { view, key } => Some((view, key)),
                Named::Ranking { .. } => return false,
            };
            batch.add(command.kind, std::iter::once(document), request.from(2));
        }
        Kind::Mget => {
            batch.add(command.kind, request.from(1).map(|key| views.document(key)), std::iter::empty());
        }
        Kind::Exists => {
            if request.from(1).any(|key| matches!(views.named(key), Named::Ranking { .. })) {
                return false;
            }
            batch.add(command.kind, request.from(1).map(|key| views.document(key)), std::iter::empty());
        }
        Kind::Zscore | Kind::Zmscore => {
            let (view, within) = match views.named(request.get(1)) {
                Named::Ranking { view, within } => (view, within),
                Named::Nothing => {
                    batch.add(command.kind, request.from(2).map(|_| None), std::iter::empty());
                    return true;
                }
                Named::Document { .. } => return false,
            };
            let Some(served) = views.get(view) else { return false };
            let member = |member| Some((view, served.member(&within, member)?));
            batch.add(command.kind, request.from(2).map(member), std::iter::empty());
        }
        _ => return false,
    }
    true
}

/// Everything else.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    work: &mut Work<'_, S>,
    command: &Command,
    request: Request<'_>,
) -> io::Result<Next> {
    work.answer_batch().await?;
    let (shared, reading) = (work.shared, &*work.reading);
    let session = &mut *work.session;
    let out = &mut work.out.bytes;
    match command.kind {
        Kind::Ping => match request.len() {
            1 => reply::simple("PONG", out),
            2 => reply::bulk(request.get(1), out),
            _ => reply::error(&wrong_arity(command.name), out),
        },
        Kind::Echo => reply::bulk(request.get(1), out),
        Kind::Select => match request.integer(1) {
            Some(0) => reply::simple("OK", out),
            _ => reply::error("ERR DB index is out of range", out),
        },
        Kind::Quit => {
            reply::simple("OK", out);
            return Ok(Next::Close);
        }
        Kind::Reset => {
            session.reset(shared.tokens.anyone());
            reply::simple("RESET", out);
        }
        Kind::Auth => client::auth(request, shared, session, out),
        Kind::Hello => client::hello(request, shared, session, out),
        Kind::Client => client::client(request, shared, session, out),
        Kind::Config => info::config(request, session.protocol, out),
        Kind::Command => info::commands(request, session.protocol, out),
        Kind::Info => info::info(request, shared, reading, session.protocol, out),
        Kind::Dbsize => reply::integer(info::count(reading).await, out),
        Kind::Time => info::time(out),
        Kind::Keys => reply::error("ERR KEYS would read every key at once: use SCAN", out),
        Kind::Multi => reply::error(
            "ERR MULTI is not supported: nothing is written here, and one MGET reads one view as of one moment; \
             pipelines need no transaction (redis-py: pipeline(transaction=False))",
            out,
        ),
        Kind::Position => match session.last_shown() {
            Some((source, position)) => reply::bulk(positions::show(source, position).as_bytes(), out),
            None => reply::null(session.protocol, out),
        },
        Kind::Wait => match wait(request, reading, session).await {
            Ok(()) => reply::simple("OK", out),
            Err(text) => reply::error(&text, out),
        },
        Kind::Scan => match scan::scan(request, shared, reading).await {
            Ok(page) => page.write(out),
            Err(text) => reply::error(&text, out),
        },
        Kind::Exists
        | Kind::Type
        | Kind::Ttl
        | Kind::Zcard
        | Kind::Zcount
        | Kind::Zrange
        | Kind::Zrevrange
        | Kind::Zrangebyscore
        | Kind::Zrevrangebyscore => {
            let answered = rankings::answer(command.kind, request, reading, session, out).await;
            answered.unwrap_or_else(|text| reply::error(&text, out));
        }
        Kind::Get
        | Kind::Mget
        | Kind::Strlen
        | Kind::Hget
        | Kind::Hmget
        | Kind::Hgetall
        | Kind::Hkeys
        | Kind::Hvals
        | Kind::Hlen
        | Kind::Hexists
        | Kind::Zscore
        | Kind::Zmscore => reply::error(WRONG_TYPE, out),
    }
    work.out.write_if_many().await?;
    Ok(Next::Continue)
}

/// `HEADWATER.WAIT position [timeout-ms]`; where sources have names, `SOURCE=position`, or several of them in one argument.
async fn wait(request: Request<'_>, reading: &Reading, session: &mut Session) -> Result<(), String> {
    let millis = match request.len() {
        2 => WAIT_MS,
        3 => {
            let most = WITHIN_MAX.as_millis() as i64;
            let millis = request.integer(2).filter(|millis| (0..=most).contains(millis));
            let wrong = || format!("ERR the timeout is not a number of milliseconds from 0 to {most}");
            millis.ok_or_else(wrong)?.unsigned_abs()
        }
        _ => return Err(wrong_arity("HEADWATER.WAIT")),
    };
    let text = String::from_utf8_lossy(request.get(1));
    let wrong =
        |refused: positions::NoSource| format!("ERR the position {}: {}", refused.message, refused.remedy);
    let asked = positions::each(&text, &reading.sources).map_err(wrong)?;
    if asked.iter().any(|(source, _)| source.is_none()) && !reading.sources.is_empty() {
        let sources = reading.sources.join(", ");
        return Err(format!(
            "ERR say of which source the position is: SOURCE=POSITION; the sources are {sources}"
        ));
    }
    let until = Instant::now() + Duration::from_millis(millis);
    for (source, position) in asked {
        let Some(flow) = reading.flows.iter().find(|flow| flow.name.as_deref() == source) else {
            let source = source.unwrap_or_default();
            return Err(format!(
                "LOADING source `{source}` cannot be looked at yet: nothing shows a position of it"
            ));
        };
        let position = flow.serving.position(position).map_err(|refused| failure::text(&refused))?;
        let patterns =
            reading.views.iter().filter(|served| served.source == flow.name).map(|served| &*served.get);
        let left = until.saturating_duration_since(Instant::now());
        flow.serving.wait(patterns, &position, left).await.map_err(|refused| failure::text(&refused))?;
        session.demands(&flow.name, position);
    }
    Ok(())
}
