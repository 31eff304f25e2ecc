//! How long the choice of engines takes, against the size of the workload: needs no engine, and no other machine would choose
//! otherwise.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use headwater_control::catalog::Catalog;
use headwater_control::plan::choice::Limits;
use headwater_control::plan::{self, Workload};
use headwater_model::file::{File, References};

use crate::Size;
use crate::report::{Report, median};

/// Views, and for each of them two and a half access patterns.
const SIZES: [usize; 7] = [2, 5, 10, 25, 50, 100, 200];

/// Characters of the longest bar.
const WIDE: f64 = 48.0;

struct Nothing;

impl References for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Err("no files here".into())
    }
}

pub fn run(size: Size) -> anyhow::Result<()> {
    let catalog = Catalog::built_in().context("the catalogue")?;
    let mut report = Report::new("plan");
    let mut curve = Vec::new();
    for views in SIZES {
        let text = workload(views);
        let file = File::load(&text, &Nothing).map_err(|errors| anyhow!("{errors}"))?;
        let workload = Workload::read(&file, None).map_err(|found| anyhow!("{found:?}"))?;
        let (mut choosing, mut whole) = (Vec::new(), Vec::new());
        let mut gap = 0.0;
        for _ in 0..size.repeat {
            let began = Instant::now();
            plan::cost(&workload, &catalog, Limits::default())?.context("nothing carries the workload")?;
            choosing.push(began.elapsed());
            let began = Instant::now();
            let found = plan::plan(&workload, &catalog, &["redis", "dynamodb"], Limits::default())?;
            let found = found.map_err(|conflict| anyhow!("{conflict:?}"))?;
            whole.push(began.elapsed());
            gap = found.gap;
        }
        let patterns = workload.patterns.len();
        let (choosing, whole) = (median(choosing), median(whole));
        report.seconds(&format!("choice of {views} views and {patterns} patterns"), choosing.as_secs_f64());
        report.seconds(&format!("whole plan of {views} views and {patterns} patterns"), whole.as_secs_f64());
        curve.push((views, patterns, choosing, whole, gap));
    }
    draw(&curve);
    report.print();
    Ok(())
}

/// Bars on a logarithmic scale: a straight edge is a power of the size.
fn draw(curve: &[(usize, usize, Duration, Duration, f64)]) {
    let log = |took: Duration| (took.as_secs_f64() * 1e4).max(1.0).log10();
    let most = curve.iter().map(|(_, _, _, whole, _)| log(*whole)).fold(1.0, f64::max);
    println!(
        "\nseconds, each bar on a logarithmic scale from 0.1 ms: █ the choice, ░ with all that explains it"
    );
    for (views, patterns, choosing, whole, gap) in curve {
        let length = |took: Duration| (log(took) / most * WIDE).round() as usize;
        let (dark, all) = (length(*choosing), length(*whole));
        println!(
            "{views:>5} views {patterns:>4} patterns {:>8.3} {:>8.3}  gap {:>5.2} %  {}{}",
            choosing.as_secs_f64(),
            whole.as_secs_f64(),
            gap * 100.0,
            "█".repeat(dark),
            "░".repeat(all.saturating_sub(dark))
        );
    }
}

/// A file with views of many sizes, read by key, in order and by rank, at many rates. The same one every time.
fn workload(views: usize) -> String {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    // Between two figures, evenly over their orders of magnitude.
    let mut between = |low: f64, high: f64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (seed >> 11) as f64 / (1u64 << 53) as f64;
        (low.ln() + share * (high.ln() - low.ln())).exp()
    };
    let mut text = String::from(
        "[source]\nurl = \"postgres://db.internal/shop\"\n[stores]\nnear = { url = \"redis://cache.internal\" }\n",
    );
    let mut tables = String::from("[plan]\naverage = \"40%\"\nrto = \"5m\"\n[plan.tables]\n");
    let mut rankings = String::from("[plan.views]\n");
    for at in 0..views {
        let is_ranking = at % 10 == 9;
        let kind = if is_ranking { "rank = { by = \"who\", score = \"sum(points)\" }\n" } else { "" };
        let _ = write!(text, "[views.v{at}]\nfrom = \"t{at}\"\n{kind}");
        let _ = writeln!(
            tables,
            "t{at} = {{ rows = {:.0}, row = \"{:.0}B\", writes = \"{:.2}/s\" }}",
            between(1e3, 2e7),
            between(80.0, 2_000.0),
            between(0.05, 50.0)
        );
        let mut rate = || between(1.0, 1_500.0).ceil();
        if is_ranking {
            let _ = writeln!(rankings, "v{at} = {{ documents = 500 }}");
            let _ = write!(text, "[access.top{at}]\ntop = \"v{at}\"\nlimit = 10\nrate = \"{}/s\"\n", rate());
        } else {
            let _ = write!(text, "[access.get{at}]\nget = \"v{at}\"\nrate = \"{}/s\"\n", rate());
            let _ = write!(
                text,
                "[access.of{at}]\nrange = \"v{at}\"\nby = \"owner\"\nlimit = 20\nrate = \"{}/s\"\n",
                rate()
            );
        }
        if at % 3 != 0 {
            let quick = if at % 6 == 1 { "p99 = \"2ms\"\n" } else { "" };
            let _ = write!(text, "[access.more{at}]\nget = \"v{at}\"\n{quick}rate = \"{}/s\"\n", rate());
        }
    }
    format!("{text}{tables}{rankings}")
}
