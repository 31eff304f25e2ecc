//! The port and its connections: how many, for how long, and their end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use headwater_model::{Error, ErrorKind, Result};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;
use tracing::{info, warn};

use super::gate::Gate;
use super::pace::{Paced, Turns};
use super::site::Site;
use super::{Options, routes};
use crate::tls::Certificate;

/// A client that does not finish its handshake is let go after this.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Before listening again when the process has no descriptor left.
const NO_DESCRIPTOR_PAUSE: Duration = Duration::from_millis(100);
/// Connections beyond the bound that are told so at once; the others are just closed.
const REFUSALS_AT_ONCE: usize = 64;
const REFUSE_WITHIN: Duration = Duration::from_secs(1);
const REFUSAL: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
                       Retry-After: 1\r\nConnection: close\r\nContent-Length: 145\r\n\r\n";
const REFUSAL_BODY: &str = "{\"type\":\"/problems/overloaded\",\"title\":\"Too many requests at once\",\"status\":503,\
                            \"detail\":\"too many connections\",\"remedy\":\"use connections again\"}";

/// A port that is listened on.
pub struct Server {
    listener: TcpListener,
    door: Arc<Door>,
    certificate: Option<Arc<Certificate>>,
}

/// What every connection needs.
struct Door {
    gate: Arc<Gate>,
    routes: Router,
    options: Options,
}

impl Server {
    /// Takes the port. `Transient` if something else has it, `Misconfigured` if it cannot be had or the certificate cannot
    /// be used.
    pub async fn bind(options: Options, site: Arc<Site>) -> Result<Server> {
        let certificate = options
            .tls
            .clone()
            .map(|files| Certificate::load(files, Some("http/1.1")))
            .transpose()?
            .map(Arc::new);
        let listener = TcpListener::bind(options.listen).await.map_err(|error| cannot(&options, error))?;
        let door =
            Arc::new(Door { gate: Arc::new(Gate::new(&options)), routes: routes::routes(site), options });
        Ok(Server { listener, door, certificate })
    }

    /// Where it is reached: the port is the real one where the file leaves the choice.
    pub fn url(&self) -> Result<String> {
        let address = self
            .listener
            .local_addr()
            .map_err(|error| Error::transient("which port is listened on").with_cause(error))?;
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{address}"))
    }

    /// Answers until cancelled; then ends connections as they finish what they do, and returns when all have. Whoever does
    /// not want to wait that long drops this.
    pub async fn run(self, cancel: CancellationToken) {
        // Whatever becomes of this future, no connection outlives it.
        let abandon = CancellationToken::new();
        let _abandoned = abandon.clone().drop_guard();
        let connections = TaskTracker::new();
        let free = Arc::new(Semaphore::new(self.door.options.bounds.connections));
        let refusals = Arc::new(Semaphore::new(REFUSALS_AT_ONCE));
        loop {
            let accepted = tokio::select! {
                () = cancel.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) if is_of_the_client(&error) => continue,
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(NO_DESCRIPTOR_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
                if self.certificate.is_none()
                    && let Ok(permit) = Arc::clone(&refusals).try_acquire_owned()
                {
                    connections.spawn(refuse(stream, permit));
                }
                continue;
            };
            let connection =
                connection(stream, Arc::clone(&self.door), self.certificate.clone(), cancel.clone(), permit);
            let abandon = abandon.clone();
            connections.spawn(async move { abandon.run_until_cancelled(connection).await });
        }
        drop(self.listener);
        connections.close();
        connections.wait().await;
        info!("no reader is connected any more");
    }
}

fn cannot(options: &Options, error: io::Error) -> Error {
    let address = options.listen;
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "something listens there already: stop it, or give `listen` in [serve] another port, or \"off\" (`ss -ltnp \
             'sport = :{}'` says who)",
            address.port()
        ),
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are for the system: give `listen` in [serve] another one".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: give `listen` in [serve] one that it has".to_owned()
        }
        _ => "give `listen` in [serve] another address, or \"off\"".to_owned(),
    };
    let kind = match error.kind() {
        io::ErrorKind::AddrInUse => ErrorKind::Transient,
        _ => ErrorKind::Misconfigured,
    };
    Error::new(kind, format!("cannot listen on {address}")).with_cause(error).with_remedy(remedy)
}

/// The client went away before it was accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

async fn refuse(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    // Who does not wait for the answer needs none.
    let _ = timeout(REFUSE_WITHIN, async {
        stream.write_all(REFUSAL.as_bytes()).await?;
        stream.write_all(REFUSAL_BODY.as_bytes()).await?;
        stream.shutdown().await
    })
    .await;
}

async fn connection(
    stream: TcpStream,
    door: Arc<Door>,
    certificate: Option<Arc<Certificate>>,
    cancel: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    // Answers are written whole; waiting for more to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    // Until a client says something it costs no buffer.
    let idle_for = door.options.bounds.idle_for;
    let mut first = [0];
    let said = tokio::select! {
        () = cancel.cancelled() => return,
        said = timeout(idle_for, stream.peek(&mut first)) => said,
    };
    if !matches!(said, Ok(Ok(1..))) {
        return;
    }
    // Boxed: what it takes to speak is large, and most of those that are connected say nothing.
    match certificate {
        None => Box::pin(speak(stream, door, cancel)).await,
        Some(certificate) => Box::pin(speak_tls(stream, certificate, door, cancel)).await,
    }
}

async fn speak_tls(
    stream: TcpStream,
    certificate: Arc<Certificate>,
    door: Arc<Door>,
    cancel: CancellationToken,
) {
    // Who cannot agree on a cipher, or is no TLS client at all, has been told so by the handshake.
    if let Ok(Ok(stream)) = timeout(HANDSHAKE_WITHIN, certificate.acceptor().accept(stream)).await {
        speak(stream, door, cancel).await;
    }
}

/// HTTP/1.1 until either side ends it.
async fn speak<S: AsyncRead + AsyncWrite + Unpin>(stream: S, door: Arc<Door>, cancel: CancellationToken) {
    let turns = Arc::<Turns>::default();
    let bounds = &door.options.bounds;
    let io = TokioIo::new(Paced::new(stream, Arc::clone(&turns), bounds));
    let service = service_fn(|request| {
        let (door, turn) = (Arc::clone(&door), turns.begin());
        async move {
            let response = door.answer(request).await;
            drop(turn);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(bounds.head_bytes)
        .max_headers(bounds.header_fields)
        .half_close(false)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    // How a connection ends is its client's matter.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

impl Door {
    async fn answer(&self, request: Request<Incoming>) -> Response {
        let pass = match self.gate.pass(&request) {
            Ok(pass) => pass,
            Err(problem) => return problem.into_response(),
        };
        // What a read carries as a body is not looked at.
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let mut request = request.map(|body| if reads { Body::empty() } else { Body::new(body) });
        request.extensions_mut().insert(pass.who);
        request.extensions_mut().insert(pass.holder.clone());
        let answered = self.routes.clone().call(request).await;
        drop(pass);
        answered.unwrap_or_else(|never| match never {})
    }
}

/// Lets this process have as many connections as the system allows it: the usual limit is far below it.
pub fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        warn!(%error, "the number of connections stays limited to {soft}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let said = REFUSAL.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        assert_eq!(said, Some(&*REFUSAL_BODY.len().to_string()));
        assert!(serde_json::from_str::<serde_json::Value>(REFUSAL_BODY).is_ok());
    }
}
