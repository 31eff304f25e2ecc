//! From a workload to a plan: the choice, then what follows from it for each engine and each pattern.

use std::collections::BTreeMap;

use super::alternatives::alternatives;
use super::choice::{Choice, Explored, LOAD_NONE, Limits, Load, RESOURCES, UNLIMITED};
use super::conflict::{Conflict, Wish, conflict};
use super::explain::{self, Explained};
use super::parallel;
use super::problem::{Asked, Chosen, assemble, solve};
use super::report::{EnginePlan, Grown, PatternPlan, Plan, TablePlan};
use super::resilience::{minutes_allowed, minutes_lost};
use super::services::{
    CPU, Figures, Line, MEMORY, Offer, Offers, in_regions, offers, total, unable, unsupported,
};
use super::warnings;
use super::workload::Workload;
use crate::catalog::{Catalog, Malformed};

/// Months for which growth is looked at.
const MONTHS: [u32; 2] = [12, 24];

/// The cheapest plan, or why there is none. `keepable`: the schemes of stores that `run` can keep.
pub fn plan(
    workload: &Workload,
    catalog: &Catalog,
    keepable: &[&str],
    limits: Limits,
) -> Result<Result<Plan, Conflict>, Malformed> {
    let market = offers(catalog, workload)?;
    let Some(mut chosen) = best(workload, &market, &[], limits) else {
        return Ok(Err(conflict(workload, &market, limits)));
    };
    // All that is asked about the choice starts from one search that leaves out nothing.
    let asked = Asked { bill_only: chosen.bill_only, dominated: true, ..Asked::default() };
    let assembled = assemble(workload, &market, &asked);
    let known = assembled.known(&market, &chosen);
    let known = known.as_ref().map(|(answered_by, source)| (&answered_by[..], *source));
    let explored = Explored::new(&assembled.problem, known, explain::few(workload.patterns.len(), limits));
    if let Some(explored) = &explored
        && explored.best().monthly < chosen.choice.monthly - 1e-6
    {
        let better = assembled.chosen(explored.best().clone());
        if workload.budget.is_none_or(|budget| bill(workload, &market, &better) <= budget) {
            chosen = better;
        }
    }
    let figures = Figures::of(catalog)?;
    let mut plan = of_choice(workload, &market, &chosen, &figures);
    if let Some(explored) = &explored {
        let explained = Explained {
            workload,
            catalog,
            offers: &market,
            chosen: &chosen,
            assembled: &assembled,
            explored,
            limits,
        };
        explain::patterns(&explained, &mut plan)?;
        explain::engines(&explained, &mut plan);
        alternatives(&explained, &mut plan)?;
        plan.warnings = warnings::warnings(&explained, &plan, keepable);
    }
    plan.regions = in_regions(catalog, workload, &plan.engines);
    plan.warnings.extend(unsupported(catalog, workload, &plan.engines));
    if workload.growth > 0.0 {
        let grown = parallel::each(MONTHS.len(), |at| grown(workload, catalog, MONTHS[at], limits));
        plan.grown = grown.into_iter().collect::<Result<_, _>>()?;
    }
    Ok(Ok(plan))
}

/// What the cheapest plan costs per month, upkeep included; `None` if there is none.
pub fn cost(workload: &Workload, catalog: &Catalog, limits: Limits) -> Result<Option<f64>, Malformed> {
    let market = offers(catalog, workload)?;
    Ok(best(workload, &market, &[], limits)
        .map(|chosen| bill(workload, &market, &chosen) + upkeep(workload, &market, &chosen)))
}

/// What the provider bills for the cheapest plan whatever the budget; `None` if nothing carries the workload.
pub(super) fn monthly(
    workload: &Workload,
    catalog: &Catalog,
    limits: Limits,
) -> Result<Option<f64>, Malformed> {
    let market = offers(catalog, workload)?;
    let chosen = best(workload, &market, &[Wish::Budget], limits);
    Ok(chosen.map(|chosen| bill(workload, &market, &chosen)))
}

/// The same if one pattern were answered by stores of one scheme only.
pub(super) fn monthly_by(
    workload: &Workload,
    catalog: &Catalog,
    limits: Limits,
    pattern: usize,
    scheme: &str,
) -> Result<Option<f64>, Malformed> {
    let mut market = offers(catalog, workload)?;
    for offer in market.all.iter_mut().filter(|offer| offer.scheme != scheme) {
        offer.answers[pattern] = Err(unable("not asked for", "another engine is to answer it"));
    }
    let chosen = best(workload, &market, &[Wish::Budget], limits);
    Ok(chosen.map(|chosen| bill(workload, &market, &chosen)))
}

fn upkeep(workload: &Workload, offers: &Offers, chosen: &Chosen) -> f64 {
    let derived = chosen.setups.keys().filter(|place| !offers.all[**place].is_source).count();
    derived as f64 * workload.upkeep
}

pub(super) fn grown(
    workload: &Workload,
    catalog: &Catalog,
    months: u32,
    limits: Limits,
) -> Result<Grown, Malformed> {
    let later = workload.grown(f64::from(months) / 12.0);
    let market = offers(catalog, &later)?;
    // What a budget of today allows is not asked of the future.
    let chosen = best(&later, &market, &[Wish::Budget], limits);
    Ok(match chosen {
        Some(chosen) => Grown {
            months,
            monthly: Some(bill(&later, &market, &chosen)),
            engines: chosen.setups.iter().map(|(o, s)| named(&market, *o, *s)).collect(),
        },
        None => Grown { months, monthly: None, engines: Vec::new() },
    })
}

fn named(offers: &Offers, offer: usize, setup: usize) -> String {
    let offer = &offers.all[offer];
    format!("{}: {}", offer.title, offer.setups[setup].label)
}

/// The cheapest choice that meets all wishes but those that are dropped.
pub(super) fn best(workload: &Workload, offers: &Offers, dropped: &[Wish], limits: Limits) -> Option<Chosen> {
    let asked = Asked { dropped, ..Asked::default() };
    let chosen = solve(workload, offers, &asked, limits)?;
    let Some(budget) = workload.budget.filter(|_| !dropped.contains(&Wish::Budget)) else {
        return Some(chosen);
    };
    if bill(workload, offers, &chosen) <= budget {
        return Some(chosen);
    }
    // A bill within the budget may need an engine more than the cheapest whole has.
    let chosen = solve(workload, offers, &Asked { bill_only: true, ..asked }, limits)?;
    (bill(workload, offers, &chosen) <= budget).then_some(chosen)
}

/// What the provider bills: everything but the upkeep of engines.
pub(super) fn bill(workload: &Workload, offers: &Offers, chosen: &Chosen) -> f64 {
    chosen.choice.monthly - if chosen.bill_only { 0.0 } else { upkeep(workload, offers, chosen) }
}

pub(super) fn beside(offers: &Offers, chosen: &Chosen) -> bool {
    chosen.setups.keys().any(|offer| !offers.all[*offer].is_source)
}

/// A choice as lines of a bill.
struct Parts {
    engines: BTreeMap<usize, EngineParts>,
    /// Per pattern: what its answers alone cost.
    answers: Vec<Vec<Line>>,
}

#[derive(Default)]
struct EngineParts {
    /// Machines, storage, what is kept.
    lines: Vec<Line>,
    views: Vec<usize>,
    load: Load,
    capacity: Load,
}

impl Parts {
    fn of(workload: &Workload, offers: &Offers, chosen: &Chosen) -> Parts {
        let mut engines = BTreeMap::new();
        for (place, setup) in &chosen.setups {
            let offer = &offers.all[*place];
            let setup = &offer.setups[*setup];
            let mine = |pattern: &usize| chosen.answered_by[*pattern] == *place;
            let patterns: Vec<usize> = (0..workload.patterns.len()).filter(mine).collect();
            let mut parts = EngineParts { capacity: setup.capacity, ..EngineParts::default() };
            parts.lines.extend(offer.once.iter().chain(&setup.lines).cloned());
            let add = |to: &mut Load, load: &Load| to.iter_mut().zip(load).for_each(|(to, load)| *to += load);
            for pattern in &patterns {
                if let Ok(answered) = &offer.answers[*pattern] {
                    add(&mut parts.load, &answered.load);
                }
            }
            if !offer.is_source {
                parts.views = patterns.iter().flat_map(|p| workload.patterns[*p].views.clone()).collect();
                parts.views.sort_unstable();
                parts.views.dedup();
                for view in &parts.views {
                    if let Some(Ok(kept)) = offer.keeps.get(*view) {
                        let of = &workload.views[*view].name;
                        add(&mut parts.load, &kept.load);
                        parts.lines.extend(
                            kept.lines
                                .iter()
                                .map(|line| Line { what: format!("{of}: {}", line.what), ..line.clone() }),
                        );
                    }
                }
                let mut orders: Vec<&str> = Vec::new();
                for pattern in &patterns {
                    let Ok(answered) = &offer.answers[*pattern] else { continue };
                    let Some(extra) = &answered.extra else { continue };
                    if !orders.contains(&extra.index.as_str()) {
                        orders.push(&extra.index);
                        let of = |line: &Line| Line {
                            what: format!("{} ({})", line.what, extra.index),
                            ..line.clone()
                        };
                        parts.lines.extend(extra.kept.lines.iter().map(of));
                    }
                }
            }
            parts.lines.retain(|line| line.monthly > 0.0);
            engines.insert(*place, parts);
        }
        let answers = chosen.answered_by.iter().enumerate().map(|(pattern, offer)| {
            offers.all[*offer].answers[pattern].as_ref().map_or(Vec::new(), |answered| answered.lines.clone())
        });
        Parts { engines, answers: answers.collect() }
    }

    fn total(&self, offers: &Offers, beside: bool) -> f64 {
        self.engines.values().map(|engine| total(&engine.lines)).sum::<f64>()
            + self.answers.iter().map(|lines| total(lines)).sum::<f64>()
            + if beside { total(&offers.in_step) } else { 0.0 }
    }
}

fn of_choice(workload: &Workload, offers: &Offers, chosen: &Chosen, figures: &Figures) -> Plan {
    let parts = Parts::of(workload, offers, chosen);
    let monthly = bill(workload, offers, chosen);
    let beside = beside(offers, chosen);
    let Choice { monthly: whole, bound, .. } = chosen.choice;
    debug_assert!(
        (parts.total(offers, beside) - monthly).abs() < 1e-6 * whole.max(1.0),
        "the bill is not what was chosen for: {} of {monthly}",
        parts.total(offers, beside)
    );
    let shares = shares(workload, offers, chosen, &parts);
    let mut plan = Plan {
        region: workload.region.to_string(),
        copies: workload.regions.iter().map(ToString::to_string).collect(),
        monthly,
        upkeep: upkeep(workload, offers, chosen),
        gap: if whole > 0.0 { ((whole - bound) / whole).max(0.0) } else { 0.0 },
        budget: workload.budget,
        in_step: if beside { offers.in_step.clone() } else { Vec::new() },
        assumptions: workload.assumptions.clone(),
        gaps: offers.gaps.clone(),
        ..Plan::default()
    };
    for (place, setup) in &chosen.setups {
        let (offer, engine) = (&offers.all[*place], &parts.engines[place]);
        let setup = &offer.setups[*setup];
        let full = |kind: usize| match engine.capacity[kind] {
            room if room > 0.0 && room < UNLIMITED => Some(engine.load[kind] / room),
            _ => None,
        };
        plan.engines.push(EnginePlan {
            name: offer.name.clone(),
            title: offer.title.clone(),
            setup: setup.label.clone(),
            shape: setup.shape.clone(),
            tables: match offer.scheme {
                "dynamodb" => tables(workload, offer, chosen, *place, &engine.views),
                _ => Vec::new(),
            },
            is_source: offer.is_source,
            scheme: offer.scheme.to_owned(),
            monthly: total(&engine.lines) + answers_of(chosen, &parts, *place),
            lines: engine.lines.clone(),
            views: engine.views.iter().map(|view| workload.views[*view].name.to_string()).collect(),
            processors_used: full(CPU),
            memory_used: full(MEMORY).filter(|_| !offer.is_source),
            sla: setup.sla,
            minutes_allowed: minutes_allowed(setup.sla),
            minutes_expected: minutes_lost(figures, &setup.recovery),
            rto_s: setup.recovery.total_s(),
            recovery: setup.recovery.clone(),
            rpo_s: setup.rpo_s,
            zones: setup.zones,
            instead: String::new(),
        });
    }
    plan.engines.sort_by_key(|engine| !engine.is_source);
    for (place, pattern) in workload.patterns.iter().enumerate() {
        let by = chosen.answered_by[place];
        let (offer, setup) = (&offers.all[by], &offers.all[by].setups[chosen.setups[&by]]);
        let Ok(answered) = &offer.answers[place] else { continue };
        let share = shares[place];
        let answers = total(&parts.answers[place]);
        let largest = parts.answers[place].iter().max_by(|a, b| a.monthly.total_cmp(&b.monthly));
        let driver = match largest {
            Some(line) if line.monthly >= share => format!("{}: {}", line.what, amount(line)),
            _ if share > 0.0 => format!("its share of {}", setup.label),
            _ => "next to nothing".to_owned(),
        };
        plan.patterns.push(PatternPlan {
            name: pattern.name.to_string(),
            kind: pattern.kind.to_string(),
            rate: pattern.rate,
            bytes: pattern.bytes,
            engine: offer.title.clone(),
            setup: setup.label.clone(),
            monthly: answers + share,
            driver,
            lines: parts.answers[place].clone(),
            p99_ms: answered.p99_ms,
            p99_ms_asked: pattern.p99_ms,
            age_s: answered.age_s,
            age_s_asked: pattern.stale_s,
            sla: setup.sla,
            minutes_expected: minutes_lost(figures, &setup.recovery),
            rto_s: setup.recovery.total_s(),
            rpo_s: setup.rpo_s,
            ..PatternPlan::default()
        });
    }
    plan
}

/// A table of documents for each view that it keeps, and one of places for those that are kept in other orders.
fn tables(
    workload: &Workload,
    offer: &Offer,
    chosen: &Chosen,
    place: usize,
    views: &[usize],
) -> Vec<TablePlan> {
    let mut tables = Vec::new();
    for at in views {
        let view = &workload.views[*at];
        let written = offer.keeps[*at].as_ref().map_or(0.0, |kept| kept.units);
        let mut documents =
            TablePlan { view: view.name.to_string(), is_index: false, read_units: 0.0, write_units: written };
        let mut places = TablePlan { is_index: true, ..documents.clone() };
        for (pattern, by) in chosen.answered_by.iter().enumerate() {
            let Ok(answered) = &offer.answers[pattern] else { continue };
            if *by != place || workload.patterns[pattern].views.first() != Some(at) {
                continue;
            }
            documents.read_units += answered.units;
            if answered.extra.is_some() {
                places.read_units += answered.units;
            }
        }
        tables.push(documents);
        tables.extend(view.is_ordered.then_some(places));
    }
    tables
}

pub(super) fn amount(line: &Line) -> String {
    format!(
        "{} {} at ${}",
        crate::plan::report::figure(line.amount),
        line.unit,
        crate::plan::report::price(line.usd)
    )
}

fn answers_of(chosen: &Chosen, parts: &Parts, offer: usize) -> f64 {
    let mine = chosen.answered_by.iter().zip(&parts.answers).filter(|(by, _)| **by == offer);
    mine.map(|(_, lines)| total(lines)).sum()
}

/// What each pattern takes of what its engine costs whoever asks: of machines by the scarcest of what it loads them with, of
/// what is kept equally with the others that read it.
fn shares(workload: &Workload, offers: &Offers, chosen: &Chosen, parts: &Parts) -> Vec<f64> {
    let mut readers: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    for (pattern, by) in workload.patterns.iter().zip(&chosen.answered_by) {
        pattern.views.iter().for_each(|view| *readers.entry((*by, *view)).or_default() += 1.0);
    }
    let mut weights = Vec::new();
    let mut all: BTreeMap<usize, (f64, usize)> = BTreeMap::new();
    for (place, by) in chosen.answered_by.iter().enumerate() {
        let (offer, capacity) = (&offers.all[*by], &parts.engines[by].capacity);
        let mut load = offer.answers[place].as_ref().map_or(LOAD_NONE, |answered| answered.load);
        for view in workload.patterns[place].views.iter().filter(|_| !offer.is_source) {
            if let Some(Ok(kept)) = offer.keeps.get(*view) {
                (0..RESOURCES).for_each(|kind| load[kind] += kept.load[kind] / readers[&(*by, *view)]);
            }
        }
        let used = |kind: usize| match capacity[kind] {
            room if room > 0.0 && room < UNLIMITED => load[kind] / room,
            _ => 0.0,
        };
        let weight = (0..RESOURCES).map(used).fold(0.0, f64::max);
        weights.push(weight);
        let (sum, patterns) = all.entry(*by).or_default();
        (*sum, *patterns) = (*sum + weight, *patterns + 1);
    }
    let share = |(place, by): (usize, &usize)| {
        let (fixed, (sum, patterns)) = (total(&parts.engines[by].lines), all[by]);
        match offers.all[*by].is_source {
            true => fixed * f64::min(weights[place], 1.0),
            false if sum > 0.0 => fixed * weights[place] / sum,
            false => fixed / patterns as f64,
        }
    };
    chosen.answered_by.iter().enumerate().map(share).collect()
}
