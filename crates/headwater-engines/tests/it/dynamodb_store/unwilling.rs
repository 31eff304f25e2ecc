//! A DynamoDB that throttles, loses replies and repeats what it once heard: between the store and the real one, a request
//! per connection.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    Pass,
    /// It is answered with this error; the service never hears of it.
    Refuse(&'static str),
    /// It takes effect, and the connection ends without a reply.
    LoseReply,
}

type Judge = Box<dyn FnMut(&str) -> Do + Send>;

pub struct Unwilling {
    port: u16,
    to: u16,
    judge: Arc<Mutex<Judge>>,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Unwilling {
    /// In front of the server at this port. Passes everything on until [`Unwilling::judge`].
    pub async fn to(to: u16) -> Unwilling {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let judge: Arc<Mutex<Judge>> = Arc::new(Mutex::new(Box::new(|_| Do::Pass)));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (judges, hearing) = (Arc::clone(&judge), Arc::clone(&heard));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, to, Arc::clone(&judges), Arc::clone(&hearing)));
            }
        });
        Unwilling { port, to, judge, heard }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on: by the name of the operation (`PutItem`).
    pub fn judge(&self, judge: impl FnMut(&str) -> Do + Send + 'static) {
        *self.judge.lock().unwrap() = Box::new(judge);
    }

    /// All writes that were passed on so far, as they came.
    pub fn writes(&self) -> Vec<Vec<u8>> {
        let heard = self.heard.lock().unwrap();
        let is_write =
            |request: &&Vec<u8>| ["PutItem", "DeleteItem", "UpdateItem"].contains(&&*operation(request));
        heard.iter().filter(is_write).cloned().collect()
    }

    /// The server hears a request again, long after it was made.
    pub async fn repeat(&self, request: &[u8]) {
        ask(self.to, request).await;
    }
}

async fn serve(mut client: TcpStream, to: u16, judge: Arc<Mutex<Judge>>, heard: Arc<Mutex<Vec<Vec<u8>>>>) {
    let Some(request) = read(&mut client).await else { return };
    let verdict = (judge.lock().unwrap())(&operation(&request));
    if let Do::Refuse(code) = verdict {
        let body =
            format!("{{\"__type\":\"com.amazonaws.dynamodb.v20120810#{code}\",\"message\":\"not now\"}}");
        let status = match code {
            "InternalServerError" => "500 Internal Server Error",
            _ => "400 Bad Request",
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _ = client.write_all(format!("{head}{body}").as_bytes()).await;
        return;
    }
    heard.lock().unwrap().push(request.clone());
    let reply = ask(to, &request).await;
    if verdict == Do::Pass {
        let _ = client.write_all(&reply).await;
    }
}

/// The reply, to its end.
async fn ask(to: u16, request: &[u8]) -> Vec<u8> {
    let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
    server.write_all(request).await.unwrap();
    let mut reply = Vec::new();
    let _ = server.read_to_end(&mut reply).await;
    reply
}

/// One whole request, which asks for the connection to end with its reply.
async fn read(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let end = loop {
        if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    };
    let length: usize = header(&request[..end], "content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    while request.len() < end + length {
        if client.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    let line = request.windows(2).position(|bytes| bytes == b"\r\n")? + 2;
    Some([&request[..line], b"Connection: close\r\n", &request[line..]].concat())
}

fn operation(request: &[u8]) -> String {
    let target = header(request, "x-amz-target").unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default().to_owned()
}

fn header(request: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(request);
    let line = text
        .lines()
        .take_while(|line| !line.is_empty())
        .find(|line| line.split_once(':').is_some_and(|(known, _)| known.eq_ignore_ascii_case(name)))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}
