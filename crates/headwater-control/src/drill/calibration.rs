//! Constants that were measured on a machine, beside those that a plan counts with.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Confidence, Origin};

/// What one machine measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// For people, in UTC.
    pub at: String,
    /// Product and version of what was measured.
    pub engines: Vec<String>,
    pub figures: Vec<Calibrated>,
}

/// One constant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    /// As the planner's model calls it.
    pub name: String,
    pub value: f64,
    /// Of what and how.
    pub how: String,
}

/// The service that the planner's own constants are under.
const MODEL: &str = "model";

impl Calibration {
    /// The catalogue with what was measured in place of what it assumed; what the model does not have is left out.
    pub fn applied(&self, catalog: &Catalog) -> Catalog {
        let mut catalog = catalog.clone();
        let origin = Origin {
            text: format!("measured by `headwater drill --calibrate` with {}", self.engines.join(" and "))
                .into(),
            date: self.at.get(..10).unwrap_or(&self.at).into(),
            confidence: Confidence::D,
        };
        for figure in &self.figures {
            catalog.replace(MODEL, &figure.name, figure.value, &origin);
        }
        catalog
    }
}

/// Measured beside assumed, a line each.
pub fn calibration_text(calibration: &Calibration, catalog: &Catalog) -> String {
    let mut out =
        format!("Measured here at {} UTC with {}\n", calibration.at, calibration.engines.join(" and "));
    let _ = writeln!(out, "  {:<20} {:>14} {:>14}  of", "", "measured", "plan's model");
    for figure in &calibration.figures {
        let known = catalog.service(MODEL).and_then(|model| model.fact(&figure.name));
        let assumed = known.and_then(|fact| fact.value);
        let _ = writeln!(
            out,
            "  {:<20} {:>14} {:>14}  {}",
            figure.name,
            amount(figure.value),
            assumed.map_or("-".to_owned(), amount),
            figure.how
        );
        if let Some(fact) = known {
            let unit = fact.unit.as_deref().unwrap_or_default();
            let text = fact.text.as_deref().map_or(String::new(), |text| format!(": {text}"));
            let origin = &fact.origin;
            let _ = writeln!(
                out,
                "  {:<20} model: {unit}{text} ({}, {}, {})",
                "", origin.text, origin.date, origin.confidence
            );
        }
    }
    out.push_str(
        "This machine is not the one that the plan is for: compare ratios. `headwater plan --calibrated` counts with what was measured.\n",
    );
    out
}

fn amount(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1}M", value / 1e6),
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_counted_with_and_the_rest_stays() {
        let built_in = Catalog::built_in().unwrap();
        let figure =
            |name: &str, value| Calibrated { name: name.to_owned(), value, how: "1 MB in 1 s".to_owned() };
        let calibration = Calibration {
            at: "2026-11-23 06:00:00".to_owned(),
            engines: vec!["PostgreSQL 15".to_owned()],
            figures: vec![figure("replay-bytes-per-s", 2e8), figure("warm-bytes-per-s", 3e9)],
        };
        let applied = calibration.applied(&built_in);
        let fact = |catalog: &Catalog, name: &str| catalog.service(MODEL).unwrap().fact(name).cloned();
        let replay = fact(&applied, "replay-bytes-per-s").unwrap();
        assert_eq!((replay.value, &*replay.origin.date), (Some(2e8), "2026-11-23"));
        assert_eq!(fact(&applied, "warm-bytes-per-s"), None);
        assert_eq!(fact(&applied, "refill-per-s"), fact(&built_in, "refill-per-s"));
        let text = calibration_text(&calibration, &built_in);
        assert!(
            text.contains("200.0M") && text.contains("50.0M") && text.contains("46 to 63 MB/s"),
            "{text}"
        );
    }
}
