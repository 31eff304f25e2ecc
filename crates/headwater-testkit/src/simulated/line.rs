//! The line between one instance and all engines.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_model::{Error, Result};
use tokio::sync::Notify;

use super::World;

/// Calls travel over it, there and back. Cheap to clone.
#[derive(Clone)]
pub struct Line {
    world: World,
    weather: Arc<Mutex<Weather>>,
    /// Those who wait for another state; woken in the order in which they came.
    told: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The instance stands still, as on SIGSTOP: what is on its way arrives when it goes on.
    Paused,
    /// The instance is no more: nothing arrives.
    Dead,
}

#[derive(Default)]
struct Weather {
    state: State,
    calls: u64,
    die_at: Option<u64>,
    /// One in so many calls fails, before or after it took effect; 0: none.
    fails_one_in: u64,
    slow_ms_max: u64,
}

impl Line {
    pub fn new(world: &World) -> Line {
        Line { world: world.clone(), weather: Arc::default(), told: Arc::default() }
    }

    pub fn weather(&self, fails_one_in: u64, slow_ms_max: u64) {
        let mut weather = self.weather.lock().unwrap();
        (weather.fails_one_in, weather.slow_ms_max) = (fails_one_in, slow_ms_max);
    }

    /// Goes dead after so many more passages: between a call's effect and its reply, say.
    pub fn die_after(&self, passages: u64) {
        let mut weather = self.weather.lock().unwrap();
        weather.die_at = Some(weather.calls + passages);
    }

    /// Whatever was said about its death does not hold any more.
    pub fn lives(&self) {
        self.weather.lock().unwrap().die_at = None;
    }

    pub fn pause(&self) {
        self.goes(State::Open, State::Paused);
    }

    pub fn resume(&self) {
        self.goes(State::Paused, State::Open);
    }

    pub fn die(&self) {
        self.goes(State::Open, State::Dead);
        self.goes(State::Paused, State::Dead);
    }

    fn goes(&self, from: State, to: State) {
        let mut weather = self.weather.lock().unwrap();
        if weather.state == from {
            weather.state = to;
            self.told.notify_waiters();
        }
    }

    fn state(&self) -> State {
        self.weather.lock().unwrap().state
    }

    pub fn is_dead(&self) -> bool {
        self.state() == State::Dead
    }

    pub async fn died(&self) {
        self.is(State::Dead).await;
    }

    async fn is(&self, wanted: State) {
        loop {
            let mut told = std::pin::pin!(self.told.notified());
            told.as_mut().enable();
            if self.state() == wanted {
                return;
            }
            told.await;
        }
    }

    /// One passage. An error: lost on the way.
    pub async fn passage(&self, what: &'static str) -> Result<()> {
        let (delay, fails) = {
            let mut weather = self.weather.lock().unwrap();
            weather.calls += 1;
            if weather.die_at.is_some_and(|at| weather.calls >= at) {
                weather.state = State::Dead;
                self.told.notify_waiters();
            }
            self.world.note(what, weather.calls);
            (self.world.below(weather.slow_ms_max + 1), self.world.one_in(weather.fails_one_in))
        };
        if delay == 0 {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        self.stand_still().await;
        if fails {
            self.world.note("lost", 0);
            return Err(Error::transient(format!("simulated: lost on the way: {what}")));
        }
        Ok(())
    }

    /// Waits while the instance is paused, for ever if it is dead.
    pub async fn stand_still(&self) {
        self.is(State::Open).await;
    }

    /// A call with its effect at one moment.
    pub async fn call<T>(&self, what: &'static str, effect: impl FnOnce() -> Result<T>) -> Result<T> {
        self.passage(what).await?;
        let result = effect();
        self.passage(what).await?;
        result
    }
}
