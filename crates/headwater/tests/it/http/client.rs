//! An HTTP client that does only what it is told, so that tests see what is really sent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;

use crate::service::Service;

#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    headers: Vec<(String, String)>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Client {
    /// Of the running service, as soon as it says where it listens.
    pub async fn of(service: &Service) -> Client {
        let url = service.url().await;
        let address = url.split_once("://").map(|(_, address)| address.parse().unwrap()).unwrap();
        Client { address, headers: Vec::new() }
    }

    /// Of whoever listens at a port of this machine.
    pub fn at(port: u16) -> Client {
        Client { address: ([127, 0, 0, 1], port).into(), headers: Vec::new() }
    }

    /// With a header in every request.
    pub fn with(&self, name: &str, value: &str) -> Client {
        let mut client = self.clone();
        client.headers.retain(|(own, _)| own != name);
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.ask("GET", target)
    }

    #[track_caller]
    pub fn ask(&self, method: &str, target: &str) -> Response {
        let mut stream = self.connect();
        stream.write_all(&self.request(method, target)).unwrap();
        answer(&mut stream)
    }

    /// `None` if nobody listens, or the connection breaks.
    pub fn try_get(&self, target: &str) -> Option<Response> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.write_all(&self.request("GET", target)).ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        bytes.starts_with(b"HTTP/").then(|| Response::parse(&bytes))
    }

    /// The bytes of a request after which the connection ends.
    pub fn request(&self, method: &str, target: &str) -> Vec<u8> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// Reads until the server ends the connection, and takes that apart.
#[track_caller]
pub fn answer(stream: &mut impl Read) -> Response {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    Response::parse(&bytes)
}

pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

impl Response {
    #[track_caller]
    pub fn parse(bytes: &[u8]) -> Response {
        let shown = String::from_utf8_lossy(bytes);
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no head: {shown}"));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Response { status, headers, body: bytes[end + 4..].to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a header that may come several times.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}
