//! What a plan's charts show: the workload solved again, grown month by month, and with other rates and sizes. Not: how they are
//! drawn.

use super::choice::Limits;
use super::conflict::Wish;
use super::decide::{best, bill, grown};
use super::parallel;
use super::report::Grown;
use super::services::offers;
use super::workload::Workload;
use crate::catalog::{Catalog, Malformed};

const MONTHS: u32 = 24;
const EVERY: u32 = 2;
/// Of what is declared: rates and rows of the decision map.
pub(super) const FACTORS: [f64; 9] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];
/// With more patterns than this, each point is chosen with less work than the plan itself.
const WORK_PATTERNS_MAX: usize = 24;
const WORK_SHARE: usize = 16;

/// Every point is a choice of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Charts {
    /// From now on, in steps.
    pub growth: Vec<Grown>,
    /// By factor of rows, and then by factor of rates.
    pub map: Vec<Vec<Cell>>,
}

/// The cheapest choice at one place of the map.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// What the provider bills; `None` if nothing carries it.
    pub monthly: Option<f64>,
    /// Titles of the engines, the database first.
    pub engines: Vec<String>,
}

/// Budgets are not asked here: they are of today's workload.
pub fn charts(workload: &Workload, catalog: &Catalog, limits: Limits) -> Result<Charts, Malformed> {
    let limits = match workload.patterns.len() {
        count if count > WORK_PATTERNS_MAX => Limits { work_max: limits.work_max / WORK_SHARE, ..limits },
        _ => limits,
    };
    let months = (0..=MONTHS).step_by(EVERY as usize).filter(|month| *month == 0 || workload.growth > 0.0);
    let months: Vec<u32> = months.collect();
    let growth = parallel::each(months.len(), |at| grown(workload, catalog, months[at], limits));
    let cells = parallel::each(FACTORS.len() * FACTORS.len(), |at| {
        let (size, rate) = (FACTORS[at / FACTORS.len()], FACTORS[at % FACTORS.len()]);
        cell(workload, catalog, limits, rate, size)
    });
    let cells: Vec<Cell> = cells.into_iter().collect::<Result<_, _>>()?;
    Ok(Charts {
        growth: growth.into_iter().collect::<Result<_, _>>()?,
        map: cells.chunks(FACTORS.len()).map(<[Cell]>::to_vec).collect(),
    })
}

fn cell(
    workload: &Workload,
    catalog: &Catalog,
    limits: Limits,
    rate: f64,
    size: f64,
) -> Result<Cell, Malformed> {
    let mut other = workload.clone();
    other.tables.iter_mut().for_each(|table| table.rows *= size);
    other.views.iter_mut().for_each(|view| view.documents *= size);
    for pattern in &mut other.patterns {
        pattern.rate *= rate;
        pattern.source_summed *= size;
    }
    let market = offers(catalog, &other)?;
    let Some(chosen) = best(&other, &market, &[Wish::Budget], limits) else {
        return Ok(Cell { monthly: None, engines: Vec::new() });
    };
    let mut engines: Vec<(bool, String)> = chosen
        .setups
        .keys()
        .map(|place| (!market.all[*place].is_source, market.all[*place].title.clone()))
        .collect();
    engines.sort();
    Ok(Cell {
        monthly: Some(bill(&other, &market, &chosen)),
        engines: engines.into_iter().map(|(_, title)| title).collect(),
    })
}
