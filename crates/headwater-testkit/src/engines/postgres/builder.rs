//! How a [`Postgres`] is asked for.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::Postgres;
use super::install::Install;
use crate::faults::Disk;
use crate::{Certificate, Folder, free_port};

/// Small, and quick where a test does not care: the folder does not outlive the test, so nothing needs to reach the disk.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
wal_level = logical
max_wal_senders = 16
max_replication_slots = 16
max_connections = 60
shared_buffers = 32MB
jit = off
log_line_prefix = '%m [%p] %a '
";

#[derive(Debug, Default)]
pub struct PostgresBuilder {
    settings: Vec<(String, String)>,
    hba: Vec<String>,
    ssl: bool,
    fsync: bool,
    own_system: bool,
    any_bytes: bool,
    checksums: bool,
}

impl PostgresBuilder {
    /// A line of `postgresql.conf`, after the kit's own.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// A line of `pg_hba.conf`. The first call replaces "trust everyone" for TCP; the kit's own way in, the unix
    /// socket, stays trusted.
    #[must_use]
    pub fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.into());
        self
    }

    /// TLS with a certificate for `localhost`, signed by an authority of its own ([`Postgres::ca`]).
    #[must_use]
    pub fn ssl(mut self) -> Self {
        self.ssl = true;
        self
    }

    /// As in production: commits reach the disk.
    #[must_use]
    pub fn fsync(mut self) -> Self {
        self.fsync = true;
        self
    }

    /// With a system identifier of its own: others are copies of one template, and share the template's. Takes some 2 s.
    #[must_use]
    pub fn own_system(mut self) -> Self {
        self.own_system = true;
        self
    }

    /// With encoding SQL_ASCII: texts may hold bytes that are no UTF-8. Has a system identifier of its own too.
    #[must_use]
    pub fn any_bytes(mut self) -> Self {
        self.any_bytes = true;
        self
    }

    /// With checksums of its pages. Has a system identifier of its own too.
    #[must_use]
    pub fn checksums(mut self) -> Self {
        self.checksums = true;
        self
    }

    /// With its log on a small disk of its own, which can be filled ([`Disk`]).
    #[track_caller]
    pub fn start_with_log_on(self, mebibytes: u32) -> (Postgres, Disk) {
        let (mut disk, install) = (None, Install::find());
        let postgres = self.start_prepared(|data| {
            let (log, before) = (data.join("pg_wal"), data.join("pg_wal before"));
            fs::rename(&log, &before).expect("move the log away");
            disk = Some(Disk::at(log.clone(), mebibytes));
            let copied = Command::new("cp").arg("-aT").arg(&before).arg(&log).status();
            assert!(copied.expect("start cp").success(), "copy the log to its disk");
            install.own(&log);
        });
        (postgres, disk.expect("it was prepared"))
    }

    #[track_caller]
    pub fn start(self) -> Postgres {
        self.start_prepared(|_| ())
    }

    /// `prepare` is given the data folder, before the server starts.
    #[track_caller]
    fn start_prepared(self, prepare: impl FnOnce(&Path)) -> Postgres {
        let install = Install::find();
        let folder = Folder::new("postgres");
        let data = folder.join("data");
        if self.own_system || self.any_bytes || self.checksums {
            install.own(folder.path());
            // The last encoding that is named counts.
            let mut options = match self.any_bytes {
                true => vec!["--locale=C", "--encoding=SQL_ASCII"],
                false => vec!["--locale=C.UTF-8"],
            };
            if self.checksums {
                options.push("--data-checksums");
            }
            assert!(install.init(&data, &options), "initdb failed");
        } else {
            let status = Command::new("cp")
                .args(["-a", "--reflink=auto"])
                .arg(install.template())
                .arg(&data)
                .status()
                .expect("copy the template cluster");
            assert!(status.success(), "copy the template cluster");
        }

        let certificate = self.ssl.then(|| Certificate::make(folder.path()));
        if let Some(certificate) = &certificate {
            // The server insists on being the key's owner.
            for (from, to) in [(&certificate.certificate, "server.crt"), (&certificate.key, "server.key")] {
                fs::copy(from, data.join(to)).expect("copy the certificate");
                install.own(&data.join(to));
            }
        }
        let port = free_port();
        fs::write(data.join("pg_hba.conf"), self.pg_hba()).expect("write pg_hba.conf");
        let config = data.join("postgresql.conf");
        let mut text = fs::read_to_string(&config).expect("read postgresql.conf");
        let _ = write!(
            text,
            "{SETTINGS}port = {port}\nunix_socket_directories = '{}'\n",
            folder.path().display()
        );
        if !self.fsync {
            text.push_str("fsync = off\nfull_page_writes = off\n");
        }
        if self.ssl {
            text.push_str("ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n");
        }
        for (name, value) in &self.settings {
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        }
        fs::write(&config, text).expect("write postgresql.conf");
        install.own(folder.path());
        prepare(&data);
        install.own(&data);

        let ca = certificate.map(|certificate| certificate.authority);
        let postgres = Postgres { install, port, process: Default::default(), ca, folder };
        postgres.launch();
        postgres.wait_until_ready();
        postgres
    }

    fn pg_hba(&self) -> String {
        let mut text = String::from("local all all trust\nlocal replication all trust\n");
        if self.hba.is_empty() {
            text.push_str("host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n");
        }
        for line in &self.hba {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}
