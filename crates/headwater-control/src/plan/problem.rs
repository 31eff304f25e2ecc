//! Offers and wishes as arithmetic: which setups are good enough, what each pattern may be answered by.

use std::collections::BTreeMap;

use super::choice::{
    Choice, Deployment, Engine, Keep, LOAD_NONE, Limits, Pattern, Problem, Use, View, choose,
};
use super::conflict::Wish;
use super::services::{Answered, Offer, Offers, Setup, total};
use super::workload::{PatternLoad, Workload};

/// So many setups of one service are compared at most.
const SETUPS_MAX: usize = 128;

/// A problem, and what its places stand for.
pub(super) struct Assembled {
    pub problem: Problem,
    /// Per engine: the offer.
    pub offers: Vec<usize>,
    /// Per engine and deployment: the setup.
    pub setups: Vec<Vec<usize>>,
}

/// What is asked for beside the workload itself.
#[derive(Default)]
pub(super) struct Asked<'a> {
    /// Wishes that are not looked at.
    pub dropped: &'a [Wish],
    /// A pattern, and the offers that must not answer it.
    pub barred: Option<(usize, &'a [usize])>,
    /// An offer that is not to be used at all.
    pub without: Option<usize>,
    /// The source alone.
    pub alone: bool,
    /// Without what running an engine costs beside its bill.
    pub bill_only: bool,
}

/// Why a setup is not good enough.
pub(super) fn setup_fails(workload: &Workload, setup: &Setup, dropped: &[Wish]) -> Option<Wish> {
    let fails = [
        (Wish::Availability, workload.availability.is_some_and(|asked| setup.sla < asked - 1e-9)),
        (Wish::Rto, workload.rto_s.is_some_and(|asked| setup.recovery.total_s() > asked + 1e-9)),
        (Wish::Rpo, workload.rpo_s.is_some_and(|asked| setup.rpo_s > asked + 1e-9)),
    ];
    fails.into_iter().find(|(wish, fails)| *fails && !dropped.contains(wish)).map(|(wish, _)| wish)
}

/// Why an answer is not good enough.
pub(super) fn answer_fails(
    place: usize,
    pattern: &PatternLoad,
    offer: &Offer,
    answered: &Answered,
    dropped: &[Wish],
) -> Option<Wish> {
    let late = pattern.p99_ms.is_some_and(|asked| answered.p99_ms > asked + 1e-9);
    let old = (pattern.strong && !offer.is_source)
        || pattern.stale_s.is_some_and(|asked| answered.age_s > asked + 1e-9);
    let fails = [(Wish::Latency(place), late), (Wish::Freshness(place), old)];
    fails.into_iter().find(|(wish, fails)| *fails && !dropped.contains(wish)).map(|(wish, _)| wish)
}

pub(super) fn assemble(workload: &Workload, offers: &Offers, asked: &Asked<'_>) -> Assembled {
    let mut assembled = Assembled {
        problem: Problem { beside: total(&offers.in_step), ..Problem::default() },
        offers: Vec::new(),
        setups: Vec::new(),
    };
    for (place, offer) in offers.all.iter().enumerate() {
        if (asked.alone && !offer.is_source) || asked.without == Some(place) {
            continue;
        }
        let setups = good_setups(workload, offer, asked.dropped);
        if setups.is_empty() {
            continue;
        }
        let upkeep = if offer.is_source || asked.bill_only { 0.0 } else { workload.upkeep };
        let deployment = |setup: &usize| {
            let setup = &offer.setups[*setup];
            Deployment { monthly: total(&setup.lines), capacity: setup.capacity }
        };
        assembled.problem.engines.push(Engine {
            is_source: offer.is_source,
            monthly: total(&offer.once) + upkeep,
            load: LOAD_NONE,
            deployments: setups.iter().map(deployment).collect(),
        });
        assembled.offers.push(place);
        assembled.setups.push(setups);
    }
    let chosen: Vec<&Offer> = assembled.offers.iter().map(|place| &offers.all[*place]).collect();
    for view in 0..workload.views.len() {
        let keep = |offer: &&Offer| {
            if offer.is_source {
                return Some(Keep { monthly: 0.0, load: LOAD_NONE });
            }
            let kept = offer.keeps.get(view)?.as_ref().ok()?;
            Some(Keep { monthly: total(&kept.lines), load: kept.load })
        };
        assembled.problem.views.push(View { at: chosen.iter().map(keep).collect() });
    }
    let shared = shared_orders(workload, &chosen, &mut assembled.problem);
    for (place, pattern) in workload.patterns.iter().enumerate() {
        let mut at = Vec::new();
        for (engine, offer) in chosen.iter().enumerate() {
            let barred = asked.barred.is_some_and(|(pattern, offers)| {
                pattern == place && offers.contains(&assembled.offers[engine])
            });
            let answered = offer.answers.get(place).and_then(|answer| answer.as_ref().ok());
            let fine = answered
                .filter(|a| !barred && answer_fails(place, pattern, offer, a, asked.dropped).is_none());
            at.push(fine.map(|answered| {
                let own = answered.extra.as_ref().filter(|extra| !shared.contains_key(extra.index.as_str()));
                Use {
                    monthly: total(&answered.lines) + own.map_or(0.0, |extra| total(&extra.kept.lines)),
                    load: answered.load,
                    deployments: u128::MAX,
                }
            }));
        }
        let mut views = pattern.views.clone();
        views.extend(pattern.index.as_deref().and_then(|index| shared.get(index)));
        assembled.problem.patterns.push(Pattern { views, at });
    }
    leave_out_dominated(&mut assembled);
    assembled
}

/// From the cheapest: those that carry more than every cheaper one in some way.
fn good_setups(workload: &Workload, offer: &Offer, dropped: &[Wish]) -> Vec<usize> {
    let mut good: Vec<usize> = Vec::new();
    for (place, setup) in offer.setups.iter().enumerate() {
        if setup_fails(workload, setup, dropped).is_some() {
            continue;
        }
        let covered = |better: &usize| {
            offer.setups[*better].capacity.iter().zip(&setup.capacity).all(|(better, this)| better >= this)
        };
        if !good.iter().any(covered) {
            good.push(place);
        }
    }
    // Neighbours in price go first: the cheapest and the largest stay. No service of the catalogue has so many.
    while good.len() > SETUPS_MAX {
        let price = |at: usize| total(&offer.setups[good[at]].lines);
        let closest = (1..good.len() - 1).min_by(|a, b| {
            let apart = |at: usize| price(at + 1) / price(at - 1).max(1e-9);
            apart(*a).total_cmp(&apart(*b))
        });
        let Some(closest) = closest else { break };
        good.remove(closest);
    }
    good
}

/// Orders that several patterns read in are kept once: each becomes something to keep.
fn shared_orders<'a>(
    workload: &'a Workload,
    chosen: &[&Offer],
    problem: &mut Problem,
) -> BTreeMap<&'a str, usize> {
    let mut users: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, pattern) in workload.patterns.iter().enumerate() {
        if let Some(index) = pattern.index.as_deref() {
            users.entry(index).or_default().push(place);
        }
    }
    let mut shared = BTreeMap::new();
    for (index, users) in users.into_iter().filter(|(_, users)| users.len() > 1) {
        let keep = |offer: &&Offer| {
            let answers = users.iter().filter_map(|place| offer.answers.get(*place)?.as_ref().ok());
            let extra = answers.filter_map(|answered| answered.extra.as_ref()).next();
            let monthly = extra.map_or(0.0, |extra| total(&extra.kept.lines));
            Some(Keep { monthly, load: extra.map_or(LOAD_NONE, |extra| extra.kept.load) })
        };
        shared.insert(index, problem.views.len());
        problem.views.push(View { at: chosen.iter().map(keep).collect() });
    }
    shared
}

/// Takes out engines that another one does everything as well as, for no more.
fn leave_out_dominated(assembled: &mut Assembled) {
    let mut at = 0;
    while at < assembled.offers.len() {
        let problem = &assembled.problem;
        let idle =
            !problem.engines[at].is_source && problem.patterns.iter().all(|pattern| pattern.at[at].is_none());
        let better = (0..assembled.offers.len()).any(|other| other != at && dominates(problem, other, at));
        if idle || better {
            assembled.offers.remove(at);
            assembled.setups.remove(at);
            let problem = &mut assembled.problem;
            problem.engines.remove(at);
            problem.views.iter_mut().for_each(|view| _ = view.at.remove(at));
            problem.patterns.iter_mut().for_each(|pattern| _ = pattern.at.remove(at));
        } else {
            at += 1;
        }
    }
}

fn dominates(problem: &Problem, better: usize, worse: usize) -> bool {
    let (a, b) = (&problem.engines[better], &problem.engines[worse]);
    let less = |a: &super::choice::Load, b: &super::choice::Load| a.iter().zip(b).all(|(a, b)| a <= b);
    a.is_source == b.is_source
        && a.monthly <= b.monthly
        && less(&a.load, &b.load)
        && b.deployments.iter().all(|b| {
            a.deployments.iter().any(|a| a.monthly <= b.monthly && less(&b.capacity, &a.capacity))
        })
        // Of two that are equal the first stays.
        && (better < worse || !dominates_equally(problem, worse, better))
        && problem.views.iter().all(|view| match (view.at[better], view.at[worse]) {
            (_, None) => true,
            (Some(a), Some(b)) => a.monthly <= b.monthly && less(&a.load, &b.load),
            (None, Some(_)) => false,
        })
        && problem.patterns.iter().all(|pattern| match (pattern.at[better], pattern.at[worse]) {
            (_, None) => true,
            (Some(a), Some(b)) => a.monthly <= b.monthly && less(&a.load, &b.load),
            (None, Some(_)) => false,
        })
}

fn dominates_equally(problem: &Problem, a: usize, b: usize) -> bool {
    let (a, b) = (&problem.engines[a], &problem.engines[b]);
    a.monthly == b.monthly
        && a.deployments.len() == b.deployments.len()
        && a.deployments.iter().zip(&b.deployments).all(|(a, b)| a.monthly == b.monthly)
}

/// A choice, in terms of offers and setups.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub choice: Choice,
    /// Per offer: the setup.
    pub setups: BTreeMap<usize, usize>,
    /// Per pattern: the offer.
    pub answered_by: Vec<usize>,
}

pub(super) fn solve(
    workload: &Workload,
    offers: &Offers,
    asked: &Asked<'_>,
    limits: Limits,
) -> Option<Chosen> {
    let assembled = assemble(workload, offers, asked);
    let choice = choose(&assembled.problem, limits)?;
    let setups = choice.deployed.iter().enumerate().filter_map(|(engine, deployed)| {
        Some((assembled.offers[engine], assembled.setups[engine][deployed.as_ref()?.deployment]))
    });
    Some(Chosen {
        setups: setups.collect(),
        answered_by: choice.answered_by.iter().map(|engine| assembled.offers[*engine]).collect(),
        choice,
    })
}
