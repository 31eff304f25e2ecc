//! A TCP proxy between a client and an engine: cuts connections, refuses new ones, holds one direction or both, delays and
//! throttles bytes, and leads to another engine after a failover.
//!
//! It knows nothing of protocols. Bytes are never changed or reordered; what was not passed on when a cut came is lost,
//! as on a real network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to bytes now.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Weather {
    /// Where new connections lead to, on 127.0.0.1.
    port: u16,
    /// Grows with each cut: connections of an older one are closed.
    cuts: u64,
    refuse: bool,
    /// Nothing that the client sends is passed on, and nothing is lost.
    hold_requests: bool,
    /// The same of what the engine sends.
    hold_replies: bool,
    delay: Duration,
    bytes_per_second: Option<u64>,
}

impl Weather {
    fn fine(port: u16, cuts: u64) -> Weather {
        Weather {
            port,
            cuts,
            refuse: false,
            hold_requests: false,
            hold_replies: false,
            delay: Duration::ZERO,
            bytes_per_second: None,
        }
    }
}

/// A proxy on a port of its own. Ends with all its connections on drop.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    passed: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of the engine that listens on `port` of 127.0.0.1, on a port of 127.0.0.1.
    pub async fn to(port: u16) -> Proxy {
        Proxy::at(IpAddr::V4(Ipv4Addr::LOCALHOST), port).await
    }

    /// In front of the engine that listens on `port` of 127.0.0.1, on a port of another address of this machine.
    pub async fn at(address: IpAddr, port: u16) -> Proxy {
        let listener = TcpListener::bind((address, 0)).await.expect("open the proxy's port");
        let address = listener.local_addr().expect("the proxy's port");
        let (weather, seen) = watch::channel(Weather::fine(port, 0));
        let passed = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, seen, passed.clone()));
        Proxy { address, weather, passed, task }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `url`, with the proxy's address in place of the engine's, which is `port` of 127.0.0.1.
    pub fn url(&self, url: &str, port: u16) -> String {
        url.replacen(&format!("127.0.0.1:{port}"), &self.address.to_string(), 1)
    }

    /// Connections are closed, and new ones lead to `port`: another engine has taken over the address.
    pub fn lead_to(&self, port: u16) {
        self.weather.send_modify(|w| {
            w.cuts += 1;
            w.port = port;
        });
    }

    /// Bytes passed on so far, in both directions.
    pub fn passed_bytes(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Closes every connection; new ones are taken.
    pub fn cut(&self) {
        self.weather.send_modify(|w| w.cuts += 1);
    }

    /// Closes every connection and each new one at once, until [`Proxy::mend`].
    pub fn refuse(&self) {
        self.weather.send_modify(|w| {
            w.cuts += 1;
            w.refuse = true;
        });
    }

    /// Connections stay open and nothing comes through, until [`Proxy::mend`].
    pub fn hold(&self) {
        self.weather.send_modify(|w| (w.hold_requests, w.hold_replies) = (true, true));
    }

    /// What the engine sends comes through, and nothing that the client sends.
    pub fn hold_requests(&self) {
        self.weather.send_modify(|w| w.hold_requests = true);
    }

    /// What the client sends takes effect, and no reply comes back.
    pub fn hold_replies(&self) {
        self.weather.send_modify(|w| w.hold_replies = true);
    }

    /// Each read of bytes is passed on this much later.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|w| w.delay = delay);
    }

    /// At most this many bytes per second and direction of a connection.
    pub fn throttle(&self, bytes_per_second: u64) {
        assert!(bytes_per_second > 0, "to pass nothing on, hold");
        self.weather.send_modify(|w| w.bytes_per_second = Some(bytes_per_second));
    }

    /// Ends every fault. Connections that were cut stay closed.
    pub fn mend(&self) {
        self.weather.send_modify(|w| *w = Weather::fine(w.port, w.cuts));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, weather: watch::Receiver<Weather>, passed: Arc<AtomicU64>) {
    while let Ok((client, _)) = listener.accept().await {
        if weather.borrow().refuse {
            continue;
        }
        let (mut weather, passed) = (weather.clone(), passed.clone());
        tokio::spawn(async move {
            let Weather { cuts, port, .. } = *weather.borrow_and_update();
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                _ = pass(from_client, to_server, weather.clone(), |w| w.hold_requests, &passed) => {}
                _ = pass(from_server, to_client, weather.clone(), |w| w.hold_replies, &passed) => {}
                // An error: the proxy is gone.
                _ = weather.wait_for(|w| w.cuts != cuts) => {}
            }
        });
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    held: fn(&Weather) -> bool,
    passed: &AtomicU64,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // Slow lines get small reads, so that they flow instead of jumping.
        let most = match weather.borrow().bytes_per_second {
            Some(rate) => (rate / 20).clamp(1, buffer.len() as u64) as usize,
            None => buffer.len(),
        };
        let length = from.read(&mut buffer[..most]).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let now = *weather.borrow();
        let mut pause = now.delay;
        if let Some(rate) = now.bytes_per_second {
            pause += Duration::from_secs_f64(length as f64 / rate as f64);
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        if weather.wait_for(|w| !held(w)).await.is_err() {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
        passed.fetch_add(length as u64, Ordering::Relaxed);
    }
}
