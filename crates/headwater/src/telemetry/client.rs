//! One request to the collector at a time, on a connection of its own: there is one every few seconds.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use headwater_model::{Error, Result};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// What is read of an answer: it says little.
const ANSWER_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
pub struct Client {
    within: Duration,
    tls: Mutex<Option<Arc<ClientConfig>>>,
    /// A certificate to trust beside the system's.
    trusted: Option<PathBuf>,
    failure: Mutex<Failure>,
}

/// Why the last delivery failed.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    pub why: String,
    /// Whether trying again is worth it.
    pub may_pass: bool,
}

impl Client {
    pub fn new(within: Duration, trusted: Option<PathBuf>) -> Result<Client> {
        if let Some(path) = &trusted {
            certificates(path)?;
        }
        Ok(Client { within, tls: Mutex::default(), trusted, failure: Mutex::default() })
    }

    pub fn failure(&self) -> Failure {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, why: String, may_pass: bool) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Failure { why, may_pass };
    }

    async fn send(&self, request: Request<Bytes>) -> std::result::Result<Response<Bytes>, HttpError> {
        let uri = request.uri().clone();
        let host = uri.host().ok_or("the address has no host")?;
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        if !is_https {
            return exchange(stream, &uri, request).await;
        }
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
        let stream = TlsConnector::from(self.tls()?).connect(name, stream).await?;
        exchange(stream, &uri, request).await
    }

    /// Made when it is first needed: the system's certificates take a while to read.
    fn tls(&self) -> Result<Arc<ClientConfig>> {
        let mut tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = &*tls {
            return Ok(Arc::clone(config));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = &self.trusted {
            roots.add_parsable_certificates(certificates(path)?);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::bug("TLS versions").with_cause(error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::clone(tls.insert(Arc::new(config))))
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path).and_then(|certs| certs.collect()).map_err(|error| {
        Error::misconfigured(format!("cannot read the certificate in {}", path.display()))
            .with_cause(error)
            .with_remedy("OTEL_EXPORTER_OTLP_CERTIFICATE names a PEM file that this process may read")
    })
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    uri: &Uri,
    request: Request<Bytes>,
) -> std::result::Result<Response<Bytes>, HttpError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer, or with the sender.
    tokio::spawn(connection);
    let mut request = request.map(Full::new);
    let authority = uri.authority().ok_or("the address has no host")?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    *request.uri_mut() = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> std::result::Result<Response<Bytes>, HttpError> {
        debug_assert!(Handle::try_current().is_ok(), "sent from a task of the queue");
        let to = request.uri().to_string();
        let answered = match timeout(self.within, self.send(request)).await {
            Ok(answered) => answered,
            Err(_) => Err(format!("no answer within {} ms", self.within.as_millis()).into()),
        };
        match &answered {
            Ok(response) if !response.status().is_success() => {
                let status = response.status();
                let may_pass = status.is_server_error() || [408, 429].contains(&status.as_u16());
                self.failed(format!("{to} answers {status}"), may_pass);
            }
            Ok(_) => {}
            Err(error) => self.failed(format!("{to}: {}", causes(&**error)), true),
        }
        answered
    }
}

/// An error with what caused it.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push_str(&format!(": {error}"));
        cause = error.source();
    }
    said
}
