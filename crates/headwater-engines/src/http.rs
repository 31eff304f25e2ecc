//! Connections to a server: HTTP/1.1, with or without TLS, a few kept open. What is asked and what an answer means is the
//! engines' business.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use headwater_model::{Error, Result};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const CONNECTIONS_MAX: usize = 8;
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// An answer of more is refused: no page or walk comes near it.
const ANSWER_BYTES_MAX: usize = 256 << 20;

type Open = SendRequest<Full<Bytes>>;

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// A PEM file to verify the server with; `None`: what this machine trusts.
    pub(crate) tls_ca: Option<String>,
    /// How long one request may take.
    pub(crate) request_within: Duration,
}

pub(crate) struct Connections {
    server: Server,
    resting: Mutex<Vec<Open>>,
    tls: Mutex<Option<TlsConnector>>,
}

impl Connections {
    pub(crate) fn new(server: Server) -> Connections {
        Connections { server, resting: Mutex::default(), tls: Mutex::default() }
    }

    /// Status and body of the answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<(u16, Bytes)> {
        let (status, _, body) = self.send_for_headers(method, path, headers, body).await?;
        Ok((status, body))
    }

    /// Status, headers and body of the answer.
    pub(crate) async fn send_for_headers(
        &self,
        method: Method,
        path: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<(u16, HeaderMap, Bytes)> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request =
            request.body(Full::new(body)).map_err(|e| Error::bug("make a request").with_cause(e))?;
        let within = self.server.request_within;
        let silent = |_| Error::transient(format!("the server was silent for {} s", within.as_secs()));
        tokio::time::timeout(within, self.exchange(request)).await.map_err(silent)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(u16, HeaderMap, Bytes)> {
        let mut open = self.open().await?;
        let lost = |cause| Error::transient("talk to the server").with_cause(cause);
        let mut answer = open.send_request(request).await.map_err(lost)?;
        let status = answer.status().as_u16();
        let headers = std::mem::take(answer.headers_mut());
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|cause| Error::transient("read the server's answer").with_cause(cause))?;
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.len() < CONNECTIONS_MAX && !open.is_closed() {
            resting.push(open);
        }
        Ok((status, headers, body.to_bytes()))
    }

    async fn open(&self) -> Result<Open> {
        loop {
            let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut open) = resting else { break };
            // One that was closed meanwhile is dropped; nothing was sent on it.
            if open.ready().await.is_ok() {
                return Ok(open);
            }
        }
        let address = format!("{}:{}", self.server.host, self.server.port);
        let connecting = async {
            let stream = TcpStream::connect((self.server.host.as_str(), self.server.port)).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        let lost =
            |cause: std::io::Error| Error::transient(format!("connect to {address}")).with_cause(cause);
        let stream = tokio::time::timeout(CONNECT_WITHIN, connecting)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(lost)?;
        if !self.server.tls {
            return shake(TokioIo::new(stream), &address).await;
        }
        let name = ServerName::try_from(self.server.host.clone())
            .map_err(|e| Error::misconfigured("the URL's host is no name that TLS knows").with_cause(e))?;
        let stream = self.tls()?.connect(name, stream).await.map_err(lost)?;
        shake(TokioIo::new(stream), &address).await
    }

    fn tls(&self) -> Result<TlsConnector> {
        let mut known = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let made = TlsConnector::from(Arc::new(tls(&self.server)?));
        *known = Some(made.clone());
        Ok(made)
    }
}

async fn shake<I>(io: I, address: &str) -> Result<Open>
where
    I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (open, connection) = handshake(io)
        .await
        .map_err(|e| Error::transient(format!("speak HTTP with {address}")).with_cause(e))?;
    // Ends when the last sender is gone, or the other side closes.
    tokio::spawn(async move { drop(connection.await) });
    Ok(open)
}

fn tls(server: &Server) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &server.tls_ca {
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        Some(path) => {
            let unreadable = || Error::misconfigured(format!("`tls_ca`: cannot read {path:?} as PEM"));
            let found =
                CertificateDer::pem_file_iter(Path::new(path)).map_err(|e| unreadable().with_cause(e))?;
            for certificate in found {
                let certificate = certificate.map_err(|e| unreadable().with_cause(e))?;
                roots.add(certificate).map_err(|e| unreadable().with_cause(e))?;
            }
        }
    }
    if roots.is_empty() {
        return Err(Error::misconfigured("no certificate authority was found to verify the server with")
            .with_remedy("set `tls_ca` to a PEM file, such as Amazon's root certificates"));
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::bug("no TLS version fits the cryptography").with_cause(e))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
