//! How long a choice takes against the size of the workload: `cargo run --release -p headwater-control --example choice_speed`.

use std::time::Instant;

use headwater_control::plan::choice::{
    Deployment, Engine, Keep, LOAD_NONE, Limits, Load, Pattern, Problem, Use, View, choose,
};

fn main() {
    println!(
        "{:>6} {:>9} {:>8} {:>9} {:>12} {:>9}",
        "views", "patterns", "engines", "seconds", "USD/month", "gap"
    );
    for (views, patterns) in [(10, 20), (20, 50), (50, 120), (100, 250), (200, 500)] {
        let problem = workload(views, patterns, 6, 12);
        let began = Instant::now();
        match choose(&problem, Limits::default()) {
            Some(choice) => println!(
                "{views:>6} {patterns:>9} {:>8} {:>9.2} {:>12.2} {:>8.3}%",
                problem.engines.len(),
                began.elapsed().as_secs_f64(),
                choice.monthly,
                choice.gap() * 100.0
            ),
            None => println!("{views:>6} {patterns:>9}: nothing carries it"),
        }
    }
}

/// Rates and sizes over three orders of magnitude; engines that differ in what they are cheap at.
fn workload(views: usize, patterns: usize, engines: usize, deployments: usize) -> Problem {
    let mut chance = Chance(1);
    let engine = |at: usize| {
        let base = 30.0 * (1.0 + at as f64 * 0.3);
        let deployment = |step: usize| {
            let size = 2f64.powi(step as i32 / 2) * (1.0 + 0.4 * (step % 2) as f64);
            let mut capacity = LOAD_NONE;
            capacity[0] = size * 1000.0 * (1.0 + at as f64 * 0.5);
            capacity[1] = size * 8.0;
            capacity[2] = size * 3000.0;
            capacity[3] = 1.0;
            capacity[4] = 1.0;
            Deployment { monthly: base * size, capacity }
        };
        Engine {
            is_source: at == 0,
            monthly: 20.0,
            load: LOAD_NONE,
            deployments: (0..deployments).map(deployment).collect(),
        }
    };
    let engines: Vec<Engine> = (0..engines).map(engine).collect();
    let view = |chance: &mut Chance| {
        let gib = 10f64.powf(chance.next() * 3.5 - 3.0);
        let keep = |at: usize| Keep {
            monthly: gib * 0.25 + 0.5,
            load: load(1.0, gib, if at == 0 { 0.0 } else { 2.0 }),
        };
        View { at: (0..engines.len()).map(|at| Some(keep(at))).collect() }
    };
    let views: Vec<View> = (0..views).map(|_| view(&mut chance)).collect();
    let pattern = |at: usize, chance: &mut Chance| {
        let rate = 10f64.powf(chance.next() * 3.0);
        let place = if at < views.len() { at } else { (chance.next() * views.len() as f64) as usize };
        let asked = |at: usize| Use {
            monthly: if at + 1 == engines.len() { rate * 0.3 } else { 0.0 },
            load: load(rate * (0.2 + 0.3 / (1.0 + at as f64)), 0.0, rate * 0.5),
            deployments: u128::MAX,
        };
        let at = (0..engines.len()).map(|at| (at == 0 || chance.next() < 0.6).then(|| asked(at))).collect();
        Pattern { views: vec![place], at }
    };
    let patterns = (0..patterns).map(|at| pattern(at, &mut chance)).collect();
    Problem { engines, views, patterns, beside: 100.0 }
}

fn load(cpu: f64, memory: f64, io: f64) -> Load {
    let mut load = LOAD_NONE;
    (load[0], load[1], load[2]) = (cpu, memory, io);
    load
}

/// The same numbers in every run: xorshift, G. Marsaglia, 2003.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        let mut x = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D).wrapping_add(1);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0 = x;
        (x >> 11) as f64 / (1u64 << 53) as f64
    }
}
