//! Between the store and InfluxDB: hears each request, breaks off at one of them, and speaks version 2 of the API where the
//! server behind it does not.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    Pass,
    /// The connection ends before the server hears of it.
    Refuse,
    /// It takes effect, and the connection ends without a reply.
    LoseReply,
}

type Judge = Box<dyn FnMut() -> Do + Send>;

pub struct Unwilling {
    pub port: u16,
    judge: Arc<Mutex<Judge>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Unwilling {
    pub async fn to(to: u16) -> Unwilling {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let judge: Arc<Mutex<Judge>> = Arc::new(Mutex::new(Box::new(|| Do::Pass)));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (judges, hearing) = (Arc::clone(&judge), Arc::clone(&heard));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, to, Arc::clone(&judges), Arc::clone(&hearing)));
            }
        });
        Unwilling { port, judge, heard }
    }

    /// From now on, of each request.
    pub fn judge(&self, judge: impl FnMut() -> Do + Send + 'static) {
        *self.judge.lock().unwrap() = Box::new(judge);
    }

    /// The heads of all requests so far.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(
    mut client: TcpStream,
    to: u16,
    judge: Arc<Mutex<Judge>>,
    heard: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut request = Vec::new();
    let end = loop {
        if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&request[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let length: usize = length.unwrap_or(0);
    while request.len() < end + length {
        if client.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    heard.lock().unwrap().push(head.clone());
    let verdict = (judge.lock().unwrap())();
    if verdict == Do::Refuse {
        return None;
    }
    // As version 1 calls it; the reply ends with the connection.
    let head = head.replacen("/api/v2/write?org=shop&bucket=", "/write?db=", 1).replacen(
        "\r\n",
        "\r\nConnection: close\r\n",
        1,
    );
    let mut server = TcpStream::connect(("127.0.0.1", to)).await.ok()?;
    server.write_all(&[head.as_bytes(), &request[end..]].concat()).await.ok()?;
    let mut reply = Vec::new();
    let _ = server.read_to_end(&mut reply).await;
    if verdict == Do::Pass {
        client.write_all(&reply).await.ok()?;
    }
    Some(())
}
