//! A process killed in the middle of writing: the test runs itself again as a child and kills it.

use super::*;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

const CHILD_DIR: &str = "HEADWATER_TEST_JOURNAL_DIR";

fn entry(n: u64) -> Entry {
    let t = table((n % 3) as u32, 2 + (n % 3) as usize);
    let rows = if n.is_multiple_of(97) { 30_000 } else { n % 5 };
    transaction(
        n,
        (0..rows).map(|id| insert(&t, id as i64, "a row that was written before the kill")).collect(),
    )
}

/// Not a test of its own: what the child does.
#[test]
fn child_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let (journal, mut writer) =
        Journal::open(Options { segment_bytes: 256 << 10, ..Options::new(dir) }).unwrap();
    loop {
        let n = writer.last().0 + 1;
        append(&mut writer, &entry(n)).unwrap();
        if n.is_multiple_of(10) {
            writer.flush().unwrap();
            println!("durable {}", journal.durable());
        }
    }
}

#[test]
fn a_killed_writer_loses_nothing_durable_and_leaves_nothing_half() {
    let dir = tempfile::tempdir().unwrap();
    let (mut recovered, mut round) = (0, 0);
    // A slow machine gets more rounds, each longer than the one before.
    while round < 12 || recovered <= 100 {
        assert!(round < 200, "the child got {recovered} entries done");
        round += 1;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::tests::killed::child_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let lines = std::thread::spawn(move || {
            let durable = |line: String| line.split_once("durable ")?.1.trim().parse::<u64>().ok();
            BufReader::new(output).lines().map_while(Result::ok).filter_map(durable).last()
        });
        std::thread::sleep(Duration::from_millis(60 + round * 23));
        child.kill().unwrap();
        child.wait().unwrap();
        let told = lines.join().unwrap().unwrap_or(0);

        let (journal, writer) = Journal::<Change>::open(Options::new(dir.path())).unwrap();
        assert!(writer.last().0 >= told.max(recovered), "{} of {told}", writer.last());
        let mut reader = journal.read(Offset(recovered)).unwrap();
        let mut gather = Gather::default();
        loop {
            let items = reader.try_next(1 << 20).unwrap();
            if items.is_empty() {
                break;
            }
            gather.add(items);
        }
        for found in gather.entries {
            recovered += 1;
            assert_eq!(found, Entry { offset: Offset(recovered), ..entry(recovered) });
        }
        assert_eq!(writer.last().0, recovered);
        assert_eq!(journal.last_position(), (recovered > 0).then(|| position(recovered * 10)));
    }
}
