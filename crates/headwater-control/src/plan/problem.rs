//! Offers and wishes as arithmetic: which setups are good enough, what each pattern may be answered by.

use std::collections::BTreeMap;

use super::choice::{
    Choice, Deployment, Engine, Keep, LOAD_NONE, Limits, Pattern, Problem, Use, View, choose,
};
use super::conflict::Wish;
use super::services::{Answered, Market, Offer, Offers, Setup, Unable, total};
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
    /// Orders that several patterns read in, which are kept once.
    shared: BTreeMap<String, usize>,
    bill_only: bool,
}

/// What is asked for beside the workload itself.
#[derive(Default)]
pub(super) struct Asked<'a> {
    /// Wishes that are not looked at.
    pub dropped: &'a [Wish],
    /// Without what running an engine costs beside its bill.
    pub bill_only: bool,
    /// Also the engines that another one is better than in everything: one pattern may be told to do without that.
    pub dominated: bool,
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
        shared: BTreeMap::new(),
        bill_only: asked.bill_only,
    };
    for (place, offer) in offers.all.iter().enumerate() {
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
    assembled.shared = shared_orders(workload, &chosen, &mut assembled.problem);
    for (place, pattern) in workload.patterns.iter().enumerate() {
        let mut at = Vec::new();
        for offer in &chosen {
            let used = |answered| assembled.used(place, pattern, offer, answered, asked.dropped);
            at.push(offer.answers.get(place).and_then(used));
        }
        let mut views = pattern.views.clone();
        views.extend(pattern.index.as_deref().and_then(|index| assembled.shared.get(index)));
        assembled.problem.patterns.push(Pattern { views, at });
    }
    leave_out_dominated(&mut assembled, asked.dominated);
    assembled
}

impl Assembled {
    /// What an offer's answer takes, if it is good enough.
    fn used(
        &self,
        place: usize,
        pattern: &PatternLoad,
        offer: &Offer,
        answered: &Result<Answered, Unable>,
        dropped: &[Wish],
    ) -> Option<Use> {
        let answered = answered.as_ref().ok()?;
        if answer_fails(place, pattern, offer, answered, dropped).is_some() {
            return None;
        }
        let own = answered.extra.as_ref().filter(|extra| !self.shared.contains_key(&extra.index));
        Some(Use {
            monthly: total(&answered.lines) + own.map_or(0.0, |extra| total(&extra.kept.lines)),
            load: answered.load,
            deployments: u128::MAX,
        })
    }

    /// What it would take to answer a pattern that is asked for otherwise, per engine.
    pub fn uses(
        &self,
        market: &mut Market<'_>,
        offers: &Offers,
        place: usize,
        pattern: &PatternLoad,
    ) -> Vec<Option<Use>> {
        let mut uses = Vec::new();
        for offer in self.offers.iter().map(|offer| &offers.all[*offer]) {
            let answered = (offer.answer)(market, pattern);
            uses.push(self.used(place, pattern, offer, &answered, &[]));
        }
        uses
    }

    /// Who answers each pattern, and the source, in terms of the problem.
    pub fn known(&self, offers: &Offers, chosen: &Chosen) -> Option<(Vec<usize>, usize)> {
        let engine = |offer: &usize| self.offers.iter().position(|known| known == offer);
        let answered_by = chosen.answered_by.iter().map(engine).collect::<Option<_>>()?;
        let source = chosen.setups.keys().find(|offer| offers.all[**offer].is_source)?;
        Some((answered_by, engine(source)?))
    }

    /// A choice, in terms of offers and setups.
    pub fn chosen(&self, choice: Choice) -> Chosen {
        let setups = choice.deployed.iter().enumerate().filter_map(|(engine, deployed)| {
            Some((self.offers[engine], self.setups[engine][deployed.as_ref()?.deployment]))
        });
        Chosen {
            setups: setups.collect(),
            answered_by: choice.answered_by.iter().map(|engine| self.offers[*engine]).collect(),
            bill_only: self.bill_only,
            choice,
        }
    }
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
fn shared_orders(workload: &Workload, chosen: &[&Offer], problem: &mut Problem) -> BTreeMap<String, usize> {
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
        shared.insert(index.to_owned(), problem.views.len());
        problem.views.push(View { at: chosen.iter().map(keep).collect() });
    }
    shared
}

/// Takes out engines that answer nothing and, unless they are to stay, those that another one does everything as well as, for
/// no more.
fn leave_out_dominated(assembled: &mut Assembled, dominated_stay: bool) {
    let mut at = 0;
    while at < assembled.offers.len() {
        let problem = &assembled.problem;
        let idle =
            !problem.engines[at].is_source && problem.patterns.iter().all(|pattern| pattern.at[at].is_none());
        let better = !dominated_stay
            && (0..assembled.offers.len())
                .any(|other| other != at && super::choice::dominates(problem, other, at));
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

/// A choice, in terms of offers and setups.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub choice: Choice,
    /// Per offer: the setup.
    pub setups: BTreeMap<usize, usize>,
    /// Per pattern: the offer.
    pub answered_by: Vec<usize>,
    /// Whether upkeep was left out of it.
    pub bill_only: bool,
}

pub(super) fn solve(
    workload: &Workload,
    offers: &Offers,
    asked: &Asked<'_>,
    limits: Limits,
) -> Option<Chosen> {
    let assembled = assemble(workload, offers, asked);
    let choice = choose(&assembled.problem, limits)?;
    Some(assembled.chosen(choice))
}
