//! The real engines that tests start: found on this machine, or installed with the distribution's packages.
//!
//! Tests start servers of their own in temporary folders. The packages' own services are never started or touched.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};

struct Engine {
    name: &'static str,
    used_for: &'static str,
    /// Any of these programs will do.
    programs: &'static [&'static str],
    package: &'static str,
    /// What is skipped, and said to be, where it cannot be had: not every system has a package of it. Without this,
    /// nothing is tested at all.
    skips: Option<Skips>,
}

/// Tests that do without.
#[derive(Clone, Copy)]
pub struct Skips {
    /// For people.
    pub what: &'static str,
    /// The variable that tells the tests.
    pub variable: &'static str,
}

const WITHOUT_PATRONI: Skips = Skips { what: "a failover by Patroni", variable: "HEADWATER_WITHOUT_PATRONI" };

const ENGINES: &[Engine] = &[
    Engine {
        name: "PostgreSQL",
        used_for: "source",
        programs: &["postgres"],
        package: "postgresql",
        skips: None,
    },
    Engine {
        name: "MariaDB",
        used_for: "source",
        programs: &["mariadbd"],
        package: "mariadb-server",
        skips: Some(Skips { what: "MariaDB as a source and a store", variable: "HEADWATER_WITHOUT_MARIADB" }),
    },
    Engine {
        name: "Redis",
        used_for: "store",
        programs: &["redis-server", "valkey-server"],
        package: "redis-server",
        skips: None,
    },
    Engine {
        name: "InfluxDB",
        used_for: "store of series",
        programs: &["influxd"],
        package: "influxdb",
        skips: Some(Skips { what: "InfluxDB as a store", variable: "HEADWATER_WITHOUT_INFLUXDB" }),
    },
    Engine {
        name: "OpenSSL",
        used_for: "certificates of TLS tests",
        programs: &["openssl"],
        package: "openssl",
        skips: None,
    },
    Engine {
        name: "Prometheus",
        used_for: "scrapes, checks rules",
        programs: &["prometheus"],
        package: "prometheus",
        skips: None,
    },
    Engine {
        name: "Python",
        used_for: "clients that tests drive",
        programs: &["python3"],
        package: "python3-venv",
        skips: None,
    },
    Engine {
        name: "npm",
        used_for: "clients that tests drive",
        programs: &["npm"],
        package: "npm",
        skips: None,
    },
    Engine {
        name: "Java",
        used_for: "runs DynamoDB Local",
        programs: &["java"],
        package: "default-jre-headless",
        skips: None,
    },
    Engine {
        name: "Chromium",
        used_for: "drives the page",
        programs: &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
        package: "chromium",
        skips: Some(Skips { what: "the page in a browser", variable: "HEADWATER_WITHOUT_BROWSER" }),
    },
    Engine {
        name: "Patroni",
        used_for: "fails a source over",
        programs: &["patroni"],
        package: "patroni",
        skips: Some(WITHOUT_PATRONI),
    },
    Engine {
        name: "etcd",
        used_for: "what Patroni agrees in",
        programs: &["etcd"],
        package: "etcd-server",
        skips: Some(WITHOUT_PATRONI),
    },
    Engine {
        name: "HAProxy",
        used_for: "one address for a primary that changes",
        programs: &["haproxy"],
        package: "haproxy",
        skips: Some(WITHOUT_PATRONI),
    },
];

impl Engine {
    fn program(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        postgres_folders()
            .into_iter()
            .chain(std::env::split_paths(&path))
            // Debian keeps MariaDB's server here, which is not in everybody's PATH.
            .chain(std::iter::once(PathBuf::from("/usr/sbin")))
            .flat_map(|folder| self.programs.iter().map(move |program| folder.join(program)))
            .find(|program| program.is_file())
    }
}

/// Where Debian keeps server programs, newest first; they are not in the PATH.
pub fn postgres_folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    folders.sort();
    folders.into_iter().rev().map(|(_, folder)| folder).collect()
}

fn version(program: &Path) -> String {
    let flag =
        if program.ends_with("openssl") || program.ends_with("influxd") { "version" } else { "--version" };
    let output = Command::new(program).arg(flag).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

pub fn list() -> anyhow::Result<ExitCode> {
    for engine in ENGINES {
        match engine.program() {
            Some(program) => {
                println!(
                    "{:<12} {:<26} {}  ({})",
                    engine.name,
                    engine.used_for,
                    version(&program),
                    program.display()
                );
            }
            None => {
                println!("{:<12} {:<26} missing: package {}", engine.name, engine.used_for, engine.package)
            }
        }
    }
    println!("{:<12} {:<26} built in", "SQLite", "source and store");
    crate::python::list();
    crate::node::list();
    crate::dynamodb::list();
    crate::falkordb::list();
    crate::hypopg::list();
    crate::mysql::SERVER.list();
    crate::mongodb::SERVER.list();
    let missing = missing();
    if !missing.is_empty() {
        println!("\n`cargo xtask test` would run: {}", apt(&missing));
    }
    Ok(ExitCode::SUCCESS)
}

fn missing() -> Vec<&'static str> {
    ENGINES.iter().filter(|engine| engine.program().is_none()).map(|engine| engine.package).collect()
}

/// What is still missing after [`install`], and what is not tested for that.
pub fn skipped() -> Vec<(&'static str, Skips)> {
    let missing = ENGINES.iter().filter(|engine| engine.program().is_none());
    let missing = missing.filter_map(|engine| Some((engine.package, engine.skips?)));
    let missing = missing.chain(crate::falkordb::skipped()).chain(crate::hypopg::skipped());
    missing.chain(crate::mysql::SERVER.skipped()).chain(crate::mongodb::SERVER.skipped()).collect()
}

fn apt(packages: &[&str]) -> String {
    format!("apt-get install --yes --no-install-recommends {}", packages.join(" "))
}

/// Installs what is missing, or says the command that somebody else has to run. What tests can do without is no reason to
/// stop: see [`skipped`].
pub fn install() -> anyhow::Result<()> {
    let (spare, needed): (Vec<_>, Vec<_>) =
        ENGINES.iter().filter(|engine| engine.program().is_none()).partition(|engine| engine.skips.is_some());
    install_packages(&needed.iter().map(|engine| engine.package).collect::<Vec<_>>())?;
    for engine in spare {
        if let Err(error) = install_packages(&[engine.package]) {
            eprintln!("going on without {}: {error:#}", engine.name);
        }
    }
    Ok(())
}

pub fn install_packages(missing: &[&str]) -> anyhow::Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let command = apt(missing);
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "missing: {}. Install them with this system's package manager, then run again",
            missing.join(", ")
        );
    }
    let Some(mut shell) = root_shell() else {
        bail!("missing: {}. Run this, then run again:\n\n    sudo {command}\n", missing.join(", "));
    };
    eprintln!("installing what the tests need: {command}");
    // Without the policy file, installing would start servers on the usual ports. It is there only while we install,
    // and one that the machine already has is left as it is.
    let script = format!(
        "set -e
         export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
         policy=/usr/sbin/policy-rc.d
         if [ ! -e $policy ]; then
             trap 'rm -f '$policy EXIT
             printf '#!/bin/sh\\nexit 101\\n' >$policy
             chmod 755 $policy
         fi
         apt-get update --quiet
         {command} --quiet"
    );
    let status = shell.arg(script).stdin(Stdio::null()).status().context("start apt-get")?;
    if !status.success() {
        bail!("could not install {}: run `sudo {command}` to see why", missing.join(", "));
    }
    eprintln!("installed; the packages' own services were not started, and tests do not use them");
    Ok(())
}

/// `sh -c` as root, if that needs nobody to type a password.
fn root_shell() -> Option<Command> {
    let quietly = |command: &mut Command| command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok();
    let id = quietly(Command::new("id").arg("-u"))?;
    if id.stdout.trim_ascii() == b"0" {
        let mut shell = Command::new("sh");
        shell.arg("-c");
        return Some(shell);
    }
    let may = quietly(Command::new("sudo").args(["-n", "true"]))?;
    may.status.success().then(|| {
        let mut shell = Command::new("sudo");
        shell.args(["-n", "sh", "-c"]);
        shell
    })
}
