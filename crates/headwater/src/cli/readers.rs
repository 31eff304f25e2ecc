//! Where readers come in: the ports of the file, from before there is anything to read until the last reader has gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headwater_flow::Handle;
use headwater_flow::serve::Serving;
use headwater_model::AccessPlan;
use headwater_model::file::File;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::failure::Failure;
use crate::control_socket;
use crate::examine::watch::Findings;
use crate::http::{self, Server, Site};
use crate::resp;
use crate::telemetry::Telemetry;
use crate::whole_files::replace;

/// Where a program on this machine finds the address, also if the file leaves the port open: in the data folder.
const URL_FILE: &str = "http.url";

/// How often a port is tried that another instance of the same folder has.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Answers that are still being waited for are cut off this long after the data plane has stopped.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// What readers are answered with, of a source that has been looked at.
pub struct Answers {
    /// The source's name; `None` if the file's one source has none.
    pub source: Option<Box<str>>,
    pub serving: Serving,
    /// For readers that name views rather than access patterns.
    pub by_view: Vec<AccessPlan>,
    /// Product and version of the source.
    pub server: String,
}

/// The ports that are listened on, and what is answered there.
pub struct Readers {
    /// Of each source.
    folders: Vec<PathBuf>,
    cancel: CancellationToken,
    site: Arc<Site>,
    http: Option<JoinHandle<()>>,
    url: Option<String>,
    resp: Option<Arc<resp::Server>>,
    /// Whether the Redis protocol is listened to.
    listens: Mutex<bool>,
}

impl Readers {
    /// Takes the ports. One that is taken already is an error, unless by another instance of the same data folder: then
    /// this one takes it when that one ends, as with everything else.
    pub async fn start(
        file: &File,
        telemetry: Option<&Telemetry>,
        cancel: &CancellationToken,
    ) -> Result<Readers, Failure> {
        let flows = file.flows();
        let site = Arc::new(Site::new(&flows, !file.serve.tokens.is_empty(), telemetry.cloned()));
        let folders: Vec<_> = flows.iter().map(|flow| flow.data.clone()).collect();
        let mut readers = Readers {
            folders: folders.clone(),
            cancel: cancel.clone(),
            site: Arc::clone(&site),
            http: None,
            url: None,
            resp: resp_server(file, &flows)?.map(Arc::new),
            listens: Mutex::default(),
        };
        let Some(options) = http::Options::of(file) else { return Ok(readers) };
        http::raise_descriptor_limit();
        let (data, cancel) = (file.data.clone(), cancel.clone());
        match Server::bind(options.clone(), Arc::clone(&site)).await {
            Ok(server) => {
                readers.url = Some(announce(&server, &data)?);
                readers.http = Some(tokio::spawn(server.run(cancel)));
            }
            Err(error) if error.is_retryable() && leads_in(&folders).await => {
                info!("another instance of this folder has the port: it is taken over when that one ends");
                readers.http = Some(tokio::spawn(take_over(options, site, data, cancel)));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(readers)
    }

    /// Why there is nothing to read of this source, for those who ask.
    pub fn wait_for(&self, source: Option<&str>, why: impl Into<String>) {
        self.site.waits_for(source, why);
    }

    /// From now on there are answers. The Redis protocol, which has no word for waiting, is listened to only once there are some.
    pub async fn open(&self, answers: Answers, handle: Handle, findings: Findings) -> Result<(), Failure> {
        self.site.open(answers.source.as_deref(), answers.serving.clone(), handle.clone(), findings);
        let Some(server) = &self.resp else { return Ok(()) };
        server.open(resp::Flow {
            name: answers.source,
            serving: answers.serving,
            handle,
            plans: answers.by_view,
            server: answers.server,
        });
        let mut listens = self.listens.lock().await;
        if *listens {
            return Ok(());
        }
        http::raise_descriptor_limit();
        match server.listen(self.cancel.clone()) {
            Ok(()) => {}
            Err(error) if error.is_retryable() && leads_in(&self.folders).await => {
                info!("another instance of this folder has the port: it is taken over when that one ends");
                let (server, cancel) = (Arc::clone(server), self.cancel.clone());
                tokio::spawn(async move { listen_later(&server, cancel).await });
            }
            Err(error) => return Err(error.into()),
        }
        *listens = true;
        Ok(())
    }

    /// Where HTTP is answered, if this instance has the port.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// After the data plane has stopped, and the token of [`Readers::start`] is cancelled: lets answers end.
    pub async fn end(self) {
        let Some(mut http) = self.http else { return };
        if tokio::time::timeout(FINISH_WITHIN, &mut http).await.is_err() {
            http.abort();
        }
    }
}

/// Says where readers come in: in the log, and in the data folder.
fn announce(server: &Server, data: &Path) -> Result<String, Failure> {
    let url = server.url()?;
    info!(%url, "readers are answered");
    replace(&data.join(URL_FILE), &format!("{url}\n"))?;
    Ok(url)
}

/// What the Redis protocol is answered with, once there is something, if the file wants that.
fn resp_server(file: &File, flows: &[File]) -> Result<Option<resp::Server>, Failure> {
    let Some(address) = file.serve.resp else { return Ok(None) };
    let views = |flow: &File| flow.views.iter().map(|view| view.name.clone()).collect();
    let sources = flows.iter().filter_map(|flow| Some((flow.source().name.clone()?, views(flow))));
    let options = resp::Options {
        address,
        tls: file.serve.tls.clone(),
        tokens: file.serve.tokens.clone(),
        sources: sources.collect(),
    };
    Ok(Some(resp::Server::new(options)?))
}

/// Whether another instance leads in one of these data folders.
async fn leads_in(folders: &[PathBuf]) -> bool {
    for data in folders {
        if control_socket::ask(data).await.is_ok_and(|status| status.is_some()) {
            return true;
        }
    }
    false
}

async fn listen_later(server: &resp::Server, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(TRY_AGAIN) => {}
        }
        match server.listen(cancel.clone()) {
            Ok(()) => return,
            Err(error) if error.is_retryable() => {}
            Err(error) => {
                warn!(%error, "the Redis protocol is not answered");
                return;
            }
        }
    }
}

async fn take_over(options: http::Options, site: Arc<Site>, data: PathBuf, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(TRY_AGAIN) => {}
        }
        match Server::bind(options.clone(), Arc::clone(&site)).await {
            Ok(server) => {
                if let Err(failure) = announce(&server, &data) {
                    failure.report();
                }
                return server.run(cancel).await;
            }
            Err(error) if error.is_retryable() => {}
            Err(error) => {
                warn!(%error, "readers cannot be answered");
                return;
            }
        }
    }
}
