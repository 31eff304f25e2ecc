//! What is known about a connection's client.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_flow::serve::Shown;
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
    /// Reads of a source, by its name if it has one, show this position of it, or something newer.
    demands: BTreeMap<Option<Box<str>>, Position>,
    /// What the last read showed, of which source.
    shown: Option<(Option<Box<str>>, String)>,
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
            demands: BTreeMap::new(),
            shown: None,
        }
    }

    pub fn demand(&self, source: &Option<Box<str>>) -> Option<Position> {
        self.demands.get(source).cloned()
    }

    pub fn within(&self) -> Duration {
        WITHIN
    }

    /// From now on. A position that is older than what was demanded before changes nothing.
    pub fn demands(&mut self, source: &Option<Box<str>>, position: Position) {
        let known = self.demands.get(source);
        let is_older =
            known.is_some_and(|known| position.partial_cmp(known).is_some_and(|order| order.is_lt()));
        if !is_older {
            self.demands.insert(source.clone(), position);
        }
    }

    pub fn shown(&mut self, source: &Option<Box<str>>, shown: Shown) {
        if let Some(position) = shown.position {
            self.shown = Some((source.clone(), position));
        }
    }

    pub fn last_shown(&self) -> Option<(Option<&str>, &str)> {
        self.shown.as_ref().map(|(source, position)| (source.as_deref(), &**position))
    }

    /// As if it were new; with a token to be shown again if `user` is `None`.
    pub fn reset(&mut self, user: Option<Box<str>>) {
        *self = Session::new(self.id, std::mem::take(&mut self.peer), user);
    }
}
