//! Connections to the cluster: HTTP/1.1 over TLS, a few kept open.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use headwater_model::{Error, Result};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::config::Config;

const CONNECTIONS_MAX: usize = 8;
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// An answer of more is refused: no page or walk comes near it.
const ANSWER_BYTES_MAX: usize = 256 << 20;

type Open = SendRequest<Full<Bytes>>;

#[derive(Default)]
pub(super) struct Connections {
    resting: Mutex<Vec<Open>>,
    tls: Mutex<Option<TlsConnector>>,
}

impl Connections {
    /// Status and body of the answer.
    pub(super) async fn send(
        &self,
        config: &Config,
        method: Method,
        path: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<(u16, Bytes)> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request =
            request.body(Full::new(body)).map_err(|e| Error::bug("make a request").with_cause(e))?;
        let within = config.request_within;
        let silent = |_| Error::transient(format!("the cluster was silent for {} s", within.as_secs()));
        tokio::time::timeout(within, self.exchange(config, request)).await.map_err(silent)?
    }

    async fn exchange(&self, config: &Config, request: Request<Full<Bytes>>) -> Result<(u16, Bytes)> {
        let mut open = self.open(config).await?;
        let lost = |cause| Error::transient("talk to the cluster").with_cause(cause);
        let answer = open.send_request(request).await.map_err(lost)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|cause| Error::transient("read the cluster's answer").with_cause(cause))?;
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.len() < CONNECTIONS_MAX && !open.is_closed() {
            resting.push(open);
        }
        Ok((status, body.to_bytes()))
    }

    async fn open(&self, config: &Config) -> Result<Open> {
        loop {
            let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut open) = resting else { break };
            // One that was closed meanwhile is dropped; nothing was sent on it.
            if open.ready().await.is_ok() {
                return Ok(open);
            }
        }
        let address = format!("{}:{}", config.host, config.port);
        let connecting = async {
            let stream = TcpStream::connect((config.host.as_str(), config.port)).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        let lost =
            |cause: std::io::Error| Error::transient(format!("connect to {address}")).with_cause(cause);
        let stream = tokio::time::timeout(CONNECT_WITHIN, connecting)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(lost)?;
        if !config.tls {
            return shake(TokioIo::new(stream), &address).await;
        }
        let name = ServerName::try_from(config.host.clone())
            .map_err(|e| Error::misconfigured("the URL's host is no name that TLS knows").with_cause(e))?;
        let stream = self.tls(config)?.connect(name, stream).await.map_err(lost)?;
        shake(TokioIo::new(stream), &address).await
    }

    fn tls(&self, config: &Config) -> Result<TlsConnector> {
        let mut known = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let made = TlsConnector::from(Arc::new(tls(config)?));
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

fn tls(config: &Config) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &config.tls_ca {
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
        return Err(Error::misconfigured("no certificate authority was found to verify the cluster with")
            .with_remedy("set `tls_ca` to a PEM file, such as Amazon's root certificates"));
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::bug("no TLS version fits the cryptography").with_cause(e))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
