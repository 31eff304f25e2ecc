//! Why each choice is as it is: what was rejected and for which one reason, what comes next and what that loses, at which rate it
//! would be another.

use std::collections::BTreeMap;

use super::choice::{Around, Explored, Limits, Varied};
use super::conflict::Wish;
use super::decide::bill;
use super::parallel;
use super::problem::{Assembled, Chosen, answer_fails, setup_fails};
use super::report::{PatternPlan, Plan, Rejected, RunnerUp, money, per_second, seconds};
use super::services::{Market, Offer, Offers};
use super::workload::Workload;
use crate::catalog::{Catalog, Malformed};

/// With more patterns than this, a choice that only explains another one gets a share of its work.
const WHOLE_WORK_PATTERNS_MAX: usize = 24;
const WORK_SHARE: usize = 32;
/// A question about one pattern that the search of the choice leaves open is searched with about this much work, which grows with
/// the square of the patterns.
const AROUND_WORK: usize = 5_000;
const AROUND_STEPS: usize = 20;
/// US dollars per month that are no difference.
const SAME_USD: f64 = 0.5;
/// Rates are tried from a thousandth to a thousand times what they are.
const FACTOR_MAX: f64 = 1_000.0;
const HALVINGS: usize = 9;

pub(super) struct Explained<'a> {
    pub workload: &'a Workload,
    pub catalog: &'a Catalog,
    pub offers: &'a Offers,
    pub chosen: &'a Chosen,
    /// All engines, and the search of them that each question starts from.
    pub assembled: &'a Assembled,
    pub explored: &'a Explored<'a>,
    pub limits: Limits,
}

impl Explained<'_> {
    pub(super) fn offer(&self, place: usize) -> &Offer {
        &self.offers.all[place]
    }

    pub(super) fn bill_of(&self, varied: Varied) -> Option<f64> {
        Some(bill(self.workload, self.offers, &self.assembled.chosen(varied.best?)))
    }

    /// How far a question about one pattern is followed.
    pub(super) fn around_limits(&self) -> Limits {
        let patterns = self.workload.patterns.len();
        let nodes_max = (AROUND_WORK / (patterns * patterns).max(1)).min(self.limits.nodes_max);
        Limits { nodes_max, steps: AROUND_STEPS, ..self.limits }
    }
}

pub(super) fn patterns(this: &Explained<'_>, plan: &mut Plan) -> Result<(), Malformed> {
    let explained = parallel::each_with(
        this.workload.patterns.len(),
        || Market::of(this.catalog, this.workload),
        |market, place| {
            let around = this.explored.around(place);
            let runner_up = runner_up(this, &around, place);
            let flips = market
                .as_mut()
                .map_err(|malformed| malformed.clone())
                .map(|m| flips(this, &around, m, place));
            (rejected(this, place), runner_up, flips)
        },
    );
    for (place, (rejected, runner_up, flips)) in explained.into_iter().enumerate() {
        let pattern = &mut plan.patterns[place];
        (pattern.rejected, pattern.runner_up, pattern.flips) = (rejected, runner_up, flips?);
        pattern.because = because(this, place, pattern);
    }
    let doubtful = |pattern: &&PatternPlan| {
        pattern.runner_up.as_ref().is_some_and(|next| next.at_least.is_some())
            || pattern.flips.iter().any(|flip| flip.contains(ABOUT))
    };
    let doubtful = plan.patterns.iter().filter(doubtful).count();
    if doubtful > 0 {
        plan.assumptions.push(format!(
            "what comes next and what would flip a choice is worked out for each pattern from the one search of all; for {doubtful} of {} it is not proven that the rest could not be arranged better for it: \"at least\", \"at most\" and \"about\" say where",
            plan.patterns.len()
        ));
    }
    Ok(())
}

/// Every set-up of every engine, by the one reason that it is not used for a pattern.
fn rejected(this: &Explained<'_>, place: usize) -> Vec<Rejected> {
    let pattern = &this.workload.patterns[place];
    let mut counts: BTreeMap<&str, (usize, Option<f64>)> = BTreeMap::new();
    let mut count = |kind: &'static str, options: usize, nearest: Option<f64>| {
        let entry = counts.entry(kind).or_insert((0, None));
        entry.0 += options;
        entry.1 = match (entry.1, nearest) {
            (Some(a), Some(b)) => Some(f64::min(a, b)),
            (a, b) => a.or(b),
        };
    };
    for (at, offer) in this.offers.all.iter().enumerate() {
        let options = offer.setups.len() + offer.too_small.len();
        let kept = pattern.views.iter().find_map(|view| offer.keeps.get(*view)?.as_ref().err());
        let answered = match (&offer.answers[place], kept) {
            (Err(unable), _) | (_, Some(unable)) => {
                count(unable.kind, options, None);
                continue;
            }
            (Ok(answered), None) => answered,
        };
        match answer_fails(place, pattern, offer, answered, &[]) {
            Some(Wish::Latency(_)) => count("p99", options, Some(answered.p99_ms)),
            Some(_) => count("freshness", options, Some(answered.age_s)),
            None => {
                offer.too_small.iter().for_each(|unable| count(unable.kind, 1, None));
                for (setup_at, setup) in offer.setups.iter().enumerate() {
                    match setup_fails(this.workload, setup, &[]) {
                        Some(Wish::Availability) => count("availability", 1, None),
                        Some(Wish::Rto) => count("rto", 1, Some(setup.recovery.total_s())),
                        Some(_) => count("rpo", 1, Some(setup.rpo_s)),
                        None if this.chosen.answered_by[place] == at
                            && this.chosen.setups.get(&at) == Some(&setup_at) => {}
                        None => count("price", 1, None),
                    }
                }
            }
        }
    }
    let said = |kind: &str, nearest: Option<f64>| match (kind, nearest) {
        ("p99", Some(ms)) => {
            format!(
                "p99 at least {} ({} asked)",
                seconds(ms / 1e3),
                pattern.p99_ms.map_or(String::new(), |ms| seconds(ms / 1e3))
            )
        }
        ("freshness", _) if pattern.strong => "not the newest commit".to_owned(),
        ("freshness", Some(age)) => format!("answers up to {} old", seconds(age)),
        ("rto", Some(s)) => format!("recovery takes at least {}", seconds(s)),
        ("rpo", Some(s)) => format!("up to {} of commits lost", seconds(s)),
        ("availability", _) => "less availability by contract".to_owned(),
        ("price", _) => "dearer or too small for the whole".to_owned(),
        ("processors" | "memory" | "connections", _) => {
            format!("too few {kind}").replace("few memory", "little memory")
        }
        (kind, _) => kind.to_owned(),
    };
    let mut all: Vec<Rejected> = counts
        .into_iter()
        .map(|(kind, (options, nearest))| Rejected { options, reason: said(kind, nearest) })
        .collect();
    all.sort_by_key(|rejected| std::cmp::Reverse(rejected.options));
    all
}

/// The best plan in which another kind of engine answers the pattern.
fn runner_up(this: &Explained<'_>, around: &Around<'_, '_>, place: usize) -> Option<RunnerUp> {
    let by = this.chosen.answered_by[place];
    let kind = this.offer(by).scheme;
    let others = this.assembled.offers.iter().map(|offer| this.offer(*offer).scheme != kind);
    let asked = this.assembled.problem.patterns[place].at.iter().zip(others);
    let asked: Vec<_> = asked.map(|(asked, is_other)| asked.filter(|_| is_other)).collect();
    let limits = this.around_limits();
    let varied = around.varied(&asked, limits);
    let doubt = (!varied.is_proven(limits)).then_some(varied.bound);
    let other = this.assembled.chosen(varied.best?);
    let instead = other.answered_by[place];
    let (now, then) = (self::answered(this, by, place)?, self::answered(this, instead, place)?);
    let (mine, its) = (
        &this.offer(by).setups[*this.chosen.setups.get(&by)?],
        &this.offer(instead).setups[*other.setups.get(&instead)?],
    );
    let mut loses = Vec::new();
    let mut gains = Vec::new();
    let mut compare = |before: f64, after: f64, said: String| {
        if after > before * 1.05 + 1e-9 {
            loses.push(said);
        } else if after < before * 0.95 - 1e-9 {
            gains.push(said);
        }
    };
    compare(now.0, then.0, format!("p99 {:.1} ms instead of {:.1} ms", then.0, now.0));
    compare(now.1, then.1, format!("answers up to {} old instead of {}", seconds(then.1), seconds(now.1)));
    compare(
        mine.recovery.total_s(),
        its.recovery.total_s(),
        format!("RTO {} instead of {}", seconds(its.recovery.total_s()), seconds(mine.recovery.total_s())),
    );
    // In what may be lost: 99.9 and 99.99 are ten times apart.
    compare(100.0 - mine.sla, 100.0 - its.sla, format!("{}% instead of {}% by contract", its.sla, mine.sla));
    let (before, after) = (this.chosen.setups.len() as f64, other.setups.len() as f64);
    compare(before, after, format!("{after} engines to run instead of {before}"));
    let extra = bill(this.workload, this.offers, &other) - bill(this.workload, this.offers, this.chosen);
    Some(RunnerUp {
        engine: this.offer(instead).title.clone(),
        extra,
        extra_with_upkeep: other.choice.monthly - this.chosen.choice.monthly,
        at_least: doubt.map(|bound| (extra - (other.choice.monthly - bound)).max(0.0)),
        loses,
        gains,
    })
}

/// Latency and age of an answer.
fn answered(this: &Explained<'_>, offer: usize, place: usize) -> Option<(f64, f64)> {
    let answered = this.offer(offer).answers[place].as_ref().ok()?;
    Some((answered.p99_ms, answered.age_s))
}

fn because(this: &Explained<'_>, place: usize, said: &PatternPlan) -> String {
    let by = this.chosen.answered_by[place];
    let pattern = &this.workload.patterns[place];
    let others = this.chosen.answered_by.iter().filter(|other| **other == by).count() - 1;
    let able = |offer: &Offer| {
        let fits = offer.answers[place]
            .as_ref()
            .is_ok_and(|a| answer_fails(place, pattern, offer, a, &[]).is_none());
        fits && offer.setups.iter().any(|setup| setup_fails(this.workload, setup, &[]).is_none())
    };
    let kinds: std::collections::BTreeSet<&str> =
        this.offers.all.iter().filter(|offer| able(offer)).map(|offer| offer.scheme).collect();
    let shared = match others {
        0 => String::new(),
        1 => "; another pattern uses it as well".to_owned(),
        n => format!("; {n} other patterns use it as well"),
    };
    if this.offer(by).is_source {
        return match (&said.runner_up, kinds.len()) {
            (_, 1) => {
                "only the database itself can: everything else is too old, too slow or cannot answer it"
                    .to_owned()
            }
            (Some(next), _) if next.extra_with_upkeep > SAME_USD => {
                "the database is there anyway and has room for it: no engine beside it pays".to_owned()
            }
            (Some(next), _) => format!(
                "the database is there anyway and has room for it; so has {}, for the same",
                next.engine
            ),
            _ => "the database is there anyway".to_owned(),
        };
    }
    if kinds.len() == 1 {
        let wish = match (pattern.p99_ms, pattern.stale_s) {
            (Some(ms), _) => format!("within {ms} ms"),
            _ => "as asked".to_owned(),
        };
        return format!("nothing else answers it {wish}{shared}");
    }
    let saves = said.runner_up.as_ref().map_or(String::new(), |next| {
        format!(
            "{} less than the next best{}",
            money(next.extra_with_upkeep),
            if this.workload.upkeep > 0.0 { ", upkeep included" } else { "" }
        )
    });
    match saves.is_empty() {
        true => format!("the only one that carries it together with the rest{shared}"),
        false => format!("{saves}{shared}"),
    }
}

/// Before a rate that is not proven to be the one.
const ABOUT: &str = "about ";

/// The nearest rates, up and down, at which another engine answers the pattern.
fn flips(
    this: &Explained<'_>,
    around: &Around<'_, '_>,
    market: &mut Market<'_>,
    place: usize,
) -> Vec<String> {
    let now = &this.offer(this.chosen.answered_by[place]).title;
    let limits = this.around_limits();
    let mut pattern = this.workload.patterns[place].clone();
    let mut at = |factor: f64| {
        pattern.rate = this.workload.patterns[place].rate * factor;
        let uses = this.assembled.uses(market, this.offers, place, &pattern);
        let varied = around.varied(&uses, limits);
        let is_proven = varied.is_proven(limits);
        let by = varied.best.map(|best| this.assembled.offers[best.answered_by[place]]);
        (by.map(|offer| this.offer(offer).title.clone()), is_proven)
    };
    let mut flips = Vec::new();
    for end in [FACTOR_MAX, 1.0 / FACTOR_MAX] {
        let (mut same, mut other) = (1.0, end);
        let (mut then, mut is_proven) = at(end);
        if then.as_ref() == Some(now) {
            continue;
        }
        for _ in 0..HALVINGS {
            let middle = f64::sqrt(same * other);
            let (title, proven) = at(middle);
            is_proven &= proven;
            match title {
                title if title.as_ref() == Some(now) => same = middle,
                title => (other, then) = (middle, title),
            }
        }
        let rate = per_second(this.workload.patterns[place].rate * other);
        let side = if end > 1.0 { "from" } else { "below" };
        let about = if is_proven { "" } else { ABOUT };
        flips.push(match then {
            Some(title) => format!("{side} {about}{rate}: {title}"),
            None => format!("{side} {about}{rate}: nothing carries it"),
        });
    }
    flips
}

/// How much work goes into one of the many choices that only explain another one.
pub(super) fn few(patterns: usize, limits: Limits) -> Limits {
    match patterns {
        count if count > WHOLE_WORK_PATTERNS_MAX => {
            Limits { work_max: limits.work_max / WORK_SHARE, ..limits }
        }
        _ => limits,
    }
}

/// What each engine would be replaced by, and what the database alone would cost.
pub(super) fn engines(this: &Explained<'_>, plan: &mut Plan) {
    let whole = bill(this.workload, this.offers, this.chosen);
    let limits = few(this.workload.patterns.len(), this.limits);
    let used: Vec<usize> = this.chosen.setups.keys().copied().collect();
    let others = parallel::each(used.len() + 1, |at| match used.get(at) {
        Some(place) => this.explored.only(|engine| this.assembled.offers[engine] != *place, limits),
        None => this.explored.only(|engine| this.offer(this.assembled.offers[engine]).is_source, limits),
    });
    let mut others = others.into_iter();
    for (place, without) in used.iter().zip(&mut others) {
        let most = if without.is_proven(limits) { "" } else { " at most" };
        let said = match without.best.map(|other| this.assembled.chosen(other)) {
            Some(other) => {
                let extra = bill(this.workload, this.offers, &other) - whole;
                let new = other.setups.iter().find(|(o, _)| !this.chosen.setups.contains_key(o));
                let with = new.map_or("the other engines carry it".to_owned(), |(o, s)| {
                    format!("{}, {}", this.offer(*o).title, this.offer(*o).setups[*s].label)
                });
                format!("{with}: {} per month{most}", signed(extra))
            }
            None => "nothing: no other engine meets what is asked".to_owned(),
        };
        let title = &this.offer(*place).title;
        if let Some(engine) = plan.engines.iter_mut().find(|engine| engine.title == *title) {
            engine.instead = said;
        }
    }
    plan.alone = match others.next().and_then(|alone| alone.best).map(|alone| this.assembled.chosen(alone)) {
        Some(alone) => {
            let monthly = bill(this.workload, this.offers, &alone);
            plan.alone_monthly = Some(monthly);
            let setup = alone.setups.iter().next().map_or(String::new(), |(o, s)| {
                format!("{}, {}", this.offer(*o).title, this.offer(*o).setups[*s].label)
            });
            match plan.engines.len() {
                1 => "this is it: one database is enough".to_owned(),
                _ => format!("{setup}: {} per month, {}", money(monthly), signed(monthly - whole)),
            }
        }
        None => {
            let held: Vec<String> = this
                .workload
                .patterns
                .iter()
                .enumerate()
                .filter_map(|(place, pattern)| {
                    let source = this.offers.all.iter().filter(|offer| offer.is_source);
                    let mut fails = source.filter_map(|offer| {
                        answer_fails(place, pattern, offer, offer.answers[place].as_ref().ok()?, &[])
                    });
                    fails.next().map(|wish| match wish {
                        Wish::Latency(_) => format!(
                            "{} would not be within {} ms",
                            pattern.name,
                            pattern.p99_ms.unwrap_or_default()
                        ),
                        _ => format!("{} would be too old", pattern.name),
                    })
                })
                .collect();
            match held.is_empty() {
                true => "no class is large enough for all reads".to_owned(),
                false => format!("not enough: {}", held.join("; ")),
            }
        }
    };
}

fn signed(usd: f64) -> String {
    if usd < 0.0 { format!("{} less", money(-usd)) } else { format!("{} more", money(usd)) }
}
