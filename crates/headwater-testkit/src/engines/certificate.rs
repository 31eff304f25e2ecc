//! A certificate authority and a certificate that it signed, made by the `openssl` program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DAYS: &str = "30";

/// PEM files.
#[derive(Debug)]
pub struct Certificate {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// For who is called `localhost`: under 127.0.0.1 it has a wrong name. Lies in `folder`.
    #[track_caller]
    pub fn make(folder: &Path) -> Certificate {
        let openssl = |args: &[&[&str]]| {
            let args = args.concat();
            let output =
                Command::new("openssl").args(&args).current_dir(folder).output().expect("start openssl");
            assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let new_key: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        openssl(&[
            &["req", "-x509", "-days", DAYS, "-subj", "/CN=headwater test authority"],
            new_key,
            &["-keyout", "ca.key", "-out", "ca.crt", "-addext", "keyUsage=critical,keyCertSign,cRLSign"],
        ]);
        openssl(&[
            &["req", "-subj", "/CN=localhost"],
            new_key,
            &["-keyout", "server.key", "-out", "server.csr"],
        ]);
        fs::write(folder.join("server.ext"), "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n")
            .expect("write the certificate's extensions");
        openssl(&[
            &["x509", "-req", "-in", "server.csr", "-days", DAYS],
            &["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"],
            &["-extfile", "server.ext", "-out", "server.crt"],
        ]);
        Certificate {
            authority: folder.join("ca.crt"),
            certificate: folder.join("server.crt"),
            key: folder.join("server.key"),
        }
    }
}
