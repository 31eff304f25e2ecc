//! What a drill measured, whether that is good enough, and how it is told.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Something that was done, and when, since the fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub at_ms: i64,
    pub what: String,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// From the fault to the first incident that tells of it; `None` if Headwater never had to notice.
    pub detected_ms: Option<u64>,
    /// From the fault to the last moment at which something was not whole; `None` if that did not end in time.
    pub rto_ms: Option<u64>,
    /// Transactions that were acknowledged to whoever committed them.
    pub committed: u64,
    /// Of those, the ones that the source itself has no more: its own failover lost them.
    pub lost_by_source: u64,
    /// Of those that the source has, the ones that a store lacks in the end.
    pub lost_transactions: u64,
    /// Keys that a store lacks, has besides, or has with another document than the source's rows make.
    pub different_keys: u64,
    pub compared_keys: u64,
    /// Reads that saw an older version of a key than one before.
    pub went_back: u64,
    pub reads: u64,
}

/// What it is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub rto_ms_max: u64,
    pub rpo_transactions_max: u64,
}

impl Verdict {
    /// What was not good enough; nothing if the drill passed.
    pub fn failures(&self, measured: &Measured) -> Vec<String> {
        let mut failures = Vec::new();
        match measured.rto_ms {
            None => failures.push("it did not become whole again in time".to_owned()),
            Some(rto) if rto > self.rto_ms_max => {
                failures.push(format!("it took {rto} ms to be whole again, {} are allowed", self.rto_ms_max));
            }
            Some(_) => {}
        }
        let lost = measured.lost_by_source + measured.lost_transactions;
        if lost > self.rpo_transactions_max {
            failures.push(format!(
                "{lost} committed transactions are missing, {} are allowed",
                self.rpo_transactions_max
            ));
        }
        if measured.different_keys > 0 {
            failures.push(format!("{} keys of stores differ from the source", measured.different_keys));
        }
        if measured.went_back > 0 {
            failures.push(format!("{} reads went back to an older version", measured.went_back));
        }
        failures
    }
}

/// A drill that was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub drill: String,
    pub what: String,
    /// Seconds since 1970.
    pub at_seconds: u64,
    /// The same for people, UTC.
    pub at: String,
    pub sandbox: bool,
    pub engines: Vec<String>,
    pub steps: Vec<Step>,
    /// What Headwater noted, since the fault.
    pub incidents: Vec<Step>,
    pub measured: Measured,
    pub objectives: Verdict,
    pub passed: bool,
    pub failures: Vec<String>,
}

/// As Markdown.
pub fn markdown(report: &Report) -> String {
    let (m, mut out) = (&report.measured, String::new());
    let verdict = if report.passed { "passed" } else { "FAILED" };
    let _ = writeln!(out, "# Drill `{}`: {verdict}\n\n{} UTC. {}.\n", report.drill, report.at, report.what);
    let place = if report.sandbox { "A sandbox" } else { "The live system" };
    let _ = writeln!(out, "{place}: {}.\n", report.engines.join(", "));
    let ms = |ms: Option<u64>, none: &str| ms.map_or(none.to_owned(), |ms| format!("{ms} ms"));
    let _ = writeln!(out, "| | measured | allowed |\n|---|---|---|");
    let _ = writeln!(out, "| detected after | {} | |", ms(m.detected_ms, "nothing to notice"));
    let rto = ms(m.rto_ms, "never");
    let _ = writeln!(out, "| whole again after (RTO) | {rto} | {} ms |", report.objectives.rto_ms_max);
    if report.sandbox {
        let lost = m.lost_by_source + m.lost_transactions;
        let allowed = report.objectives.rpo_transactions_max;
        let _ =
            writeln!(out, "| transactions lost (RPO) | {lost} of {} committed | {allowed} |", m.committed);
        if m.lost_by_source > 0 {
            let _ = writeln!(out, "| of those, by the source itself | {} | |", m.lost_by_source);
        }
        let _ = writeln!(out, "| keys that differ | {} of {} | 0 |", m.different_keys, m.compared_keys);
        let _ = writeln!(out, "| reads that went back | {} of {} | 0 |", m.went_back, m.reads);
    }
    for failure in &report.failures {
        let _ = writeln!(out, "\n**{failure}**");
    }
    for (title, steps) in [("What was done", &report.steps), ("What Headwater noted", &report.incidents)] {
        if !steps.is_empty() {
            let _ = writeln!(out, "\n## {title}\n");
        }
        for step in steps {
            let _ = writeln!(out, "- {:+.2} s: {}", step.at_ms as f64 / 1000.0, step.what.replace('\n', " "));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_objective_that_is_missed_fails_the_drill_and_says_so() {
        let verdict = Verdict { rto_ms_max: 1000, rpo_transactions_max: 2 };
        let good =
            Measured { rto_ms: Some(1000), lost_by_source: 1, lost_transactions: 1, ..Measured::default() };
        assert_eq!(verdict.failures(&good), Vec::<String>::new());
        let bad = [
            Measured { rto_ms: None, ..good.clone() },
            Measured { rto_ms: Some(1001), ..good.clone() },
            Measured { lost_transactions: 2, ..good.clone() },
            Measured { different_keys: 1, ..good.clone() },
            Measured { went_back: 1, ..good.clone() },
        ];
        for measured in bad {
            assert_eq!(verdict.failures(&measured).len(), 1, "{measured:?}");
        }
    }

    #[test]
    fn a_report_tells_what_was_measured_done_and_missed() {
        let measured = Measured {
            detected_ms: Some(12),
            rto_ms: None,
            committed: 40,
            lost_transactions: 3,
            ..Measured::default()
        };
        let objectives = Verdict { rto_ms_max: 1000, rpo_transactions_max: 0 };
        let report = Report {
            drill: "kill-store".into(),
            what: "kill -9 of a store".into(),
            at_seconds: 0,
            at: "1970-01-01 00:00:00".into(),
            sandbox: true,
            engines: vec!["SQLite 3".into()],
            steps: vec![Step { at_ms: 2000, what: "started again".into() }],
            incidents: vec![Step { at_ms: 12, what: "store near: failed".into() }],
            failures: objectives.failures(&measured),
            measured,
            objectives,
            passed: false,
        };
        let text = markdown(&report);
        for part in [
            "FAILED",
            "| never |",
            "3 of 40 committed",
            "+2.00 s: started again",
            "+0.01 s: store near: failed",
            "**3 committed",
        ] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
    }
}
