//! A sandbox: a source that is written to, stores, proxies where a drill cuts, and instances of this program between them.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use headwater_control::drill::{Drill, Fault, Needs, Step};
use headwater_engines::registry;
use headwater_engines::sandbox::{Folder, Process, SandboxSource, SandboxStore};
use headwater_flow::status::{PartState, Status};
use tokio::runtime::Handle;

use super::compare::ENTRIES_EMBEDDED;
use super::load::{Current, Load, current, schema};
use super::proxy::Proxy;
use crate::control_socket;

/// What was committed longer ago than this has to be in every store, or the system is not whole.
const FRESH: Duration = Duration::from_secs(2);

/// An instance of this program, with what it has between starts.
pub struct Instance {
    process: Process,
    file: PathBuf,
    pub data: PathBuf,
}

impl Instance {
    pub fn start(&self) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        let mut command = Command::new("sh");
        // What may not grow is then an error of the write, not the end of the process.
        command.args(["-c", "trap '' XFSZ; exec \"$0\" -f \"$1\" run"]).arg(program).arg(&self.file);
        command.env_remove("HEADWATER_FILE").env_remove("HEADWATER_LOG");
        let folder = self.file.parent().context("the sandbox's file is in no folder")?;
        Ok(self.process.start(&mut command, folder)?)
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The last thing it said.
    pub fn last_words(&self) -> String {
        let tail = self.process.log_tail(2);
        tail.trim().replace('\n', "; ").chars().take(300).collect()
    }
}

/// What is started instead of the usual, as URLs name it.
#[derive(Debug, Default, clap::Args)]
pub struct Engines {
    /// The sandbox's source, as URLs name it; without it, a file or the usual server, as the drill needs.
    #[arg(long, value_name = "KIND", requires = "sandbox")]
    pub source_engine: Option<String>,
    /// The sandbox's first store, as URLs name it; the second one is always a file.
    #[arg(long, value_name = "KIND", requires = "sandbox")]
    pub store_engine: Option<String>,
}

pub struct World {
    // Processes go before their folder.
    pub instances: Vec<Instance>,
    /// The one that leads, or should.
    leader: AtomicUsize,
    pub source: Current,
    pub standby: Option<Arc<dyn SandboxSource>>,
    pub near: Arc<dyn SandboxStore>,
    pub local: Arc<dyn SandboxStore>,
    pub source_proxy: Option<Proxy>,
    pub store_proxy: Option<Proxy>,
    /// Goes last, and with it everything that lies in it.
    _folder: Folder,
    pub runtime: Handle,
    steps: Mutex<Vec<(Instant, String)>>,
    say: fn(&str),
}

impl World {
    /// Everything that the drill needs; nothing of Headwater runs yet.
    pub fn build(drill: &Drill, engines: &Engines, runtime: Handle, say: fn(&str)) -> anyhow::Result<World> {
        let folder = Folder::new()?;
        let source: Arc<dyn SandboxSource> = match &engines.source_engine {
            Some(scheme) => registry::sandbox_source_of(scheme, &folder)?.into(),
            None => registry::sandbox_source(drill.needs == Needs::SourceServer, &folder)?.into(),
        };
        source.execute(&schema())?;
        let standby = match drill.fault {
            Fault::PromoteStandby => Some(source.standby(&folder)?.into()),
            _ => None,
        };
        let near: Arc<dyn SandboxStore> = match &engines.store_engine {
            Some(scheme) => registry::sandbox_store_of(scheme, &folder, "near")?.into(),
            None => registry::sandbox_store(drill.needs == Needs::StoreServer, &folder, "near")?.into(),
        };
        let local: Arc<dyn SandboxStore> = registry::sandbox_store(false, &folder, "local")?.into();
        let proxied = |wanted: bool, address: Option<SocketAddr>| match (wanted, address) {
            (true, Some(address)) => Proxy::to(address, &runtime).map(Some).context("cannot open a proxy"),
            _ => Ok(None),
        };
        let source_proxy =
            proxied(matches!(drill.fault, Fault::PartitionSource | Fault::PromoteStandby), source.address())?;
        let store_proxy =
            proxied(matches!(drill.fault, Fault::PartitionStore | Fault::ThrottleStore), near.address())?;
        let through = |url: String, proxy: &Option<Proxy>, address: Option<SocketAddr>| match (proxy, address)
        {
            (Some(proxy), Some(address)) => url.replacen(&address.to_string(), &proxy.address.to_string(), 1),
            _ => url,
        };
        let source_url = through(source.url(), &source_proxy, source.address());
        let near_url = through(near.url(), &store_proxy, near.address());
        let poisoned = drill.fault == Fault::Poison;
        let instances = match drill.fault {
            Fault::KillLeader => vec!["data", "data"],
            Fault::FreezeLeader => vec!["data-1", "data-2"],
            _ => vec!["data"],
        };
        let mut made = Vec::new();
        for (nth, data) in instances.into_iter().enumerate() {
            let home = folder.join(format!("headwater-{}", nth + 1));
            fs::create_dir(&home).context("cannot make an instance's folder")?;
            let (file, data) = (home.join("headwater.toml"), folder.join(data));
            let text = file_text(&data.to_string_lossy(), &source_url, &near_url, &local.url(), poisoned);
            fs::write(&file, text).context("cannot write the sandbox's file")?;
            let process = Process::new(&folder, &format!("headwater-{}", nth + 1));
            made.push(Instance { process, file, data });
        }
        Ok(World {
            instances: made,
            leader: AtomicUsize::new(0),
            source: Arc::new(RwLock::new(source)),
            standby,
            near,
            local,
            source_proxy,
            store_proxy,
            _folder: folder,
            runtime,
            steps: Mutex::default(),
            say,
        })
    }

    pub fn engines(&self) -> Vec<String> {
        let mut engines = vec![current(&self.source).name(), self.near.name(), self.local.name()];
        engines.dedup();
        engines
    }

    pub fn stores(&self) -> [(&'static str, Arc<dyn SandboxStore>); 2] {
        [("near", Arc::clone(&self.near)), ("local", Arc::clone(&self.local))]
    }

    pub fn leader(&self) -> &Instance {
        &self.instances[self.leader.load(Ordering::Relaxed)]
    }

    /// The one that is asked from now on.
    pub fn lead_by(&self, instance: usize) {
        self.leader.store(instance, Ordering::Relaxed);
    }

    /// Something was done.
    pub fn step(&self, what: impl Into<String>) {
        let what = what.into();
        (self.say)(&what);
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), what));
    }

    /// What was done, counted from the fault.
    pub fn steps(&self, fault: Instant) -> Vec<Step> {
        let since = |at: Instant| match at.checked_duration_since(fault) {
            Some(after) => after.as_millis() as i64,
            None => -(fault.duration_since(at).as_millis() as i64),
        };
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.iter().map(|(at, what)| Step { at_ms: since(*at), what: what.clone() }).collect()
    }

    /// What the leader says of itself; `None` if it does not answer.
    pub fn status(&self) -> Option<Status> {
        self.runtime.block_on(control_socket::ask(&self.leader().data)).ok().flatten()
    }

    /// Why the system is not whole just now; `None` if it is.
    pub fn lacks(&self, load: Option<&Load>) -> Option<String> {
        let Some(status) = self.status() else { return Some("no instance answers".to_owned()) };
        let healthy = |state| state == PartState::Healthy;
        if !healthy(status.source.state) {
            return Some(format!("the source is {}", status.source.state.as_str()));
        }
        if let Some(store) = status.stores.iter().find(|store| !healthy(store.state)) {
            return Some(format!("store {} is {}", store.name, store.state.as_str()));
        }
        let load = load?;
        match load.newest_before(FRESH) {
            Some((_, newest)) if newest.elapsed() > FRESH => Some("nobody can commit".to_owned()),
            None => Some("nobody has committed for long enough".to_owned()),
            Some((id, _)) => {
                self.stores().iter().find_map(|(name, store)| match store.get("entry", &id.to_string()) {
                    Ok(Some(_)) => None,
                    Ok(None) => Some(format!("store {name} lacks entry {id}")),
                    Err(_) => Some(format!("store {name} does not answer")),
                })
            }
        }
    }

    /// Waits until it is whole, or says what it still lacks.
    pub fn wait_whole(&self, load: Option<&Load>, within: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + within;
        loop {
            match self.lacks(load) {
                None => return Ok(()),
                Some(what) if Instant::now() > until => {
                    anyhow::bail!("before anything was broken: {what}; {}", self.leader().last_words())
                }
                Some(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }
}

/// The sandbox's file: a document that embeds rows, and a flat one, in both stores.
fn file_text(data: &str, source: &str, near: &str, local: &str, poisoned: bool) -> String {
    let (far, also) = match poisoned {
        true => ("far = { url = \"memory:\", bytes_max = \"1MiB\" }\n", ", \"far\""),
        false => ("", ""),
    };
    format!(
        "data = \"{data}\"\n[source]\nurl = \"{source}\"\n[stores]\nnear = {{ url = \"{near}\" }}\n\
         local = {{ url = \"{local}\" }}\n{far}\
         [views.account]\nfrom = \"account\"\nstore = [\"near\", \"local\"]\nlayout = \"json\"\n\
         embed.entries = {{ from = \"entry\", many = \"account_id\", columns = [\"id\", \"amount\"], order = \"-id\", \
         limit = {ENTRIES_EMBEDDED} }}\n\
         [views.entry]\nfrom = \"entry\"\nstore = [\"near\", \"local\"{also}]\nlayout = \"json\"\n\
         [serve]\nlisten = \"127.0.0.1:0\"\n"
    )
}
