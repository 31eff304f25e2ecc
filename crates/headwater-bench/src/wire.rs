//! The commands that bring rows into Redis, as a file for `redis-cli --pipe`.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Columns of `pgbench_accounts`, the first of them the key.
const COLUMNS: [&str; 4] = ["aid", "bid", "abalance", "filler"];

/// Reads COPY's text from `copy` and writes one HSET per row, of the hash that Headwater keeps for it. Returns the rows.
pub fn write_commands(mut copy: Command, path: &Path) -> anyhow::Result<u64> {
    let mut child = copy.stdout(Stdio::piped()).spawn().context("start COPY")?;
    let output = child.stdout.take().context("COPY's output")?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut rows = 0;
    for line in BufReader::with_capacity(1 << 20, output).split(b'\n') {
        let line = line?;
        let mut cells = line.split(|byte| *byte == b'\t').peekable();
        let key = [b"account:", cells.peek().copied().unwrap_or_default()].concat();
        write!(file, "*{}\r\n$4\r\nHSET\r\n", 2 + 2 * COLUMNS.len())?;
        bulk(&mut file, &key)?;
        for (name, cell) in COLUMNS.iter().zip(cells) {
            bulk(&mut file, name.as_bytes())?;
            bulk(&mut file, cell)?;
        }
        rows += 1;
    }
    file.flush()?;
    ensure!(child.wait()?.success(), "COPY failed");
    Ok(rows)
}

fn bulk(out: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    write!(out, "${}\r\n", bytes.len())?;
    out.write_all(bytes)?;
    out.write_all(b"\r\n")
}
