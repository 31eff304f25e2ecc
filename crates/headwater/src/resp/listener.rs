//! Accepting connections, on a thread of their own.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater_model::file::{TlsFiles, Token};
use headwater_model::{Error, ErrorKind, Result, ViewId};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::buffers::HeldBytes;
use super::connection::Connection;
use super::session::Session;
use super::shared::{Flow, Shared};
use super::tokens::Tokens;
use super::views::key_name;
use crate::tls::Certificate;

/// Connections at once, if the process may have so many files open.
const CONNECTIONS_MAX: usize = 20_000;

/// Files that are left for everything else.
const FILES_SPARED: u64 = 512;

/// What connections may hold together: parts of requests, and replies that are not read.
const HELD_BYTES_MAX: usize = 256 << 20;

/// A TLS handshake is done after so long.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// What the file says.
pub struct Options {
    pub address: SocketAddr,
    pub tls: Option<TlsFiles>,
    pub tokens: Vec<Token>,
    /// The views of each source that has a name.
    pub sources: Vec<(Box<str>, Vec<ViewId>)>,
}

/// What is answered, on whichever port.
pub struct Server {
    address: SocketAddr,
    certificate: Option<Arc<Certificate>>,
    shared: Arc<Shared>,
}

impl Server {
    /// `Misconfigured` if the certificate cannot be used.
    pub fn new(options: Options) -> Result<Server> {
        let certificate = options.tls.map(|files| Certificate::load(files, None)).transpose()?.map(Arc::new);
        let names = options.sources.iter().map(|(source, _)| source.clone()).collect();
        let waiting = options
            .sources
            .into_iter()
            .flat_map(|(source, views)| views.into_iter().map(move |view| (key_name(&view), source.clone())));
        let shared = Shared::new(waiting.collect(), names, Tokens::new(options.tokens));
        Ok(Server { address: options.address, certificate, shared: Arc::new(shared) })
    }

    /// From now on this source is read from.
    pub fn open(&self, flow: Flow) {
        self.shared.open(flow);
    }

    /// Takes the port and answers on a thread of its own until cancelled; connections end with it. `Transient` if
    /// something else has the port, `Misconfigured` if it cannot be had.
    pub fn listen(&self, cancel: CancellationToken) -> Result<()> {
        let listener = bind(self.address)?;
        let door = Door { certificate: self.certificate.clone(), shared: Arc::clone(&self.shared) };
        let spawned = std::thread::Builder::new().name("resp".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let ended = runtime.and_then(|runtime| {
                let ended = runtime.block_on(door.run(listener, cancel));
                runtime.shutdown_background();
                ended
            });
            if let Err(error) = ended {
                warn!(%error, "the Redis protocol is not answered");
            }
        });
        spawned.map_err(|error| Error::transient("start a thread").with_cause(error))?;
        Ok(())
    }
}

fn bind(address: SocketAddr) -> Result<std::net::TcpListener> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        info!(address = %listener.local_addr()?, "the Redis protocol is answered");
        Ok(listener)
    });
    bound.map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::AddrInUse => ErrorKind::Transient,
            _ => ErrorKind::Misconfigured,
        };
        Error::new(kind, format!("cannot listen on {address}"))
            .with_cause(error)
            .with_remedy("give `resp` in [serve] another address, or \"off\"")
    })
}

/// Lets connections in.
struct Door {
    certificate: Option<Arc<Certificate>>,
    shared: Arc<Shared>,
}

impl Door {
    async fn run(self, listener: std::net::TcpListener, cancel: CancellationToken) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let most = connections_max();
        let held = HeldBytes::new(HELD_BYTES_MAX);
        loop {
            let accepted = tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly too many open files: some will be closed.
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if self.shared.connections.load(Ordering::Relaxed) >= most {
                self.shared.refused_total.fetch_add(1, Ordering::Relaxed);
                refuse(stream);
                continue;
            }
            let id = self.shared.connections_total.fetch_add(1, Ordering::Relaxed) + 1;
            let session = Session::new(id, peer.to_string().into(), self.shared.tokens.anyone());
            // Replies are written whole: there is nothing to gather.
            let _ = stream.set_nodelay(true);
            let counted = Counted::new(&self.shared);
            let tls = self.certificate.as_ref().map(|certificate| certificate.acceptor());
            let (shared, held) = (Arc::clone(&self.shared), held.share());
            match tls {
                None => {
                    let connection = Connection::new(stream, shared, session, held);
                    tokio::spawn(async move {
                        let _counted = counted;
                        // Its end, however it came, concerns the client alone.
                        let _ = connection.run().await;
                    });
                }
                Some(tls) => {
                    tokio::spawn(async move {
                        let _counted = counted;
                        if let Ok(Ok(stream)) = timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await {
                            let _ = Box::pin(Connection::new(stream, shared, session, held).run()).await;
                        }
                    });
                }
            }
        }
    }
}

/// Says why, as far as that can be said without waiting.
fn refuse(stream: TcpStream) {
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write_all(b"-ERR max number of clients reached\r\n");
    }
}

/// One connection more, while it lives.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: &Arc<Shared>) -> Counted {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(shared))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// As many as there may be open files, less those for everything else.
fn connections_max() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    let Ok((files, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return CONNECTIONS_MAX };
    usize::try_from(files.saturating_sub(FILES_SPARED)).unwrap_or(CONNECTIONS_MAX).clamp(64, CONNECTIONS_MAX)
}
