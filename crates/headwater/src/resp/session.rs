//! What is known about a connection's client.

use std::time::Duration;

use headwater_flow::serve::{Serving, Shown};
use headwater_model::Position;

use super::reply::Protocol;

/// How long a read waits for the position that its connection demands.
const WITHIN: Duration = Duration::from_secs(1);

/// A name that `CLIENT SETNAME` takes is no longer.
pub const NAME_BYTES_MAX: usize = 256;

pub struct Session {
    pub id: u64,
    pub protocol: Protocol,
    /// The name of the token that was shown; `None`: none yet, though one is needed.
    pub user: Option<Box<str>>,
    pub name: Box<str>,
    pub library: Box<str>,
    pub library_version: Box<str>,
    pub peer: Box<str>,
    /// Reads show this position, or something newer.
    demand: Option<Position>,
    /// What the last read showed.
    shown: Option<String>,
}

impl Session {
    pub fn new(id: u64, peer: Box<str>, user: Option<Box<str>>) -> Session {
        Session {
            id,
            protocol: Protocol::Two,
            user,
            name: Box::default(),
            library: Box::default(),
            library_version: Box::default(),
            peer,
            demand: None,
            shown: None,
        }
    }

    pub fn demand(&self) -> Option<Position> {
        self.demand.clone()
    }

    pub fn within(&self) -> Duration {
        WITHIN
    }

    /// From now on. A position that is older than what was demanded before changes nothing.
    pub fn demands(&mut self, position: Position) {
        let is_older = self
            .demand
            .as_ref()
            .is_some_and(|known| position.partial_cmp(known).is_some_and(|order| order.is_lt()));
        if !is_older {
            self.demand = Some(position);
        }
    }

    pub fn shown(&mut self, shown: Shown) {
        if shown.position.is_some() {
            self.shown = shown.position;
        }
    }

    pub fn last_shown(&self) -> Option<&str> {
        self.shown.as_deref()
    }

    /// As if it were new; with a token to be shown again if `user` is `None`.
    pub fn reset(&mut self, user: Option<Box<str>>) {
        *self = Session::new(self.id, std::mem::take(&mut self.peer), user);
    }

    /// A position as the client wrote it.
    pub fn position(serving: &Serving, text: &[u8]) -> Result<Position, String> {
        let text = String::from_utf8_lossy(text);
        serving.position(&text).map_err(|refused| super::failure::text(&refused))
    }
}
