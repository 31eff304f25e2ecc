//! What one access pattern would be answered by or from otherwise, all else chosen anew around it.

use crate::catalog::Malformed;
use crate::plan::decide::{bill, monthly_by};
use crate::plan::explain::{Explained, few};
use crate::plan::parallel;
use crate::plan::report::{Alternative, figure, per_second};
use crate::plan::services::{self, Market, PARTITION_READS, PARTITION_WRITES, total, units_read};
use crate::plan::workload::{PatternKind, PatternLoad};

const TABLES: &str = "dynamodb";

/// Each with how often it is asked for.
pub(super) fn alternatives(this: &Explained<'_>) -> Result<Vec<(f64, Alternative)>, Malformed> {
    let priced = parallel::each_with(
        this.workload.patterns.len(),
        || Market::of(this.catalog, this.workload),
        |market, place| {
            let market = market.as_mut().map_err(|malformed| malformed.clone())?;
            let of = Of { this, place, pattern: &this.workload.patterns[place] };
            let mut all = Vec::new();
            all.extend(of.missing_index(market));
            all.extend(of.one_label(market));
            all.extend(of.spread_order()?);
            all.extend(of.copied_key(market));
            all.extend(of.whole_documents()?);
            Ok((of.pattern.rate, all))
        },
    );
    let mut out = Vec::new();
    for priced in priced {
        let (rate, all) = priced?;
        out.extend(all.into_iter().map(|alternative| (rate, alternative)));
    }
    Ok(out)
}

struct Of<'a> {
    this: &'a Explained<'a>,
    place: usize,
    pattern: &'a PatternLoad,
}

impl Of<'_> {
    fn now(&self) -> f64 {
        bill(self.this.workload, self.this.offers, self.this.chosen)
    }

    /// What is answered now.
    fn offer(&self) -> &services::Offer {
        self.this.offer(self.this.chosen.answered_by[self.place])
    }

    fn other(&self, now: impl Into<String>, instead: impl Into<String>, then: Option<f64>) -> Alternative {
        Alternative {
            of: self.pattern.name.to_string(),
            now: now.into(),
            instead: instead.into(),
            difference: then.map(|then| then - self.now()),
            months: None,
        }
    }

    /// The whole bill if the pattern were another, and what answers it then.
    fn varied(&self, market: &mut Market<'_>, other: &PatternLoad) -> Option<(f64, &services::Offer)> {
        let this = self.this;
        let uses = this.assembled.uses(market, this.offers, self.place, other);
        let varied = this.explored.around(self.place).varied(&uses, this.around_limits());
        let by = this.assembled.offers[varied.best.as_ref()?.answered_by[self.place]];
        Some((this.bill_of(varied)?, this.offer(by)))
    }

    /// Of answers whose first rows the database finds by an index.
    fn missing_index(&self, market: &mut Market<'_>) -> Option<Alternative> {
        let entry = self.pattern.entry.as_ref().filter(|_| self.offer().is_source)?;
        let mut without = self.pattern.clone();
        without.source_summed += entry.rows;
        let varied = self.varied(market, &without);
        let rows = figure(entry.rows);
        let instead = match varied {
            Some((_, by)) if !by.is_source => {
                format!("no index: each answer would go through {rows} rows, so {} answers", by.title)
            }
            _ => format!("no index: each answer goes through {rows} rows"),
        };
        let then = varied.map(|(then, _)| then);
        Some(self.other(format!("found in the database by an index on {}", entry.index), instead, then))
    }

    /// Of walks whose rows have edges of other labels as well.
    fn one_label(&self, market: &mut Market<'_>) -> Option<Alternative> {
        let rows = self.pattern.rows_of_any_label?;
        let mut all = self.pattern.clone();
        all.source_rows *= rows / self.pattern.rows;
        all.rows = rows;
        Some(self.other(
            format!("edges by their label: a walk reads {}", figure(self.pattern.rows)),
            format!("one label for all edges: a walk reads {}", figure(rows)),
            self.varied(market, &all).map(|(then, _)| then),
        ))
    }

    /// Of rankings that change more often than one partition of a table of items takes: in parts, of which each answer reads all.
    fn spread_order(&self) -> Result<Option<Alternative>, Malformed> {
        let view = self.pattern.views.first().map(|view| &self.this.workload.views[*view]);
        let Some(view) = view.filter(|view| view.changes > PARTITION_WRITES) else { return Ok(None) };
        if self.pattern.kind != PatternKind::Top {
            return Ok(None);
        }
        let mut other = self.this.workload.clone();
        let shards = (view.changes / PARTITION_WRITES).ceil();
        other.patterns[self.place].shards = shards;
        let units = (units_read(self.pattern), units_read(&other.patterns[self.place]));
        let limits = few(other.patterns.len(), self.this.limits);
        let then = monthly_by(&other, self.this.catalog, limits, self.place, TABLES)?;
        Ok(then.map(|then| {
            self.other(
                format!("{}: one partition of a table of items takes 1,000 writes per second, {} changes {}", self.offer().title, view.name, per_second(view.changes)),
                format!("a table of items with its order in {shards} shards: each answer asks all of them, {} read units instead of {}", figure(units.1), figure(units.0)),
                Some(then),
            )
        }))
    }

    /// Of keys in tables of items that are read more often than one partition answers: copies of each document, one of them read.
    fn copied_key(&self, market: &mut Market<'_>) -> Option<Alternative> {
        let offer = Some(self.offer()).filter(|offer| offer.scheme == TABLES)?;
        let units = self.pattern.rate * self.pattern.hottest? * units_read(self.pattern);
        if units <= PARTITION_READS {
            return None;
        }
        let copies = (units / PARTITION_READS).ceil();
        let kept = offer.keeps.get(*self.pattern.views.first()?)?.as_ref().ok()?;
        let more = (copies - 1.0) * total(&kept.lines);
        let this = self.this;
        let mut uses = this.assembled.uses(market, this.offers, self.place, self.pattern);
        for (at, asked) in uses.iter_mut().enumerate() {
            match asked {
                Some(asked) if this.offer(this.assembled.offers[at]).scheme == TABLES => {
                    asked.monthly += more
                }
                _ => *asked = None,
            }
        }
        let then = this.bill_of(this.explored.around(self.place).varied(&uses, this.around_limits()));
        Some(self.other(
            format!(
                "one item per document: the hottest key takes {} read units, a partition gives {}",
                per_second(units),
                per_second(PARTITION_READS)
            ),
            format!("each document in {copies} copies, one of them read: every change writes all"),
            then,
        ))
    }

    /// Of tables of items: an index with whole documents beside one of places.
    fn whole_documents(&self) -> Result<Option<Alternative>, Malformed> {
        if self.offer().scheme != TABLES || self.pattern.index.is_none() {
            return Ok(None);
        }
        let priced = services::with_whole_documents(self.this.catalog, self.this.workload, self.pattern)?;
        Ok(priced.map(|(now, then)| Alternative {
            difference: Some(then - now),
            ..self.other(
                "a table of places, and the documents that stand there, read strongly consistent",
                "a global secondary index with whole documents: one request, a moment older; `run` does not keep one",
                None,
            )
        }))
    }
}
