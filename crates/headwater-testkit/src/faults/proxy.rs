//! A TCP proxy between a client and an engine: cuts connections, refuses new ones, delays and throttles bytes.
//!
//! It knows nothing of protocols. Bytes are never changed or reordered; what was not passed on when a cut came is lost,
//! as on a real network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to bytes now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Weather {
    /// Grows with each cut: connections of an older one are closed.
    cuts: u64,
    refuse: bool,
    /// Nothing is passed on, and nothing is lost.
    hold: bool,
    delay: Duration,
    bytes_per_second: Option<u64>,
}

/// A proxy on a port of its own of 127.0.0.1. Ends with all its connections on drop.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    passed: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of the engine that listens on `port` of 127.0.0.1.
    pub async fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("open the proxy's port");
        let own_port = listener.local_addr().expect("the proxy's port").port();
        let (weather, seen) = watch::channel(Weather::default());
        let passed = Arc::new(AtomicU64::new(0));
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let task = tokio::spawn(accept(listener, target, seen, passed.clone()));
        Proxy { port: own_port, weather, passed, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `url`, with the proxy's port in place of `port`, the engine's.
    pub fn url(&self, url: &str, port: u16) -> String {
        url.replacen(&format!(":{port}"), &format!(":{}", self.port), 1)
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
        self.weather.send_modify(|w| w.hold = true);
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
        self.weather.send_modify(|w| *w = Weather { cuts: w.cuts, ..Weather::default() });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    weather: watch::Receiver<Weather>,
    passed: Arc<AtomicU64>,
) {
    while let Ok((client, _)) = listener.accept().await {
        if weather.borrow().refuse {
            continue;
        }
        let (mut weather, passed) = (weather.clone(), passed.clone());
        tokio::spawn(async move {
            let cuts = weather.borrow_and_update().cuts;
            let Ok(server) = TcpStream::connect(target).await else { return };
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                _ = pass(from_client, to_server, weather.clone(), &passed) => {}
                _ = pass(from_server, to_client, weather.clone(), &passed) => {}
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
        if weather.wait_for(|w| !w.hold).await.is_err() {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
        passed.fetch_add(length as u64, Ordering::Relaxed);
    }
}
