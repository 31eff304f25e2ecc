//! What this process costs, as the kernel counts it.

use super::names::{PROCESS_CPU, PROCESS_FDS, PROCESS_FDS_MAX, PROCESS_RESIDENT};
use super::text::Text;

/// What cannot be read (a system without /proc) is left out.
pub fn write(text: &mut Text) {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    if let Ok(usage) = usage {
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        text.set(PROCESS_CPU, &[], seconds(usage.user_time()) + seconds(usage.system_time()));
    }
    if let Some(bytes) = resident_bytes() {
        text.set(PROCESS_RESIDENT, &[], bytes);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        text.set(PROCESS_FDS, &[], entries.count() as f64);
    }
    if let Ok((limit, _)) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE) {
        text.set(PROCESS_FDS_MAX, &[], limit as f64);
    }
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024.0)
}
