//! Many readers that miss the same document wait for one load.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

/// Loads that can be joined at once; a reader beyond them loads for itself.
const FLIGHTS_MAX: usize = 4_096;

/// Loads under way, by key.
#[derive(Debug)]
pub(super) struct Flights<T>(Arc<Mutex<HashMap<Box<str>, Follow<T>>>>);

impl<T> Default for Flights<T> {
    fn default() -> Flights<T> {
        Flights(Arc::default())
    }
}

/// What a reader does about a key.
pub(super) enum Seat<T> {
    /// It loads, and tells the others.
    Lead(Lead<T>),
    /// Another loads already.
    Follow(Follow<T>),
    /// It loads for itself.
    Alone,
}

pub(super) struct Lead<T> {
    flights: Flights<T>,
    key: Box<str>,
    landed: watch::Sender<Option<Arc<T>>>,
}

#[derive(Debug)]
pub(super) struct Follow<T> {
    /// When the load began: what it brings is no newer.
    pub since: Instant,
    landed: watch::Receiver<Option<Arc<T>>>,
}

impl<T> Clone for Follow<T> {
    fn clone(&self) -> Follow<T> {
        Follow { since: self.since, landed: self.landed.clone() }
    }
}

impl<T> Flights<T> {
    /// `may_lead`: whether others may wait for this reader.
    pub fn board(&self, key: &str, may_lead: bool) -> Seat<T> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(key) {
            return Seat::Follow(flight.clone());
        }
        if !may_lead || flights.len() >= FLIGHTS_MAX {
            return Seat::Alone;
        }
        let (sender, landed) = watch::channel(None);
        flights.insert(key.into(), Follow { since: Instant::now(), landed });
        Seat::Lead(Lead { flights: Flights(Arc::clone(&self.0)), key: key.into(), landed: sender })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Follow<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Lead<T> {
    /// The load brought this.
    pub fn land(self, loaded: &Arc<T>) {
        self.landed.send_replace(Some(Arc::clone(loaded)));
    }
}

impl<T> Drop for Lead<T> {
    /// Landed or not (an error, a reader that went away): whoever comes now loads anew, and those that wait are told.
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

impl<T> Follow<T> {
    /// What the load brought; `None` if it failed.
    pub async fn landed(&mut self) -> Option<Arc<T>> {
        let landed = self.landed.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_that_fails_leaves_nobody_waiting_and_lets_the_next_begin() {
        let flights = Flights::<u8>::default();
        assert!(matches!(flights.board("a", false), Seat::Alone));
        let Seat::Lead(first) = flights.board("a", true) else { panic!("nobody loads yet") };
        let Seat::Follow(mut second) = flights.board("a", false) else { panic!("the first loads") };
        assert!(matches!(flights.board("b", true), Seat::Lead(_)));
        drop(first);
        assert_eq!(second.landed().await, None);
        let Seat::Lead(third) = flights.board("a", true) else { panic!("the load has failed") };
        let Seat::Follow(mut fourth) = flights.board("a", true) else { panic!("the third loads") };
        third.land(&Arc::new(7));
        assert_eq!(fourth.landed().await.as_deref(), Some(&7));
        assert!(flights.lock().is_empty());
    }
}
