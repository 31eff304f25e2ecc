//! The store's own state: one point, one text.
//!
//! Whoever claims the store takes the next session, and looks for its own before each write. InfluxDB has no write that is
//! conditional, so an owner that stands still between the look and the write, or a request that the server does late,
//! is not kept out: what such a write brings back is of the same log, and verification finds it.
//!
//! While points are written, the state says which ones may be there too many ([`Flight`]).

use std::collections::BTreeMap;

use headwater_model::{Error, ErrorKind, Held, Result};
use serde::{Deserialize, Serialize};

use super::client::{Client, Rows};
use super::line;

const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) format: u32,
    pub(super) held: Held,
    pub(super) session: u32,
    /// Counts what took points away: an answer that was read across such a step is not believed.
    pub(super) removals: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) flight: Option<Flight>,
}

/// What is being written, since `held`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Flight {
    /// Whether points go away.
    pub(super) removes: bool,
    /// By view.
    pub(super) reaches: BTreeMap<Box<str>, Reach>,
}

/// Which points of a series come and go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Reach {
    /// Nanoseconds, both within.
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) tags: Vec<Box<str>>,
}

impl State {
    pub(super) fn new(held: Held, session: u32) -> State {
        State { format: FORMAT, held, session, removals: 0, flight: None }
    }

    pub(super) fn removes(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.removes)
    }
}

/// What reads the state.
pub(super) fn question(client: &Client) -> String {
    format!("SELECT \"d\" FROM {} WHERE time = 0", line::identifier(&client.config().state))
}

/// `None`: the store is empty.
pub(super) fn answered(rows: &Rows) -> Result<Option<State>> {
    let Some(text) = rows.first().and_then(|row| row.get(1)?.as_str()) else { return Ok(None) };
    let unreadable = |e| {
        Error::corrupt("the position in the store (measurement \"hw:state\") cannot be read")
            .with_cause(e)
            .with_remedy("give the store a database of its own, or empty this one: it is filled anew")
    };
    let state: State = serde_json::from_str(text).map_err(unreadable)?;
    if state.format != FORMAT {
        return Err(Error::unsupported(format!(
            "the store was written by a newer Headwater (format {})",
            state.format
        ))
        .with_remedy("use that version, or give this one another database"));
    }
    Ok(Some(state))
}

/// `None`: the store is empty, or not even there.
pub(super) async fn read(client: &Client) -> Result<Option<State>> {
    match client.ask_one(question(client)).await {
        Ok(rows) => answered(&rows),
        Err(error) if error.kind() == ErrorKind::OutOfStep => Ok(None),
        Err(error) => Err(error.while_doing("read the store's position")),
    }
}

pub(super) async fn write(client: &Client, state: &State) -> Result<()> {
    let text =
        serde_json::to_string(state).map_err(|e| Error::bug("write the store's position").with_cause(e))?;
    let mut point = String::new();
    line::push_measurement(&client.config().state, &mut point);
    point.push_str(" d=");
    line::push_text(&text, &mut point);
    point.push_str(" 0");
    client.write(&mut std::iter::once(point)).await.map_err(|e| e.while_doing("write the store's position"))
}

/// The state, if the store is still that session's and where it has left it.
pub(super) async fn owned(client: &Client, before: &State) -> Result<State> {
    match read(client).await? {
        Some(now)
            if now.held.epoch == before.held.epoch
                && now.session == before.session
                && now.held.offset == before.held.offset =>
        {
            Ok(now)
        }
        Some(now) => Err(now.held.lost_to(before.held.epoch)),
        None => Err(empty()),
    }
}

pub(super) fn empty() -> Error {
    Error::out_of_step("the store is empty: it has no position, or no database")
}
