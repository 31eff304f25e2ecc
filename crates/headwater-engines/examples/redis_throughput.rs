//! How fast the Redis store takes full puts, against `redis-cli --pipe` with the same HSET commands.
//!
//! `cargo run --release -p headwater-engines --no-default-features --features redis --example redis_throughput`
//!
//! Documents are shaped like pgbench_accounts. Each round starts with an empty server; the peer and the store take
//! turns, and the median of the rounds counts. `pipe` is the bare commands; `pipe_multi` the same with MULTI and
//! EXEC around each step. On a machine that does other work at the same time, compare the CPU seconds: the server is
//! the limit as long as its own are more than the client's. `indexed` is the store with one index, apart by branch and
//! ordered by balance. Arguments: changes per step, as many as you like.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use headwater_engines::store;
use headwater_model::file::StoreSection;
use headwater_model::{Epoch, Index, Key, Layout, Offset, Order, Record, Secret, Value, View, ViewChange};
use headwater_testkit::{Redis, contract};

/// Documents per round; `ROWS=200000` is enough for a look.
fn rows() -> usize {
    std::env::var("ROWS").map_or(1_000_000, |rows| rows.parse().unwrap())
}

const ROUNDS: usize = 3;

fn main() {
    let steps: Vec<usize> = std::env::args().skip(1).map(|step| step.parse().unwrap()).collect();
    let steps = if steps.is_empty() { vec![1_000] } else { steps };
    let redis = Redis::start();
    let plain = pipe_file(None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for step in steps {
        let multi = pipe_file(Some(step));
        let (mut pipe, mut pipe_multi, mut ours, mut indexed) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            pipe.push(measure(&redis, || run_pipe(&redis, plain.path())));
            pipe_multi.push(measure(&redis, || run_pipe(&redis, multi.path())));
            ours.push(measure(&redis, || runtime.block_on(run_store(&redis.url(), step, &[]))));
            assert_eq!(redis.cli(&["DBSIZE"]), (rows() + 1).to_string());
            indexed.push(measure(&redis, || runtime.block_on(run_store(&redis.url(), step, &by_branch()))));
        }
        let rate = |runs: &[Run]| rows() as f64 / median(runs, |run| run.seconds);
        for (name, runs) in
            [("pipe", &pipe), ("pipe_multi", &pipe_multi), ("ours", &ours), ("indexed", &indexed)]
        {
            let (server, client) = (median(runs, |run| run.server_cpu), median(runs, |run| run.client_cpu));
            println!("{name:>10}: {:.0}/s, CPU seconds: server {server:.2}, client {client:.2}", rate(runs));
        }
        let (pipe, pipe_multi, ours, indexed) = (rate(&pipe), rate(&pipe_multi), rate(&ours), rate(&indexed));
        println!(
            "{{\"bench\": \"redis_put\", \"ratios\": {{\"pipe\": {:.3}, \"pipe_multi\": {:.3}, \"indexed\": {:.3}}}, \"figures\": \
             {{\"step\": {step}, \"ours_per_s\": {ours:.0}, \"pipe_per_s\": {pipe:.0}, \"pipe_multi_per_s\": {pipe_multi:.0}}}}}",
            ours / pipe,
            ours / pipe_multi,
            indexed / ours,
        );
    }
}

fn filler() -> String {
    " ".repeat(84)
}

fn by_branch() -> Vec<Index> {
    let order = vec![Order { column: "abalance".into(), descending: true }];
    vec![Index { by: vec!["bid".into()], order }]
}

async fn run_store(url: &str, step: usize, indexes: &[Index]) {
    let section = StoreSection {
        name: "near".into(),
        url: Secret::new(url),
        settings: Default::default(),
        source: None,
    };
    let store = store(&section).unwrap();
    let mut view: View = (*contract::store::view("accounts", Layout::Hash)).clone();
    view.indexes = indexes.to_vec();
    let view = Arc::new(view);
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&view).await.unwrap();
    let names: Arc<[Box<str>]> = ["aid".into(), "bid".into(), "abalance".into(), "filler".into()].into();
    let filler = filler();
    for from in (0..rows()).step_by(step) {
        let mut apply = store.begin(Epoch(1), Offset(from as u64)).await.unwrap();
        for from in (from..from + step).step_by(1_000) {
            let changes = (from..(from + step.min(1_000)).min(rows())).map(|id| ViewChange::Put {
                view: Arc::clone(&view),
                key: Key(vec![Value::Int(id as i64)]),
                moved_from: None,
                document: Record {
                    names: Arc::clone(&names),
                    values: vec![
                        Value::Int(id as i64),
                        Value::Int(id as i64 / 100_000),
                        Value::Int(0),
                        Value::text(filler.as_str()),
                    ],
                },
            });
            apply.write(changes.collect()).await.unwrap();
        }
        apply.commit(&contract::store::held(1, (from + step) as u64)).await.unwrap();
    }
}

fn pipe_file(step: Option<usize>) -> tempfile::NamedTempFile {
    let mut file = std::io::BufWriter::new(tempfile::NamedTempFile::new().unwrap());
    let filler = filler();
    let mut text = String::new();
    for id in 0..rows() {
        text.clear();
        if step.is_some_and(|step| id % step == 0) {
            text.push_str("*1\r\n$5\r\nMULTI\r\n");
        }
        text.push_str("*10\r\n$4\r\nHSET\r\n");
        let (id, bid) = (id.to_string(), (id / 100_000).to_string());
        let key = format!("accounts:{id}");
        for arg in [&*key, "aid", &id, "bid", &bid, "abalance", "0", "filler", &filler] {
            write!(text, "${}\r\n{arg}\r\n", arg.len()).unwrap();
        }
        let next: usize = id.parse::<usize>().unwrap() + 1;
        if step.is_some_and(|step| next.is_multiple_of(step) || next == rows()) {
            text.push_str("*1\r\n$4\r\nEXEC\r\n");
        }
        file.write_all(text.as_bytes()).unwrap();
    }
    file.into_inner().unwrap()
}

fn run_pipe(redis: &Redis, file: &std::path::Path) {
    let mut pipe = redis.tool();
    pipe.arg("--pipe").stdin(std::fs::File::open(file).unwrap()).stdout(Stdio::null());
    assert!(pipe.status().unwrap().success());
}

struct Run {
    seconds: f64,
    server_cpu: f64,
    client_cpu: f64,
}

fn measure(redis: &Redis, work: impl FnOnce()) -> Run {
    redis.cli(&["FLUSHALL"]);
    let (server, client) = (server_cpu(redis), client_cpu());
    let from = Instant::now();
    work();
    let seconds = from.elapsed().as_secs_f64();
    Run { seconds, server_cpu: server_cpu(redis) - server, client_cpu: client_cpu() - client }
}

fn median(runs: &[Run], of: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn server_cpu(redis: &Redis) -> f64 {
    let info = redis.cli(&["INFO", "cpu"]);
    let of = |name: &str| -> f64 {
        info.lines()
            .find_map(|line| line.strip_prefix(name))
            .map_or(0.0, |value| value.trim().parse().unwrap())
    };
    of("used_cpu_user:") + of("used_cpu_sys:")
}

/// Of this process and of the children it has waited for (Linux; 0 elsewhere).
fn client_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // utime, stime, cutime, cstime, in ticks of 10 ms.
    (11..15).filter_map(|i| fields.get(i)?.parse::<f64>().ok()).sum::<f64>() / 100.0
}
