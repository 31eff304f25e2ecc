//! The one connection that writes, and what it knows about the store.
//!
//! Invariant: while a writer lies idle its meta key is watched, and `held` is what that key said after the WATCH. So the
//! next EXEC takes effect only if nobody, not even ourselves on another connection, has written since.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{Epoch, Error, ErrorKind, Held, Layout, Offset, Result, View, ViewId};
use tokio::time::Instant;

use super::ahead::Ahead;
use super::codec::ViewState;
use super::config::Config;
use super::connection::Connection;
use super::failure;
use super::meta::{self, Mark, ViewMeta};
use super::resp::{self, Reply};

/// What was read this recently is trusted for the next step without asking again: EXEC decides anyway, asking only
/// tells earlier. Past it a round trip does not matter.
const TRUSTED_FOR: Duration = Duration::from_millis(20);

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) meta_key: Vec<u8>,
    pub(super) held: Option<Held>,
    /// How far a lane is ahead of that.
    pub(super) ahead: Ahead,
    /// When `held` was read; `None` if it must be read again.
    read_at: Option<Instant>,
    /// The views it has met; a view's number is its place.
    pub(super) views: Vec<ViewState>,
    /// What the meta key says of views that were not met yet.
    known: HashMap<ViewId, ViewMeta>,
}

impl Writer {
    pub(super) async fn open(config: &Config, mut connection: Connection) -> Result<Writer> {
        let meta_key = config.meta();
        meta::watch(&meta_key, &mut connection.out);
        meta::ask_mark(&meta_key, &mut connection.out);
        resp::whole(&[b"HGETALL", &meta_key], &mut connection.out);
        accept(connection.reply().await?)?;
        let (held, ahead) = apart(meta::read_mark(connection.reply().await?)?);
        let known = meta::read_views(connection.reply().await?)?;
        let read_at = Some(Instant::now());
        Ok(Writer { connection, meta_key, held, ahead, read_at, views: Vec::new(), known })
    }

    /// Reads the meta key again unless that was just done.
    pub(super) async fn refresh(&mut self) -> Result<()> {
        if self.read_at.is_some_and(|at| at.elapsed() < TRUSTED_FOR) {
            return Ok(());
        }
        self.read_at = None;
        resp::whole(&[b"UNWATCH"], &mut self.connection.out);
        self.ask_again();
        accept(self.connection.reply().await?)?;
        self.read_answer().await
    }

    /// Appends WATCH and the question for the meta key, to be read by [`Writer::read_answer`].
    pub(super) fn ask_again(&mut self) {
        meta::watch(&self.meta_key, &mut self.connection.out);
        meta::ask_mark(&self.meta_key, &mut self.connection.out);
    }

    pub(super) async fn read_answer(&mut self) -> Result<()> {
        accept(self.connection.reply().await?)?;
        (self.held, self.ahead) = apart(meta::read_mark(self.connection.reply().await?)?);
        self.read_at = Some(Instant::now());
        Ok(())
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        self.held.clone().map(|held| Mark { held, ahead: self.ahead.clone() })
    }

    /// What is read from now on must come from the server.
    pub(super) fn distrust(&mut self) {
        self.read_at = None;
    }

    /// Writes `held`, and `more` fields, if nobody wrote since it was read. `false` if somebody did; then it has been read
    /// again.
    pub(super) async fn move_to(&mut self, held: &Held, more: &[(String, String)]) -> Result<bool> {
        self.read_at = None;
        let out = &mut self.connection.out;
        resp::whole(&[b"MULTI"], out);
        meta::write(&self.meta_key, held, more, out);
        resp::whole(&[b"EXEC"], out);
        self.ask_again();
        accept(self.connection.reply().await?)?;
        let mut refused = None;
        if let Reply::Error(text) = self.connection.reply().await? {
            refused = Some(text);
        }
        let exec = self.connection.reply().await?;
        self.read_answer().await?;
        match (refused, exec) {
            (Some(text), _) | (None, Reply::Error(text)) => Err(failure::from_reply(&text)),
            (None, Reply::Array(items)) => match items.into_iter().next() {
                Some(Reply::Error(text)) => Err(failure::from_reply(&text)),
                _ => Ok(true),
            },
            (None, _) => Ok(false),
        }
    }

    /// The place of a view in `views`, where it is put when this writer first meets it.
    pub(super) fn view(&mut self, view: &Arc<View>, prefix: &str) -> Result<usize> {
        // Few views, and nearly always the same `Arc`: a search beats hashing a name per change.
        if let Some(found) = self.views.iter().position(|state| Arc::ptr_eq(&state.view, view)) {
            return Ok(found);
        }
        if let Some(found) = self.views.iter().position(|state| state.view.name == view.name) {
            return Ok(found);
        }
        let number = u16::try_from(self.views.len())
            .map_err(|_| Error::unsupported("a store holds at most 65536 views"))?;
        let known = self.known.get(&view.name);
        check_layout(view, known)?;
        self.views.push(ViewState::new(Arc::clone(view), number, prefix, known.cloned()));
        Ok(usize::from(number))
    }
}

fn apart(mark: Option<Mark>) -> (Option<Held>, Ahead) {
    match mark {
        Some(Mark { held, ahead }) => (Some(held), ahead),
        None => (None, Ahead::default()),
    }
}

/// A view whose keys have another type cannot be written to.
pub(super) fn check_layout(view: &View, known: Option<&ViewMeta>) -> Result<()> {
    let (is, wanted) = match (known.and_then(|known| known.layout), view.layout()) {
        (Some(Layout::Hash), Layout::Json) => ("hashes", "JSON strings"),
        (Some(Layout::Json), Layout::Hash) => ("JSON strings", "hashes"),
        _ => return Ok(()),
    };
    Err(Error::misconfigured(format!(
        "view {:?} is stored as {is}, but the file now asks for {wanted}",
        view.name
    ))
    .with_remedy("give the view another name: it is filled anew, and the old keys can be removed when nobody reads them"))
}

/// `OK`, or the error it is instead.
fn accept(reply: Reply) -> Result<()> {
    match reply {
        Reply::Text(_) => Ok(()),
        Reply::Error(text) => Err(failure::from_reply(&text)),
        _ => Err(failure::unexpected("a command")),
    }
}

/// Somebody else wrote the meta key: who, and what must the caller do?
pub(super) fn outrun(found: Option<&Held>, epoch: Epoch, after: Offset) -> Error {
    match found {
        None => Error::out_of_step("the store is empty: it was flushed, or restarted without its data"),
        Some(held) if held.epoch > epoch => Error::new(
            ErrorKind::Fenced,
            format!("epoch {} owns the store now, this is epoch {epoch}", held.epoch),
        ),
        Some(held) if held.offset != after => {
            Error::out_of_step(format!("the store holds offset {}, not {after}", held.offset))
        }
        Some(_) => Error::transient("the store's own state was written by somebody else meanwhile"),
    }
}
