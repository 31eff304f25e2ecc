//! A certificate authority and a server certificate, made by the `openssl` program that PostgreSQL's package brings.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DAYS: &str = "30";

/// Puts `server.crt` and `server.key` into `data` and returns the authority's certificate.
pub fn certify(folder: &Path, data: &Path) -> PathBuf {
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(folder).output().expect("start openssl");
        assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let mut authority = vec!["req", "-x509", "-days", DAYS, "-subj", "/CN=headwater test authority"];
    authority.extend(key);
    authority.extend([
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    ]);
    openssl(&authority);
    let mut request = vec!["req", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"];
    request.extend(key);
    openssl(&request);
    fs::write(
        folder.join("server.ext"),
        "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n",
    )
    .expect("write the certificate's extensions");
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        DAYS,
        "-extfile",
        "server.ext",
        "-out",
        "server.crt",
    ]);
    // PostgreSQL insists on the owner and mode of the key: install it as the owner of the data folder.
    for file in ["server.crt", "server.key"] {
        let output = Command::new("sh")
            .args([
                "-c",
                r#"install -m 600 -o "$(stat -c %u "$2")" -g "$(stat -c %g "$2")" "$1" "$2/$1""#,
                "sh",
                file,
            ])
            .arg(data)
            .current_dir(folder)
            .output()
            .expect("install the certificate");
        assert!(output.status.success(), "install {file}: {}", String::from_utf8_lossy(&output.stderr));
    }
    folder.join("ca.crt")
}
