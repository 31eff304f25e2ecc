//! Whose store it is.

use std::sync::{Arc, Mutex, PoisonError};

use headwater_model::{Epoch, Error, Held, Offset, Position, Result};

use super::Engine;
use super::version::Session;

/// Claims that others make at the same time, before we give up.
const CLAIMS_MAX: usize = 16;

/// The field of a [`State`] that is no number.
pub(crate) const SYSTEM: &str = "system";

/// What a store says of itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) held: Held,
    pub(crate) session: u32,
}

impl State {
    /// From what the store keeps of it: [`State::fields`], as texts.
    pub(crate) fn read<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Result<State> {
        let wrong =
            |name: &str| Error::corrupt(format!("the store's own state has no {name} that can be read"));
        let text = |name: &str| field(name).ok_or_else(|| wrong(name));
        let number = |name: &str| text(name)?.parse::<u64>().map_err(|_| wrong(name));
        if text("format")? != "1" {
            return Err(Error::unsupported(format!(
                "the store was written by a newer Headwater (format {})",
                text("format")?
            ))
            .with_remedy("use that version, or let this one start over with another prefix"));
        }
        let position = match field(SYSTEM) {
            Some(system) => Some(Position::new(system, number("sequence")?)),
            None => None,
        };
        Ok(State {
            held: Held {
                epoch: Epoch(number("epoch")?),
                offset: Offset(number("offset")?),
                position,
                committed_at: text("committed_at")?.parse().map_err(|_| wrong("committed_at"))?,
            },
            session: u32::try_from(number("session")?).map_err(|_| wrong("session"))?,
        })
    }

    /// What a store keeps of it. All but `system` are numbers.
    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        let State { held, session } = self;
        let mut fields = vec![
            ("format", "1".to_owned()),
            ("epoch", held.epoch.0.to_string()),
            ("session", session.to_string()),
            ("offset", held.offset.0.to_string()),
            ("committed_at", held.committed_at.to_string()),
        ];
        if let Some(position) = &held.position {
            fields.push((SYSTEM, position.system.to_string()));
            fields.push(("sequence", position.sequence.to_string()));
        }
        fields
    }
}

/// The newest session of one store's value, whether it still holds or not.
#[derive(Debug, Default)]
pub(crate) struct Owner(Mutex<Option<Arc<Session>>>);

impl Owner {
    /// [`headwater_model::Store::claim`].
    pub(crate) async fn claim(&self, engine: &impl Engine, epoch: Epoch) -> Result<Option<Held>> {
        for _ in 0..CLAIMS_MAX {
            let before = engine.state().await?;
            if let Some(state) = &before {
                state.held.fence(epoch)?;
            }
            let held = match &before {
                Some(state) => Held { epoch, ..state.held.clone() },
                None => Held { epoch, offset: Offset::ZERO, position: None, committed_at: 0 },
            };
            let state = self.next(before.as_ref(), held)?;
            // Somebody else claims or writes at the same time: look again who it was.
            if engine.change(before.as_ref(), &state).await? {
                self.own(&state);
                return Ok(before.map(|state| state.held));
            }
        }
        Err(Error::transient("others claim the store all the time"))
    }

    /// The session that may write behind `after`, and the state that it finds: [`headwater_model::Store::begin`].
    pub(crate) async fn begin(
        &self,
        engine: &impl Engine,
        epoch: Epoch,
        after: Offset,
    ) -> Result<(Arc<Session>, State)> {
        let Some(state) = engine.state().await? else {
            return Err(Error::out_of_step("the store is empty"));
        };
        state.held.admit(epoch, after)?;
        if let Some(own) = self.session().filter(|own| own.epoch == epoch && own.number == state.session) {
            return Ok((own, state));
        }
        // Claimed by another value of this process' epoch, or before a restart: writes need a session of their own.
        let next = self.next(Some(&state), state.held.clone())?;
        if !engine.change(Some(&state), &next).await? {
            return Err(Error::out_of_step("the store was claimed again meanwhile"));
        }
        Ok((self.own(&next), next))
    }

    fn session(&self) -> Option<Arc<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state in which a session of its own owns the store: greater than what the store remembers, and than what this
    /// value remembers of a store that was emptied since.
    fn next(&self, before: Option<&State>, held: Held) -> Result<State> {
        let known = before.map_or(0, |state| state.session);
        let own = self.session().filter(|own| own.epoch == held.epoch).map_or(0, |own| own.number);
        let session = known.max(own).checked_add(1);
        let session = session.ok_or_else(|| Error::unsupported("the store was claimed too often"))?;
        Ok(State { held, session })
    }

    fn own(&self, state: &State) -> Arc<Session> {
        let session = Arc::new(Session::new(state.held.epoch, state.session));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&session));
        session
    }
}

/// Whether the store is still this session's.
pub(crate) async fn ensure_owned(engine: &impl Engine, session: &Session) -> Result<()> {
    match engine.state().await? {
        Some(state) if state.held.epoch == session.epoch && state.session == session.number => Ok(()),
        Some(state) => Err(state.held.lost_to(session.epoch)),
        None => Err(Error::out_of_step("the store was emptied")),
    }
}
