//! One connection: start, TLS, authentication, simple queries, COPY. Used for SQL and for replication alike, so there
//! is one place that speaks the protocol.
//!
//! Every session reads values in the same form (see [`SESSION`]), whatever the server, database or role defaults are.

use std::collections::HashMap;
use std::time::Duration;

use headwater_model::{Error, ErrorKind, Result};
use postgres_protocol::IsNull;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

use super::config::{Config, Host, SessionAttrs, TlsMode};
use super::error::ServerError;
use super::line::{self, Course};
use super::tls;
use super::wire::{Frame, Io, Wire, broken};

/// How values look, and how our sessions behave. `row_security = off` turns silently filtered rows into an error.
/// `synchronous_commit = local` keeps marks from waiting for standbys.
const SESSION: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("xmloption", "content"),
    ("standard_conforming_strings", "on"),
    ("search_path", ""),
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "300000"),
    ("lock_timeout", "30000"),
];

/// More of it, for sessions that run SQL.
const SQL_SESSION: &[(&str, &str)] =
    &[("row_security", "off"), ("jit", "off"), ("quote_all_identifiers", "off")];

/// And for those at a source. What a store commits is as durable as its server is set to be.
const SOURCE_SESSION: &[(&str, &str)] = &[("synchronous_commit", "local")];

/// No answer for this long means that the server or the network is gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Rows of a COPY to the server travel in messages of this size.
pub(super) const COPY_PIECE_BYTES: usize = 128 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// SQL at a source.
    Sql,
    Replication,
    /// SQL at a store.
    Store,
}

pub(super) struct Connection {
    pub wire: Wire,
    parameters: HashMap<String, String>,
    /// Whose server it is, as far as it says.
    pub course: Option<Course>,
    /// Whether the server waits for the next command: after an error it does once the error is read to its end.
    ready: bool,
}

/// A statement, and its parameters as the texts that their types read.
pub(super) struct Bound<'a> {
    pub sql: &'a str,
    pub params: &'a [Option<String>],
}

/// A result row in text form.
pub(super) type Row = Vec<Option<String>>;

impl Connection {
    /// Tries the hosts in order, the usual one first, and returns the first that answers, has the wanted role and is not left
    /// behind by a failover.
    pub async fn open(config: &Config, purpose: Purpose) -> Result<Connection> {
        let mut failed: Option<Error> = None;
        for place in config.line.order(config.hosts.len()) {
            let host = &config.hosts[place];
            let attempt = async {
                let mut connection = Connection::open_host(config, host, purpose).await?;
                if let Some(why) = connection.refuses_role(config.session) {
                    return Err(Error::transient(why));
                }
                connection.course = match purpose {
                    Purpose::Sql | Purpose::Store => line::course_of_session(&mut connection).await?,
                    Purpose::Replication => Some(line::identify(&mut connection).await?.0),
                };
                match &connection.course {
                    Some(course) => config.line.judge(course).map(|()| connection),
                    None => Ok(connection),
                }
            };
            let error = match timeout(config.connect_within, attempt).await {
                Ok(Ok(connection)) => {
                    config.line.answered(place);
                    return Ok(connection);
                }
                Ok(Err(error)) => error.while_doing(format!("connect to {host}")),
                Err(_) => Error::transient(format!("connect to {host}: no answer in time")),
            };
            // A later host may do, so an error counts only when all failed. What one of them has become says more than that
            // another is away; else the first names the usual host.
            if failed
                .as_ref()
                .is_none_or(|failed| failed.is_retryable() && error.kind() == ErrorKind::OutOfStep)
            {
                failed = Some(error);
            }
        }
        Err(failed.unwrap_or_else(|| Error::misconfigured("the URL names no host")))
    }

    async fn open_host(config: &Config, host: &Host, purpose: Purpose) -> Result<Connection> {
        let io = connect(config, host).await?;
        let mut connection =
            Connection { wire: Wire::new(io), parameters: HashMap::new(), course: None, ready: false };
        let mut parameters = vec![
            ("user", config.user.as_str()),
            ("database", config.database.as_str()),
            ("application_name", config.application_name.as_str()),
        ];
        parameters.extend_from_slice(SESSION);
        match purpose {
            Purpose::Sql => parameters.extend(SQL_SESSION.iter().chain(SOURCE_SESSION)),
            Purpose::Store => parameters.extend_from_slice(SQL_SESSION),
            Purpose::Replication => parameters.push(("replication", "database")),
        }
        frontend::startup_message(parameters, &mut connection.wire.output).map_err(encode)?;
        connection.authenticate(config).await?;
        // Until ReadyForQuery: parameters and the key for cancelling.
        while connection.answer().await?.tag != b'Z' {}
        connection.ready = true;
        if connection.parameters.get("server_encoding").is_some_and(|encoding| encoding == "SQL_ASCII") {
            // Such a database takes any bytes, and would refuse to give them away as UTF-8: with one of them the whole read.
            connection.query("SET client_encoding = 'SQL_ASCII'").await?;
        }
        Ok(connection)
    }

    async fn authenticate(&mut self, config: &Config) -> Result<()> {
        let password = || {
            config.password.as_ref().map(|p| p.reveal().as_bytes()).ok_or_else(|| {
                Error::new(ErrorKind::Denied, "the server asks for a password and the URL has none")
                    .with_remedy("put a reference into the URL: postgres://user:${PGPASSWORD}@host/db")
            })
        };
        loop {
            self.wire.flush().await?;
            let frame = self.answer().await?;
            if frame.tag != b'R' {
                return Err(unexpected(frame.tag, "authentication"));
            }
            let body = self.wire.bytes(frame.body);
            let (Some(method), rest) = (body.first_chunk::<4>(), body.get(4..).unwrap_or_default()) else {
                return Err(Error::transient("the server sent a torn authentication request"));
            };
            match u32::from_be_bytes(*method) {
                0 => return Ok(()),
                3 => frontend::password_message(password()?, &mut self.wire.output).map_err(encode)?,
                5 => {
                    let salt = *rest.first_chunk::<4>().ok_or_else(|| Error::transient("no salt"))?;
                    let hash = md5_hash(config.user.as_bytes(), password()?, salt);
                    frontend::password_message(hash.as_bytes(), &mut self.wire.output).map_err(encode)?;
                }
                10 => {
                    if !rest.split(|b| *b == 0).any(|mechanism| mechanism == SCRAM_SHA_256.as_bytes()) {
                        return Err(Error::unsupported("the server offers no SASL mechanism that we know"));
                    }
                    self.scram(password()?).await?;
                }
                other => {
                    return Err(Error::unsupported(format!(
                        "authentication method {other} is not supported"
                    ))
                    .with_remedy("use scram-sha-256 in pg_hba.conf for this role"));
                }
            }
        }
    }

    async fn scram(&mut self, password: &[u8]) -> Result<()> {
        let failed = |e: std::io::Error| Error::new(ErrorKind::Denied, "SCRAM failed").with_cause(e);
        let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut self.wire.output)
            .map_err(encode)?;
        self.wire.flush().await?;
        let frame = self.answer().await?;
        scram.update(sasl_body(&self.wire, &frame, 11)?).map_err(failed)?;
        frontend::sasl_response(scram.message(), &mut self.wire.output).map_err(encode)?;
        self.wire.flush().await?;
        let frame = self.answer().await?;
        scram.finish(sasl_body(&self.wire, &frame, 12)?).map_err(failed)
    }

    /// Why this server does not have the wanted role, from what it reports at start (PostgreSQL 14+).
    fn refuses_role(&self, wanted: SessionAttrs) -> Option<&'static str> {
        let on = |name: &str| self.parameters.get(name).is_some_and(|value| value == "on");
        let standby = on("in_hot_standby");
        let read_only = standby || on("default_transaction_read_only");
        match wanted {
            SessionAttrs::ReadWrite if read_only => Some("is read-only"),
            SessionAttrs::Primary if standby => Some("is a standby"),
            SessionAttrs::ReadOnly if !read_only => Some("is not read-only"),
            SessionAttrs::Standby if !standby => Some("is not a standby"),
            _ => None,
        }
    }

    pub fn is_standby(&self) -> bool {
        self.parameters.get("in_hot_standby").is_some_and(|value| value == "on")
    }

    /// The server's version as a number: 150018 for 15.18.
    pub fn version(&self) -> u32 {
        let text = self.server_version();
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse::<u32>().unwrap_or(0));
        parts.next().unwrap_or(0) * 10_000 + parts.next().unwrap_or(0)
    }

    /// As `pg_encoding_to_char` names it.
    pub fn server_encoding(&self) -> &str {
        self.parameters.get("server_encoding").map_or("", String::as_str)
    }

    pub fn server_version(&self) -> &str {
        self.parameters.get("server_version").map_or("", |v| v.split(' ').next().unwrap_or(v))
    }

    /// The next message that is an answer: notices are passed over, parameters kept, errors returned.
    async fn answer(&mut self) -> Result<Frame> {
        Ok(self.reply().await??)
    }

    /// [`Connection::answer`], with what the server refuses apart from a connection that broke.
    async fn reply(&mut self) -> Result<Result<Frame, ServerError>> {
        self.reply_within(ANSWER_WITHIN).await
    }

    async fn reply_within(&mut self, limit: Duration) -> Result<Result<Frame, ServerError>> {
        loop {
            while let Some(frame) = self.wire.next_frame()? {
                match frame.tag {
                    b'N' | b'A' => {}
                    b'S' => {
                        let body = self.wire.bytes(frame.body);
                        let mut parts = body.split(|b| *b == 0).map(String::from_utf8_lossy);
                        if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                            self.parameters.insert(name.into_owned(), value.into_owned());
                        }
                    }
                    b'E' => return Ok(Err(ServerError::parse(self.wire.bytes(frame.body)))),
                    _ => return Ok(Ok(frame)),
                }
            }
            timeout(limit, self.wire.fill())
                .await
                .map_err(|_| Error::transient("the server does not answer"))??;
        }
    }

    /// Runs one or more statements and returns the rows of all of them. After an error the connection may be used
    /// again only if it was a server error; callers drop it in any case.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        self.run(sql, &mut rows, |_| Err(Error::bug("a query started a COPY"))).await?;
        Ok(rows)
    }

    /// Like `query`, for statements that may be refused: after that the connection is ready again. Waits as long as the server
    /// works: whoever asks sets a `statement_timeout`.
    pub async fn attempt(&mut self, sql: &str) -> Result<Result<Vec<Row>, ServerError>> {
        self.ready = false;
        frontend::query(sql, &mut self.wire.output).map_err(encode)?;
        self.wire.flush().await?;
        let (mut rows, mut refused) = (Vec::new(), None);
        loop {
            let frame = match self.reply_within(Duration::MAX).await? {
                Ok(frame) => frame,
                Err(error) => {
                    refused.get_or_insert(error);
                    continue;
                }
            };
            match frame.tag {
                b'D' => rows.push(data_row(self.wire.bytes(frame.body))?),
                b'Z' => {
                    self.ready = true;
                    return Ok(refused.map_or(Ok(rows), Err));
                }
                b'C' | b'T' | b'I' => {}
                other => return Err(unexpected(other, "a query")),
            }
        }
    }

    /// Like `query`, and hands each piece of COPY data to `copied` (for COPY TO, one row of text each). When `copied`
    /// has enough it says `false`: then this returns `false` at once and the connection cannot be used any more.
    pub async fn run(
        &mut self,
        sql: &str,
        rows: &mut Vec<Row>,
        mut copied: impl FnMut(&[u8]) -> Result<bool>,
    ) -> Result<bool> {
        self.ready = false;
        frontend::query(sql, &mut self.wire.output).map_err(encode)?;
        self.wire.flush().await?;
        loop {
            let frame = self.answer().await?;
            match frame.tag {
                b'd' => {
                    if !copied(self.wire.bytes(frame.body))? {
                        return Ok(false);
                    }
                }
                b'D' => rows.push(data_row(self.wire.bytes(frame.body))?),
                b'Z' => {
                    self.ready = true;
                    return Ok(true);
                }
                b'C' | b'T' | b'I' | b'H' | b'c' => {}
                other => return Err(unexpected(other, "a query")),
            }
        }
    }

    /// Runs statements with parameters, sent at once and answered in one go as one transaction, and returns the rows of
    /// each. `Unsupported` if these are larger than `bytes_max` in sum. After a server error the connection
    /// [is ready](Connection::is_ready) again.
    pub async fn run_bound(&mut self, statements: &[Bound<'_>], bytes_max: usize) -> Result<Vec<Vec<Row>>> {
        self.ready = false;
        for statement in statements {
            let output = &mut self.wire.output;
            frontend::parse("", statement.sql, [], output).map_err(encode)?;
            bind(statement.params, output)?;
            frontend::execute("", 0, output).map_err(encode)?;
        }
        frontend::sync(&mut self.wire.output);
        self.wire.flush().await?;
        let mut results = Vec::with_capacity(statements.len());
        let (mut rows, mut bytes, mut failed) = (Vec::new(), 0, None);
        loop {
            let frame = match self.reply().await? {
                Ok(frame) => frame,
                Err(error) => {
                    // What was sent behind it is passed over, up to the sync.
                    failed.get_or_insert(error);
                    continue;
                }
            };
            match frame.tag {
                b'D' => {
                    bytes += frame.body.len();
                    if bytes > bytes_max {
                        return Err(Error::unsupported(format!(
                            "the answer has more than {bytes_max} bytes"
                        ))
                        .with_remedy("ask for fewer documents at once"));
                    }
                    rows.push(data_row(self.wire.bytes(frame.body))?);
                }
                b'C' | b'I' => results.push(std::mem::take(&mut rows)),
                b'Z' => {
                    self.ready = true;
                    break;
                }
                b'1' | b'2' => {}
                other => return Err(unexpected(other, "a query")),
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(results),
        }
    }

    /// Starts a `COPY … FROM STDIN`: its rows go by [`Connection::copy`], and [`Connection::end_copy`] ends it.
    pub async fn begin_copy(&mut self, sql: &str) -> Result<()> {
        self.ready = false;
        frontend::query(sql, &mut self.wire.output).map_err(encode)?;
        self.wire.flush().await?;
        match self.answer().await?.tag {
            b'G' => Ok(()),
            other => Err(unexpected(other, "a COPY to the server")),
        }
    }

    /// Rows in COPY's text form, or a part of them.
    pub async fn copy(&mut self, rows: &[u8]) -> Result<()> {
        for piece in rows.chunks(COPY_PIECE_BYTES) {
            let data = frontend::CopyData::new(piece).map_err(encode)?;
            data.write(&mut self.wire.output);
            // After an error the server reads on and drops what comes, so this never waits for a reader that is gone.
            self.wire.flush().await?;
        }
        Ok(())
    }

    pub async fn end_copy(&mut self) -> Result<()> {
        frontend::copy_done(&mut self.wire.output);
        self.wire.flush().await?;
        loop {
            match self.answer().await?.tag {
                b'C' => {}
                b'Z' => {
                    self.ready = true;
                    return Ok(());
                }
                other => return Err(unexpected(other, "a COPY to the server")),
            }
        }
    }

    /// Whether the server waits for the next command.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Starts a COPY in both directions: START_REPLICATION.
    pub async fn copy_both(&mut self, command: &str) -> Result<()> {
        frontend::query(command, &mut self.wire.output).map_err(encode)?;
        self.wire.flush().await?;
        match self.answer().await?.tag {
            b'W' => Ok(()),
            other => Err(unexpected(other, "START_REPLICATION")),
        }
    }

    /// Whether an idle connection still stands: nothing to read and not closed.
    pub async fn is_idle(&mut self) -> bool {
        use futures::FutureExt;
        // Whatever arrives while idle is most likely the server's farewell, and a new connection is cheap.
        self.wire.fill().now_or_never().is_none()
    }

    /// Says goodbye, so that the server does not log a lost connection. Best effort.
    pub async fn close(mut self) {
        frontend::terminate(&mut self.wire.output);
        let _ = timeout(Duration::from_secs(1), self.wire.flush()).await;
    }
}

async fn connect(config: &Config, host: &Host) -> Result<Box<dyn Io>> {
    let (name, tcp) = match host {
        Host::Unix(path) => {
            let socket = UnixStream::connect(path).await.map_err(broken)?;
            return Ok(Box::new(socket));
        }
        Host::Tcp { name, port } => (name, TcpStream::connect((name.as_str(), *port)).await.map_err(broken)?),
    };
    // Status updates are small and must not wait for more.
    tcp.set_nodelay(true).map_err(broken)?;
    let mode = config.tls.mode_for(host);
    if mode == TlsMode::Disable {
        return Ok(Box::new(tcp));
    }
    let mut wire = Wire::new(Box::new(tcp));
    frontend::ssl_request(&mut wire.output);
    wire.flush().await?;
    match wire.read_byte().await? {
        b'S' => {
            let server = ServerName::try_from(name.clone())
                .map_err(|e| Error::misconfigured("the host is no server name").with_cause(e))?;
            let connector = tls::connector(mode, &config.tls)?;
            let stream = connector.connect(server, wire.into_io()).await.map_err(tls_failed)?;
            Ok(Box::new(stream))
        }
        _ if mode == TlsMode::Prefer => Ok(wire.into_io()),
        _ => Err(Error::misconfigured("the server does not offer TLS").with_remedy(
            "turn on ssl at the server, or allow an unencrypted connection with sslmode=disable in the URL",
        )),
    }
}

/// A certificate that does not fit stays so; anything else may pass.
fn tls_failed(cause: std::io::Error) -> Error {
    let error = if cause.kind() == std::io::ErrorKind::InvalidData {
        Error::misconfigured("TLS with the server failed").with_remedy(
            "name the authority's certificate with sslrootcert, connect by the name in the server's \
             certificate, or choose a weaker sslmode",
        )
    } else {
        Error::transient("TLS with the server failed")
    };
    error.with_cause(cause)
}

fn sasl_body<'a>(wire: &'a Wire, frame: &Frame, expected: u32) -> Result<&'a [u8]> {
    let body = wire.bytes(frame.body.clone());
    match body.first_chunk::<4>() {
        Some(step) if frame.tag == b'R' && u32::from_be_bytes(*step) == expected => Ok(&body[4..]),
        _ => Err(Error::transient("the server broke off SCRAM")),
    }
}

/// Binds the unnamed statement; parameters and results are text.
fn bind(params: &[Option<String>], output: &mut bytes::BytesMut) -> Result<()> {
    let write = |param: &Option<String>, out: &mut bytes::BytesMut| match param {
        Some(text) => {
            out.extend_from_slice(text.as_bytes());
            Ok(IsNull::No)
        }
        None => Ok(IsNull::Yes),
    };
    frontend::bind("", "", [0], params, write, [0], output).map_err(|error| match error {
        frontend::BindError::Conversion(cause) => Error::bug("a parameter cannot be sent").with_cause(cause),
        frontend::BindError::Serialization(cause) => {
            Error::unsupported("the read has too many values, or too large ones").with_cause(cause)
        }
    })
}

fn data_row(body: &[u8]) -> Result<Row> {
    let torn = || Error::transient("the server sent a torn row");
    let mut rest = body.get(2..).ok_or_else(torn)?;
    let mut row = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        rest = tail;
        match i32::from_be_bytes(*length) {
            -1 => row.push(None),
            length => {
                let (cell, tail) = rest.split_at_checked(length as usize).ok_or_else(torn)?;
                row.push(Some(String::from_utf8_lossy(cell).into_owned()));
                rest = tail;
            }
        }
    }
    Ok(row)
}

fn unexpected(tag: u8, during: &str) -> Error {
    Error::transient(format!("the server sent message {:?} during {during}", char::from(tag)))
}

fn encode(cause: std::io::Error) -> Error {
    Error::misconfigured("a name or text holds a zero byte or is too long").with_cause(cause)
}
