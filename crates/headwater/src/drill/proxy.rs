//! A proxy between Headwater and an engine, that cuts and throttles. Bytes are never changed or reordered; what was on the
//! way when a cut came is lost, as on a real network.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Clone, Copy)]
struct Weather {
    target: SocketAddr,
    /// Connections of another number are closed.
    cuts: u64,
    refuse: bool,
    bytes_per_second: Option<u64>,
}

pub struct Proxy {
    pub address: SocketAddr,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub fn to(target: SocketAddr, runtime: &Handle) -> io::Result<Proxy> {
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let (weather, seen) =
            watch::channel(Weather { target, cuts: 0, refuse: false, bytes_per_second: None });
        let task = runtime.spawn(accept(listener, seen));
        Ok(Proxy { address, weather, task })
    }

    /// Every connection ends, and each new one at once, until [`Proxy::mend`].
    pub fn cut(&self) {
        self.weather.send_modify(|weather| (weather.cuts, weather.refuse) = (weather.cuts + 1, true));
    }

    pub fn throttle(&self, bytes_per_second: u64) {
        self.weather.send_modify(|weather| weather.bytes_per_second = Some(bytes_per_second.max(1)));
    }

    pub fn mend(&self) {
        self.weather.send_modify(|weather| (weather.refuse, weather.bytes_per_second) = (false, None));
    }

    /// Leads to somebody else from now on.
    pub fn redirect(&self, target: SocketAddr) {
        self.weather.send_modify(|weather| (weather.cuts, weather.target) = (weather.cuts + 1, target));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, weather: watch::Receiver<Weather>) {
    while let Ok((client, _)) = listener.accept().await {
        let now = *weather.borrow();
        if now.refuse {
            continue;
        }
        let mut weather = weather.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(now.target).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                _ = pass(from_client, to_server, weather.clone()) => {}
                _ = pass(from_server, to_client, weather.clone()) => {}
                // An error: the proxy is gone.
                _ = weather.wait_for(|weather| weather.cuts != now.cuts) => {}
            }
        });
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let rate = weather.borrow().bytes_per_second;
        // Slow lines get small reads, so that they flow instead of jumping.
        let most = rate.map_or(buffer.len() as u64, |rate| (rate / 20).clamp(1, buffer.len() as u64));
        let length = from.read(&mut buffer[..most as usize]).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let rate = weather.borrow().bytes_per_second;
        if let Some(rate) = rate {
            tokio::time::sleep(Duration::from_secs_f64(length as f64 / rate as f64)).await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}
