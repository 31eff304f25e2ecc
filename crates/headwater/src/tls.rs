//! TLS for readers, from PEM files that may be renewed while we run.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use headwater_model::file::TlsFiles;
use headwater_model::{Error, Result};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};

/// How often the files are looked at for a renewed certificate.
const LOOK_EVERY: Duration = Duration::from_secs(30);

pub struct Certificate {
    files: TlsFiles,
    protocol: Option<&'static str>,
    state: Mutex<State>,
}

struct State {
    acceptor: TlsAcceptor,
    changed_at: Option<SystemTime>,
    looked_at: Instant,
}

impl Certificate {
    /// `protocol`: what clients that name protocols (ALPN) must name. `Misconfigured` if the files are not a certificate and
    /// its key.
    pub fn load(files: TlsFiles, protocol: Option<&'static str>) -> Result<Certificate> {
        let state = State {
            changed_at: changed_at(&files),
            acceptor: acceptor(&files, protocol)?,
            looked_at: Instant::now(),
        };
        Ok(Certificate { files, protocol, state: Mutex::new(state) })
    }

    /// With what the files hold now, or held when they were last fine.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked_at.elapsed() >= LOOK_EVERY {
            state.looked_at = Instant::now();
            let changed_at = changed_at(&self.files);
            if changed_at != state.changed_at {
                match acceptor(&self.files, self.protocol) {
                    Ok(acceptor) => {
                        info!(file = %self.files.cert.display(), "the certificate was renewed");
                        state.acceptor = acceptor;
                        state.changed_at = changed_at;
                    }
                    // Half written, perhaps: looked at again.
                    Err(error) => {
                        warn!(%error, "the certificate has changed and cannot be used; keeping the last")
                    }
                }
            }
        }
        state.acceptor.clone()
    }
}

fn changed_at(files: &TlsFiles) -> Option<SystemTime> {
    let of = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    of(&files.cert).max(of(&files.key))
}

fn acceptor(files: &TlsFiles, protocol: Option<&str>) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(|certs| certs.collect::<Result<Vec<_>, _>>())
        .map_err(|error| unreadable("certificate", &files.cert).with_cause(error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unreadable("key", &files.key).with_cause(error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::bug("TLS versions").with_cause(error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| {
            Error::misconfigured(format!(
                "the certificate in {} and the key in {} cannot be used",
                files.cert.display(),
                files.key.display()
            ))
            .with_cause(error)
            .with_remedy(
                "name a certificate, its chain behind it in the same file, and the key it was made with",
            )
        })?;
    config.alpn_protocols = protocol.into_iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn unreadable(what: &str, path: &Path) -> Error {
    Error::misconfigured(format!("cannot read the TLS {what} in {}", path.display()))
        .with_remedy("tls_cert and tls_key in [serve] name PEM files that this process may read")
}
