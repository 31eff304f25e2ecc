//! What is to be chosen from, and the choice.

/// Kinds of capacity that an engine can run out of.
pub const RESOURCES: usize = 5;

/// How much of each kind of capacity something takes or gives.
pub type Load = [f64; RESOURCES];

pub const LOAD_NONE: Load = [0.0; RESOURCES];

/// The capacity of what does not run out.
pub const UNLIMITED: f64 = 1e12;

/// At most so many deployments of one engine.
pub(super) const DEPLOYMENTS_MAX: usize = 128;

#[derive(Clone, Debug, Default)]
pub struct Problem {
    pub engines: Vec<Engine>,
    pub views: Vec<View>,
    pub patterns: Vec<Pattern>,
    /// US dollars per month once any engine beside the source is used, however many.
    pub beside: f64,
}

#[derive(Clone, Debug)]
pub struct Engine {
    /// Whether it can be what the application commits to. It keeps every view without being asked.
    pub is_source: bool,
    /// US dollars per month once it is used, whatever it carries.
    pub monthly: f64,
    /// What it carries as soon as it is used.
    pub load: Load,
    /// From the cheapest to the dearest; at most 128.
    pub deployments: Vec<Deployment>,
}

#[derive(Clone, Copy, Debug)]
pub struct Deployment {
    /// US dollars per month.
    pub monthly: f64,
    pub capacity: Load,
}

/// Something that engines keep to answer patterns.
#[derive(Clone, Debug)]
pub struct View {
    /// Per engine; `None` where it cannot be kept. Not asked of engines that can be the source.
    pub at: Vec<Option<Keep>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// US dollars per month.
    pub monthly: f64,
    pub load: Load,
}

#[derive(Clone, Debug)]
pub struct Pattern {
    /// Places in [`Problem::views`].
    pub views: Vec<usize>,
    /// Per engine; `None` where it cannot be answered.
    pub at: Vec<Option<Use>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// US dollars per month.
    pub monthly: f64,
    pub load: Load,
    /// The deployments that are good enough, a bit each.
    pub deployments: u128,
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// US dollars per month.
    pub monthly: f64,
    /// No choice costs less than this.
    pub bound: f64,
    /// Per engine, `None` where it is not used.
    pub deployed: Vec<Option<Deployed>>,
    /// Per pattern: the engine.
    pub answered_by: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deployed {
    /// Place in [`Engine::deployments`].
    pub deployment: usize,
    pub load: Load,
}

impl Choice {
    /// How much less another choice could cost at most, as a share of this one. Zero: it is the best.
    pub fn gap(&self) -> f64 {
        if self.monthly <= 0.0 { 0.0 } else { ((self.monthly - self.bound) / self.monthly).max(0.0) }
    }
}

impl Problem {
    /// What a whole assignment costs with the cheapest deployments that carry it; `None` if none do.
    pub(super) fn price(&self, answered_by: &[usize], source: usize) -> Option<Choice> {
        let loads = self.loads(answered_by, source);
        let mut monthly = 0.0;
        let mut deployed = vec![None; self.engines.len()];
        let mut allowed = vec![u128::MAX; self.engines.len()];
        for (pattern, engine) in self.patterns.iter().zip(answered_by) {
            let asked = pattern.at[*engine]?;
            monthly += asked.monthly;
            allowed[*engine] &= asked.deployments;
        }
        for (at, engine) in self.engines.iter().enumerate() {
            let Some(load) = loads[at] else { continue };
            let fits = |(place, deployment): &(usize, &Deployment)| {
                allowed[at] >> place & 1 == 1 && carries(&deployment.capacity, &load)
            };
            let (place, deployment) = engine.deployments.iter().enumerate().find(fits)?;
            monthly += engine.monthly + deployment.monthly + self.kept_monthly(answered_by, at)?;
            deployed[at] = Some(Deployed { deployment: place, load });
        }
        if deployed.iter().flatten().count() > 1 {
            monthly += self.beside;
        }
        Some(Choice { monthly, bound: 0.0, deployed, answered_by: answered_by.to_vec() })
    }

    /// What each engine that is used carries.
    pub(super) fn loads(&self, answered_by: &[usize], source: usize) -> Vec<Option<Load>> {
        let used = |at: usize| at == source || answered_by.contains(&at);
        let mut loads: Vec<Option<Load>> =
            self.engines.iter().enumerate().map(|(at, engine)| used(at).then_some(engine.load)).collect();
        for (pattern, at) in self.patterns.iter().zip(answered_by) {
            if let (Some(load), Some(asked)) = (&mut loads[*at], pattern.at[*at]) {
                add(load, &asked.load);
            }
        }
        for (at, load) in loads.iter_mut().enumerate() {
            let Some(load) = load else { continue };
            for view in self.kept_by(answered_by, at) {
                if let Some(keep) = self.views[view].at[at] {
                    add(load, &keep.load);
                }
            }
        }
        loads
    }

    /// The views that an engine has to keep for the patterns it answers.
    fn kept_by(&self, answered_by: &[usize], engine: usize) -> Vec<usize> {
        if self.engines[engine].is_source {
            return Vec::new();
        }
        let mine = self.patterns.iter().zip(answered_by).filter(|(_, at)| **at == engine);
        let mut views: Vec<usize> = mine.flat_map(|(pattern, _)| pattern.views.iter().copied()).collect();
        views.sort_unstable();
        views.dedup();
        views
    }

    fn kept_monthly(&self, answered_by: &[usize], engine: usize) -> Option<f64> {
        self.kept_by(answered_by, engine)
            .into_iter()
            .map(|view| self.views[view].at[engine].map(|k| k.monthly))
            .sum()
    }
}

pub(super) fn add(to: &mut Load, load: &Load) {
    to.iter_mut().zip(load).for_each(|(to, load)| *to += load);
}

pub(super) fn dot(prices: &Load, load: &Load) -> f64 {
    prices.iter().zip(load).map(|(price, load)| price * load).sum()
}

/// With room for the errors of adding up.
pub(super) fn carries(capacity: &Load, load: &Load) -> bool {
    capacity.iter().zip(load).all(|(capacity, load)| *load <= capacity * (1.0 + 1e-9) + 1e-9)
}
