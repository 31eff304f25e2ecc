//! Commands about the connection itself: AUTH, HELLO, CLIENT.

use std::sync::atomic::Ordering;

use super::execute::{Request, wrong_arity};
use super::reply::{self, Protocol};
use super::session::{NAME_BYTES_MAX, Session};
use super::shared::Shared;

/// What the protocol's clients look at to know what a server can do. Headwater's own version is told beside it.
pub const REDIS_VERSION: &str = "7.2.0";

const WRONG_PASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// `AUTH [user] token`
pub fn auth(request: Request<'_>, shared: &Shared, session: &mut Session, out: &mut Vec<u8>) {
    let (user, secret) = match request.len() {
        2 => (None, request.get(1)),
        3 => (Some(request.get(1)), request.get(2)),
        _ => return reply::error(&wrong_arity("AUTH"), out),
    };
    match admit(user, secret, shared) {
        Ok(name) => {
            session.user = Some(name);
            reply::simple("OK", out);
        }
        Err(text) => reply::error(text, out),
    }
}

fn admit(user: Option<&[u8]>, secret: &[u8], shared: &Shared) -> Result<Box<str>, &'static str> {
    if !shared.tokens.are_needed() {
        return Err("ERR AUTH called, but no token is needed: [serve.tokens] of headwater.toml is empty");
    }
    shared.tokens.name(user, secret).ok_or(WRONG_PASS)
}

/// `HELLO [2|3 [AUTH user token] [SETNAME name]]`
pub fn hello(request: Request<'_>, shared: &Shared, session: &mut Session, out: &mut Vec<u8>) {
    let mut protocol = session.protocol;
    if request.len() > 1 {
        protocol = match request.get(1) {
            b"2" => Protocol::Two,
            b"3" => Protocol::Three,
            other if other.iter().all(u8::is_ascii_digit) => {
                return reply::error("NOPROTO unsupported protocol version", out);
            }
            _ => return reply::error("ERR Protocol version is not an integer or out of range", out),
        };
    }
    let (mut user, mut name) = (session.user.clone(), None);
    let mut at = 2;
    while at < request.len() {
        if request.is(at, "AUTH") && at + 2 < request.len() {
            match admit(Some(request.get(at + 1)), request.get(at + 2), shared) {
                Ok(admitted) => user = Some(admitted),
                Err(text) => return reply::error(text, out),
            }
            at += 3;
        } else if request.is(at, "SETNAME") && at + 1 < request.len() {
            match self::name(request.get(at + 1)) {
                Ok(given) => name = Some(given),
                Err(text) => return reply::error(&text, out),
            }
            at += 2;
        } else {
            let option = String::from_utf8_lossy(request.get(at)).into_owned();
            return reply::error(&format!("ERR Syntax error in HELLO option '{option}'"), out);
        }
    }
    if user.is_none() {
        return reply::error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
            out,
        );
    }
    session.user = user;
    session.protocol = protocol;
    if let Some(name) = name {
        session.name = name;
    }
    reply::map(7, protocol, out);
    let texts = [("server", "redis"), ("version", REDIS_VERSION)];
    texts.iter().for_each(|(name, value)| pair(name, value, out));
    reply::bulk(b"proto", out);
    reply::integer(if protocol == Protocol::Three { 3 } else { 2 }, out);
    reply::bulk(b"id", out);
    reply::integer(session.id as i64, out);
    [("mode", "standalone"), ("role", "master")].iter().for_each(|(name, value)| pair(name, value, out));
    reply::bulk(b"modules", out);
    reply::array(0, out);
}

fn pair(name: &str, value: &str, out: &mut Vec<u8>) {
    reply::bulk(name.as_bytes(), out);
    reply::bulk(value.as_bytes(), out);
}

/// A name as CLIENT LIST can show it.
fn name(bytes: &[u8]) -> Result<Box<str>, String> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.bytes().all(|b| b > b' ' && b != 0x7f));
    match text {
        None => Err("ERR Client names cannot contain spaces, newlines or special characters.".to_owned()),
        Some(text) if text.len() > NAME_BYTES_MAX => {
            Err(format!("ERR a client's name is at most {NAME_BYTES_MAX} bytes"))
        }
        Some(text) => Ok(text.into()),
    }
}

pub fn client(request: Request<'_>, shared: &Shared, session: &mut Session, out: &mut Vec<u8>) {
    let sub = request.get(1).to_ascii_uppercase();
    match (&*sub, request.len()) {
        (b"ID", 2) => reply::integer(session.id as i64, out),
        (b"GETNAME", 2) if session.name.is_empty() => reply::null(session.protocol, out),
        (b"GETNAME", 2) => reply::bulk(session.name.as_bytes(), out),
        (b"SETNAME", 3) => match name(request.get(2)) {
            Ok(name) => {
                session.name = name;
                reply::simple("OK", out);
            }
            Err(text) => reply::error(&text, out),
        },
        (b"SETINFO", 4) => match (request.get(2).to_ascii_uppercase().as_slice(), name(request.get(3))) {
            (b"LIB-NAME", Ok(name)) => {
                session.library = name;
                reply::simple("OK", out);
            }
            (b"LIB-VER", Ok(version)) => {
                session.library_version = version;
                reply::simple("OK", out);
            }
            (_, Err(text)) => reply::error(&text, out),
            (_, Ok(_)) => reply::error("ERR CLIENT SETINFO takes LIB-NAME or LIB-VER", out),
        },
        // Of this connection alone: who else reads is nobody's business here.
        (b"INFO", 2) => reply::verbatim(&describe(shared, session), session.protocol, out),
        (b"LIST", _) => reply::verbatim(&describe(shared, session), session.protocol, out),
        (b"NO-EVICT" | b"NO-TOUCH", 3) => reply::simple("OK", out),
        (b"GETREDIR", 2) => reply::integer(-1, out),
        (
            b"ID" | b"GETNAME" | b"SETNAME" | b"SETINFO" | b"INFO" | b"NO-EVICT" | b"NO-TOUCH" | b"GETREDIR",
            _,
        ) => {
            let sub = String::from_utf8_lossy(&sub).to_ascii_lowercase();
            reply::error(&wrong_arity(&format!("client|{sub}")), out);
        }
        _ => {
            let sub = String::from_utf8_lossy(request.get(1)).chars().take(64).collect::<String>();
            reply::error(
                &format!("ERR unknown subcommand '{sub}'. Try CLIENT ID, SETNAME, SETINFO, INFO."),
                out,
            );
        }
    }
}

fn describe(shared: &Shared, session: &Session) -> String {
    format!(
        "id={} addr={} name={} db=0 user={} resp={} lib-name={} lib-ver={} total-connections={}\n",
        session.id,
        session.peer,
        session.name,
        session.user.as_deref().unwrap_or_default(),
        if session.protocol == Protocol::Three { 3 } else { 2 },
        session.library,
        session.library_version,
        shared.connections.load(Ordering::Relaxed),
    )
}
