//! Measures, on servers of a sandbox, the constants that a plan's recovery rests on: how fast the source replays its log after it
//! was killed, how fast it reads itself warm, how fast Headwater fills a store again.
//!
//! Everything is small and on one machine: figures are of this machine's processors and memory, its files mostly cached.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use headwater_control::drill::{Calibrated, Calibration};
use headwater_engines::registry;
use headwater_engines::sandbox::{Folder, Process, SandboxSource};
use headwater_flow::status::PartState;
use tokio::runtime::Handle;

use super::PATIENCE;
use crate::control_socket;
use crate::figures::utc;

/// Of about 330 bytes each.
const ROWS: u64 = 200_000;
const PAGE_BYTES: f64 = 8192.0;
/// About one of the rows of a page.
const EVERY: u64 = 23;

/// Times shorter than this are the clock's rather than the server's.
const SECONDS_MIN: f64 = 0.01;

pub fn calibrate(runtime: &Handle, say: fn(&str)) -> anyhow::Result<Calibration> {
    let (source, store) = registry::sandbox_servers();
    if !source {
        bail!(
            "no database server is installed here that could be measured: install one, such as with `apt-get install postgresql`"
        );
    }
    let folder = Folder::new()?;
    say("building the sandbox");
    let source = registry::sandbox_source(true, &folder)?;
    source.execute(&format!(
        "CREATE TABLE filler (id int PRIMARY KEY, n int NOT NULL, pad text NOT NULL);
         INSERT INTO filler SELECT i, 0, repeat(md5(i::text), 9) FROM generate_series(1, {ROWS}) i"
    ))?;
    source.rows("VACUUM ANALYZE filler")?;
    let mut figures = Vec::new();
    let mut engines = vec![source.name()];

    say("killing the database behind a load of page images");
    source.rows("CHECKPOINT")?;
    source.execute("UPDATE filler SET n = n + 1")?;
    let replay = replayed(&*source)?;
    let bytes_per_s = replay.bytes / replay.seconds.max(SECONDS_MIN);
    figures.push(Calibrated {
        name: "replay-bytes-per-s".to_owned(),
        value: bytes_per_s,
        how: format!("{:.0} MB of log with page images in {:.2} s", replay.bytes / 1e6, replay.seconds),
    });

    say("killing it behind changes of many pages");
    // Without images, so that each page has to be found and changed.
    source.rows("ALTER SYSTEM SET full_page_writes = off")?;
    source.rows("SELECT pg_reload_conf()")?;
    source.rows("VACUUM FULL filler")?;
    source.rows("CHECKPOINT")?;
    let pages = number(&*source, "SELECT pg_relation_size('filler') / current_setting('block_size')::int")?;
    source.execute(&format!("UPDATE filler SET n = n + 1 WHERE id % {EVERY} = 0"))?;
    let replay = replayed(&*source)?;
    let beside = (replay.seconds - replay.bytes / bytes_per_s).max(0.0);
    if beside >= SECONDS_MIN {
        figures.push(Calibrated {
            name: "replay-page-us".to_owned(),
            value: beside * 1e6 / pages,
            how: format!("{pages:.0} pages without images in {beside:.2} s, files cached by the system"),
        });
    }

    say("reading it warm");
    source.rows("ALTER SYSTEM RESET full_page_writes")?;
    stop(&*source)?;
    source.start()?;
    let began = Instant::now();
    source.rows("SELECT sum(length(pad)) FROM filler")?;
    let took = began.elapsed().as_secs_f64().max(SECONDS_MIN);
    let bytes = number(&*source, "SELECT pg_relation_size('filler')")?;
    figures.push(Calibrated {
        name: "warm-bytes-per-s".to_owned(),
        value: bytes / took,
        how: format!("{:.0} MB = {:.0} pages read first in {took:.2} s", bytes / 1e6, bytes / PAGE_BYTES),
    });

    say("filling a store");
    let near = registry::sandbox_store(store, &folder, "near")?;
    engines.push(near.name());
    let took = filled(&folder, &source.url(), &near.url(), runtime)?;
    figures.push(Calibrated {
        name: "refill-per-s".to_owned(),
        value: ROWS as f64 / took.as_secs_f64(),
        how: format!(
            "{ROWS} documents into {} in {:.1} s, from the start of the program",
            near.name(),
            took.as_secs_f64()
        ),
    });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Calibration { at: utc(i64::try_from(now.as_micros()).unwrap_or(0)), engines, figures })
}

struct Replay {
    bytes: f64,
    seconds: f64,
}

/// Kills the server, starts it again, and reads from its log what it replayed.
fn replayed(source: &dyn SandboxSource) -> anyhow::Result<Replay> {
    let process = source.process().context("the sandbox's source is no server")?;
    let before = fs::read_to_string(process.log()).unwrap_or_default().len();
    process.kill();
    source.start()?;
    let log = fs::read_to_string(process.log()).context("cannot read the server's log")?;
    let said = log.get(before..).unwrap_or(&log);
    let behind = |words: &str| said.lines().find_map(|line| line.split_once(words)).map(|(_, rest)| rest);
    let from = behind("redo starts at ").and_then(lsn);
    let done = behind("redo done at ");
    let to = done.and_then(lsn);
    let elapsed = done.and_then(|rest| rest.split_once("elapsed: "));
    let elapsed = elapsed.and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    match (from, to, elapsed) {
        (Some(from), Some(to), Some(seconds)) => Ok(Replay { bytes: (to - from).max(0.0), seconds }),
        _ => bail!("the server does not say what it replayed:\n{}", process.log_tail(8)),
    }
}

/// `0/16B3748`, and whatever follows, as bytes.
fn lsn(text: &str) -> Option<f64> {
    let word = text.split(|c: char| !c.is_ascii_hexdigit() && c != '/').next()?;
    let (high, low) = word.split_once('/')?;
    let part = |hex| u64::from_str_radix(hex, 16).ok();
    Some(((part(high)? << 32) | part(low)?) as f64)
}

fn stop(source: &dyn SandboxSource) -> anyhow::Result<()> {
    source.rows("CHECKPOINT")?;
    source.process().context("the sandbox's source is no server")?.stop();
    Ok(())
}

fn number(source: &dyn SandboxSource, sql: &str) -> anyhow::Result<f64> {
    let rows = source.rows(sql)?;
    let cell = rows.first().and_then(|row| row.first()).context("no answer")?;
    cell.parse().with_context(|| format!("{cell} is no number"))
}

/// How long this program takes to fill a view of all rows, its own start included.
fn filled(folder: &Folder, source: &str, store: &str, runtime: &Handle) -> anyhow::Result<Duration> {
    let (file, data) = (folder.join("headwater.toml"), folder.join("headwater-data"));
    let text = format!(
        "data = \"{}\"\n[source]\nurl = \"{source}\"\n[stores]\nnear = {{ url = \"{store}\" }}\n\
         [views.filler]\nfrom = \"filler\"\nstore = \"near\"\n[serve]\nlisten = \"127.0.0.1:0\"\n",
        data.display()
    );
    fs::write(&file, text).context("cannot write the sandbox's file")?;
    let mut command = Command::new(std::env::current_exe().context("cannot tell which program this is")?);
    command.arg("-f").arg(&file).arg("run").env_remove("HEADWATER_FILE").env_remove("HEADWATER_LOG");
    let process = Process::new(folder, "headwater");
    let began = Instant::now();
    process.start(&mut command, folder.path())?;
    loop {
        let status = runtime.block_on(control_socket::ask(&data)).ok().flatten();
        let is_whole = status.is_some_and(|status| {
            status.stores.iter().any(|store| {
                store.views.iter().any(|view| &*view.name == "filler" && view.state == PartState::Healthy)
            })
        });
        if is_whole {
            let took = began.elapsed();
            process.stop();
            return Ok(took);
        }
        if began.elapsed() > PATIENCE || !process.is_running() {
            bail!("the store is not filled: {}", process.log_tail(3));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_in_the_log_is_read_in_front_of_what_follows() {
        assert_eq!(lsn("0/16B3748"), Some(23_803_720.0));
        assert_eq!(lsn("1/0 system usage: CPU: user: 0.05 s"), Some(4_294_967_296.0));
        assert_eq!(lsn("nowhere"), None);
    }
}
