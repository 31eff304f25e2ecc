//! One `headwater run` of the matrix: a [`Service`] whose kernel can be given orders, where there is a C compiler for that.

use std::ops::Deref;
use std::os::unix::process::ExitStatusExt;

use headwater_testkit::faults::Syscalls;
use nix::sys::signal::Signal;
use serde_json::Value as Json;

use crate::service::Service;

pub struct Instance {
    service: Service,
    syscalls: Option<Syscalls>,
    /// In front of the program: what brings it to its host.
    via: Vec<String>,
}

impl Instance {
    pub fn new(name: &str, text: &str, via: Vec<String>) -> Instance {
        Instance { service: Service::new(name, text), syscalls: Syscalls::new(), via }
    }

    pub fn start(&self) {
        let environment = self.syscalls.as_ref().map(Syscalls::environment);
        let variables: Vec<_> = environment.iter().flatten().map(|(name, value)| (*name, &**value)).collect();
        self.service.start_via(&self.via, &variables);
    }

    pub fn restart(&self) {
        self.service.kill();
        self.start();
    }

    /// Only in faults that need it: [`crate::catalogue::Fault::missing`].
    pub fn syscalls(&self) -> &Syscalls {
        self.syscalls.as_ref().expect("there is a C compiler")
    }

    /// Reaps a process that was killed by an order.
    pub fn was_killed(&self) {
        let status = self.service.wait();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{}", self.service.log_tail());
    }

    pub fn leads(&self) -> bool {
        let state = |status: Json| status["source"]["state"].as_str().unwrap_or_default().to_owned();
        self.is_running() && !["standby", "starting", ""].contains(&&*state(self.status().0))
    }
}

impl Deref for Instance {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}
