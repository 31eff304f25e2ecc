//! `cargo xtask test`: every test of the workspace, and one line at the end that adds them up.

use std::io::{BufRead, BufReader, Write};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use anyhow::Context;

use crate::{cargo, dynamodb, engines, falkordb, hypopg, mongodb, mysql, node, python};

#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    failures: Vec<String>,
}

impl Tally {
    /// Reads what libtest prints: `test name ... FAILED` and `test result: ok. 3 passed; 0 failed; …`.
    fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            let count = |what: &str| -> u64 {
                let before = counts.split(';').find_map(|part| part.trim().strip_suffix(what));
                before.and_then(|text| text.split_ascii_whitespace().next_back()?.parse().ok()).unwrap_or(0)
            };
            self.passed += count(" passed");
            self.failed += count(" failed");
            self.ignored += count(" ignored");
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }
}

pub fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let (older_mysql, filters) = match args {
        [flag, version, filters @ ..] if flag == "--mysql" => (Some(mysql::install_older(version)?), filters),
        filters => (None, filters),
    };
    engines::install()?;
    python::install()?;
    node::install()?;
    dynamodb::install()?;
    falkordb::install();
    hypopg::install();
    mysql::SERVER.install();
    mongodb::SERVER.install();
    let built = cargo().args(["test", "--workspace", "--no-run"]).status().context("start cargo")?;
    if !built.success() {
        println!("build failed: no test ran");
        return Ok(ExitCode::FAILURE);
    }

    // Tests mostly wait for engines, and each may have one or two of its own: a few at a time, whatever the machine.
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 6));
    let started = Instant::now();
    let mut skipped = engines::skipped();
    skipped.extend(python::skipped());
    let mut tests = cargo()
        .envs(skipped.iter().map(|(_, skips)| (skips.variable, "1")))
        .envs(older_mysql.map(|folder| ("HEADWATER_MYSQL", folder)))
        .args(["test", "--workspace", "--no-fail-fast", "--", "--test-threads", &threads.to_string()])
        .args(filters)
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo")?;
    let mut tally = Tally::default();
    if let Some(output) = tests.stdout.take() {
        // A test may print bytes that are not text.
        for line in BufReader::new(output).split(b'\n') {
            let line = line.context("read the tests' output")?;
            let line = String::from_utf8_lossy(&line);
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "{line}")?;
            tally.read(&line);
        }
    }
    let status = tests.wait().context("wait for cargo")?;
    if !status.success() && tally.failed == 0 {
        // A test binary that died, for example by a signal, has no result line.
        tally.failed = 1;
        tally.failures.push("a test binary ended without a result: see above".into());
    }
    for name in &tally.failures {
        println!("failed: {name}");
    }
    for (package, skips) in &skipped {
        println!("SKIPPED: {} (missing: {package})", skips.what);
    }
    let ignored = if tally.ignored > 0 { format!(", {} ignored", tally.ignored) } else { String::new() };
    println!(
        "\n{} passed, {} failed{ignored} in {:.0} s",
        tally.passed,
        tally.failed,
        started.elapsed().as_secs_f64()
    );
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn results_of_several_binaries_add_up() {
        let mut tally = Tally::default();
        for line in [
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.1s",
            "test result: ok. 30 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1s",
        ] {
            tally.read(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.ignored), (42, 1, 2));
        assert_eq!(tally.failures, ["a::c"]);
    }
}
