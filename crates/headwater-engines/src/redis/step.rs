//! One atomic step: MULTI, the commands of its changes, the position, EXEC.
//!
//! A small step is one write to the socket and one wait. A large one is sent while it is still being encoded, and its
//! replies are read while it is being sent; the server holds it back until EXEC. EXEC carries the WATCH and the
//! question for the next step, so fencing costs no round trip of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::{
    Apply, Epoch, Error, Held, Key, Layout, Listed, Record, Refusal, Result, StoredBody, Value, View,
    ViewChange,
};

use super::ahead::Ahead;
use super::connection::Connection;
use super::index::{self, Changed, Places};
use super::lane::Shared;
use super::listing::{self, Foreign};
use super::resp::{self, Token};
use super::tape::{Expect, Tally, Tape};
use super::writer::{Writer, outrun};
use super::{codec, failure, foreign, keys, meta, scan};

/// Encoded bytes that are sent without waiting for more.
const SEND_BYTES: usize = 64 << 10;

/// How long a document that left its lane is kept.
const KEPT_SECONDS: u64 = 6 * 3600;

/// The field of such a document that says where the step ended that took it away.
const KEPT_UPTO: &str = "\0upto";

/// Keys in one UNLINK of a cleared view.
const UNLINK_KEYS: usize = 128;

pub(super) struct Step {
    shared: Arc<Shared>,
    /// `None` once the step is over, or its connection is of no more use.
    writer: Option<Writer>,
    epoch: Epoch,
    before: Held,
    tape: Tape,
    /// Replies to MULTI and to queued commands read so far.
    answered: usize,
    sent: bool,
    /// The first error reply to a queued command: the step cannot be committed.
    refused: Option<String>,
    /// The view whose JSON puts stand after a DBSIZE, if any.
    counting: Option<u16>,
    /// Where documents that leave the lane are kept.
    kept: Vec<Vec<u8>>,
    places: Places,
}

impl Step {
    pub(super) fn new(shared: Arc<Shared>, mut writer: Writer, epoch: Epoch, before: Held) -> Step {
        writer.views.iter_mut().for_each(|view| view.forget_put_keys());
        resp::whole(&[b"MULTI"], &mut writer.connection.out);
        Step {
            shared,
            writer: Some(writer),
            epoch,
            before,
            tape: Tape::default(),
            answered: 0,
            sent: false,
            refused: None,
            counting: None,
            kept: Vec::new(),
            places: Places::default(),
        }
    }

    async fn apply(&mut self, change: ViewChange, refusals: &mut Vec<Refusal>) -> Result<()> {
        match change {
            ViewChange::Clear { view } => self.clear(&view).await,
            change => {
                let entries = self.places.entries(&change)?;
                let about = entries.map(|entries| (about(&change), entries));
                match self.encode(change)? {
                    Some(refusal) => refusals.push(refusal),
                    None => {
                        if let Some(((view, key, moved_from), entries)) = about {
                            self.places.note(&view, &key, moved_from.as_ref(), entries);
                        }
                    }
                }
                self.send_if_large().await
            }
        }
    }

    fn view_number(&mut self, view: &Arc<View>) -> Result<u16> {
        let writer = self.writer.as_mut().ok_or_else(over)?;
        let at = writer.view(view, &self.shared.config.prefix)?;
        Ok(writer.views[at].number)
    }

    fn encode(&mut self, change: ViewChange) -> Result<Option<Refusal>> {
        let writer = self.writer.as_mut().ok_or_else(over)?;
        let (ViewChange::Put { view, .. } | ViewChange::Delete { view, .. } | ViewChange::Clear { view }) =
            &change;
        let at = writer.view(view, &self.shared.config.prefix)?;
        let Writer { connection, views, .. } = writer;
        let (state, out) = (&mut views[at], &mut connection.out);
        if let Some(other) = self.counting
            && other != state.number
        {
            stop_counting(&mut self.counting, out, &mut self.tape);
        }
        match change {
            ViewChange::Put { view, key, moved_from, document } => {
                if state.layout() == Layout::Json && self.counting.is_none() {
                    resp::whole(&[b"DBSIZE"], out);
                    self.tape.push(Expect::CountBefore);
                    self.counting = Some(state.number);
                }
                let refused = state.put(&key, moved_from.as_ref(), &document, out, &mut self.tape)?;
                Ok(refused.map(|reason| Refusal { view: view.name.clone(), key: key.to_text(), reason }))
            }
            ViewChange::Delete { key, .. } => {
                state.delete(&key, out);
                let counted = self.counting == Some(state.number);
                self.tape.push(if counted { Expect::Nothing } else { Expect::Gone { view: state.number } });
                Ok(None)
            }
            ViewChange::Clear { .. } => Err(Error::bug("a clear is not one command")),
        }
    }

    /// Empties a view: the keys that readers see now, found on another connection (this one only queues), and those that
    /// this very step has put. Nobody else writes, so that is all of them; if somebody does, EXEC fails.
    async fn clear(&mut self, view: &Arc<View>) -> Result<()> {
        let mut reader = self.shared.reader().await?;
        let keys = scan::Keys::of(&self.shared.config.prefix, &view.name);
        let mut walk = scan::Walk::new();
        while let Some(keys) = walk.next(&mut reader, &keys).await? {
            self.unlink_found(view, &keys).await?;
        }
        self.shared.give_back(reader);
        self.clear_rest(view).await
    }

    /// Of a view that is cleared: removes keys that readers see.
    pub(super) async fn unlink_found(&mut self, view: &Arc<View>, keys: &[Vec<u8>]) -> Result<()> {
        let number = self.view_number(view)?;
        let writer = self.writer.as_mut().ok_or_else(over)?;
        stop_counting(&mut self.counting, &mut writer.connection.out, &mut self.tape);
        for keys in keys.chunks(UNLINK_KEYS) {
            self.unlink_as(Expect::Gone { view: number }, keys).await?;
        }
        Ok(())
    }

    /// Of a view that is cleared: removes what this step has put, and the indexes.
    pub(super) async fn clear_rest(&mut self, view: &Arc<View>) -> Result<()> {
        let number = usize::from(self.view_number(view)?);
        let writer = self.writer.as_mut().ok_or_else(over)?;
        let put: Vec<Vec<u8>> = writer.views[number].put_keys().map(<[u8]>::to_vec).collect();
        writer.views[number].forget_put_keys();
        self.unlink_found(view, &put).await?;
        // A key that is never there: where the slot is on its way to another node, and keys with it that were not found, this is
        // refused, and the step with it.
        let writer = self.writer.as_mut().ok_or_else(over)?;
        resp::whole(&[b"EXISTS", &keys::never(&self.shared.config.prefix)], &mut writer.connection.out);
        self.tape.push(Expect::Nothing);
        let mut reader = self.shared.reader().await?;
        self.clear_indexes(view, &mut reader).await?;
        self.shared.give_back(reader);
        Ok(())
    }

    /// Removes all indexes that a view has or ever had: its documents remember which sets these are.
    async fn clear_indexes(&mut self, view: &View, reader: &mut Connection) -> Result<()> {
        let prefix = self.shared.config.prefix.clone();
        let queued = self.places.clear(&prefix, view);
        self.unlink_all(Expect::Nothing, &queued).await?;
        let places = keys::places(&prefix, &view.name);
        let mut cursor = Some(b"0".to_vec());
        while let Some(from) = cursor {
            let (next, remembered) = scan::fields(reader, &places, &from).await?;
            let mut sets = BTreeSet::new();
            for packed in remembered {
                sets.extend(index::sets_of(&prefix, &view.name, &packed)?);
            }
            let sets: Vec<_> = sets.into_iter().collect();
            self.unlink_all(Expect::Nothing, &sets).await?;
            cursor = next;
        }
        self.unlink_all(Expect::Nothing, &[places]).await
    }

    async fn unlink_all(&mut self, expect: Expect, keys: &[Vec<u8>]) -> Result<()> {
        for keys in keys.chunks(UNLINK_KEYS) {
            self.unlink_as(expect, keys).await?;
        }
        Ok(())
    }

    /// Reads what documents of views with indexes remember, before they are changed.
    async fn learn_places(&mut self, changes: &[ViewChange]) -> Result<()> {
        let unknown = self.places.unknown(changes);
        if unknown.is_empty() {
            return Ok(());
        }
        let mut reader = self.shared.reader().await?;
        self.places.learn(&mut reader, &self.shared.config.prefix, unknown).await?;
        self.shared.give_back(reader);
        Ok(())
    }

    /// Queues what the write means for indexes.
    async fn write_places(&mut self) -> Result<()> {
        let changed = self.places.take_changed(&self.shared.config.prefix);
        self.write_changed(changed).await
    }

    async fn write_changed(&mut self, changed: Vec<Changed>) -> Result<()> {
        for changed in changed {
            if self.shared.is_wary()
                && let Some(key) = foreign::of_other_type(&self.shared, changed.set_keys(), b"zset")
                    .await?
                    .into_keys()
                    .next()
            {
                return Err(index::foreign(&key));
            }
            let writer = self.writer.as_mut().ok_or_else(over)?;
            let out = &mut writer.connection.out;
            // Sets come and go with their members, and DBSIZE must count documents only.
            stop_counting(&mut self.counting, out, &mut self.tape);
            for _ in 0..changed.write(out) {
                self.tape.push(Expect::Nothing);
            }
            self.send_if_large().await?;
        }
        Ok(())
    }

    async fn unlink_as(&mut self, expect: Expect, keys: &[Vec<u8>]) -> Result<()> {
        let writer = self.writer.as_mut().ok_or_else(over)?;
        let out = &mut writer.connection.out;
        resp::command(1 + keys.len(), out);
        resp::arg(b"UNLINK", out);
        keys.iter().for_each(|key| resp::arg(key, out));
        self.tape.push(expect);
        self.send_if_large().await
    }

    async fn send_if_large(&mut self) -> Result<()> {
        let writer = self.writer.as_mut().ok_or_else(over)?;
        if writer.connection.out.len() < SEND_BYTES {
            return Ok(());
        }
        self.sent = true;
        if let Err(e) = writer.connection.send().await {
            self.writer = None;
            return Err(e);
        }
        self.take_answers()?;
        match &self.refused {
            Some(text) => Err(failure::from_reply(text)),
            None => Ok(()),
        }
    }

    /// Reads the answers to queued commands that have already arrived.
    fn take_answers(&mut self) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        // MULTI itself is answered too.
        let asked = 1 + self.tape.len();
        loop {
            self.answered += writer.connection.skip_queued(asked - self.answered);
            if self.answered == asked {
                return Ok(());
            }
            match writer.connection.token_now()? {
                None => return Ok(()),
                Some(token) => note(token, writer, &mut self.refused)?,
            }
            self.answered += 1;
        }
    }

    /// Sends the rest and EXEC, and reads everything up to EXEC's answer and the new WATCH.
    async fn execute(&mut self, held: &Held, ahead: Option<&Ahead>) -> Result<Outcome> {
        let writer = self.writer.as_mut().ok_or_else(over)?;
        stop_counting(&mut self.counting, &mut writer.connection.out, &mut self.tape);
        for kept in std::mem::take(&mut self.kept) {
            let (out, upto) = (&mut writer.connection.out, held.offset.to_string());
            resp::whole(&[b"HSET", &kept, KEPT_UPTO.as_bytes(), upto.as_bytes()], out);
            resp::whole(&[b"EXPIRE", &kept, KEPT_SECONDS.to_string().as_bytes()], out);
            self.tape.push(Expect::Nothing);
            self.tape.push(Expect::Nothing);
        }
        let mut more: Vec<_> =
            ahead.map(|ahead| (meta::AHEAD.to_owned(), ahead.to_text())).into_iter().collect();
        for view in writer.views.iter().filter(|view| view.unsaved) {
            more.extend(view.meta().as_fields(&view.view.name));
        }
        meta::write(&writer.meta_key, held, &more, &mut writer.connection.out);
        self.tape.push(Expect::Nothing);
        resp::whole(&[b"EXEC"], &mut writer.connection.out);
        writer.ask_again();
        writer.distrust();
        self.sent = true;
        writer.connection.send().await?;
        self.take_answers()?;
        let writer = self.writer.as_mut().ok_or_else(over)?;
        while self.answered < 1 + self.tape.len() {
            let token = writer.connection.token().await?;
            note(token, writer, &mut self.refused)?;
            self.answered += 1;
            self.answered += writer.connection.skip_queued(1 + self.tape.len() - self.answered);
        }
        let outcome = match writer.connection.token().await? {
            Token::Array(Some(items)) if items == self.tape.len() => {
                let (mut tally, mut failed) = (Tally::default(), Vec::new());
                for expect in self.tape.expectations() {
                    match writer.connection.token().await? {
                        Token::Int(reply) => tally.see(expect, reply),
                        Token::Error(text) => {
                            tally.see(expect, 0);
                            failed.push(String::from_utf8_lossy(writer.connection.text(text)).into_owned());
                            // One tells the kind; a step of millions must not keep millions.
                            failed.truncate(1);
                        }
                        _ => {}
                    }
                }
                match failed.pop() {
                    None => Outcome::Done(tally),
                    Some(text) => Outcome::Damaged(text),
                }
            }
            Token::Array(None) => Outcome::Outrun,
            Token::Error(text) => {
                let text = String::from_utf8_lossy(writer.connection.text(text)).into_owned();
                Outcome::Refused(self.refused.take().unwrap_or(text))
            }
            _ => return Err(failure::unexpected("EXEC")),
        };
        writer.read_answer().await?;
        Ok(outcome)
    }

    /// EXEC took effect, position included, but some commands met a foreign value under our name. The position is put
    /// back, so that the step is applied again, and then with a look at each key's type.
    async fn undo_position(&mut self, text: &str) -> Error {
        let before = self.before.clone();
        let Some(writer) = &mut self.writer else { return over() };
        self.shared.wary();
        match writer.move_to(&before, &[]).await {
            Ok(true) => {
                writer.held = Some(before);
                Error::transient(format!(
                    "a foreign value lies under a key of ours ({text}): it will be replaced"
                ))
            }
            Ok(false) => outrun(writer.held.as_ref(), self.epoch, self.before.offset),
            Err(e) => {
                self.writer = None;
                e.while_doing(
                    "put the position back after a foreign value was met; verify will find what is missing",
                )
            }
        }
    }
}

enum Outcome {
    Done(Tally),
    /// Somebody else wrote the meta key: nothing took effect.
    Outrun,
    /// A command was refused before EXEC: nothing took effect.
    Refused(String),
    /// Everything took effect but the commands that answered like this.
    Damaged(String),
}

#[async_trait]
impl Apply for Step {
    async fn write(&mut self, changes: Vec<ViewChange>) -> Result<Vec<Refusal>> {
        if let Some(text) = &self.refused {
            return Err(failure::from_reply(text));
        }
        self.places.wary = self.shared.is_wary();
        self.learn_places(&changes).await?;
        let mut refusals = Vec::new();
        if self.shared.is_wary() {
            for (change, in_the_way) in foreign::look(&self.shared, changes, &mut refusals).await? {
                if let ViewChange::Put { view, .. } = &change
                    && !in_the_way.is_empty()
                {
                    let number = self.view_number(view)?;
                    self.unlink_as(Expect::Gone { view: number }, &in_the_way).await?;
                }
                self.apply(change, &mut refusals).await?;
            }
        } else {
            for change in changes {
                self.apply(change, &mut refusals).await?;
            }
        }
        self.write_places().await?;
        Ok(refusals)
    }

    async fn unplace(&mut self, view: &Arc<View>, strays: &[Listed]) -> Result<()> {
        let prefix = &self.shared.config.prefix;
        let mut members = Vec::with_capacity(strays.len());
        for stray in strays {
            members.push(match stray {
                Listed::Entry(entry) => listing::place_of(prefix, &view.name, entry),
                Listed::Foreign(bytes) => {
                    let foreign = Foreign::read(bytes)?;
                    (foreign.set.to_vec(), foreign.member.to_vec())
                }
            });
        }
        let gone = Changed::gone(prefix, &view.name, members.into_iter());
        self.write_changed(vec![gone]).await
    }

    async fn commit(self: Box<Self>, held: &Held) -> Result<()> {
        self.commit_with(held, None).await
    }
}

/// What a lane's step must do for the store that the lane is one of.
impl Step {
    /// How far the lane is ahead.
    pub(super) fn ahead(&self) -> Ahead {
        self.writer.as_ref().map(|writer| writer.ahead.clone()).unwrap_or_default()
    }

    /// Gives the fields that stay in a document which leaves its key: as the store has them there. If the lane is ahead, the
    /// document may have left before, and is what was kept of it then. `None` if it was not.
    pub(super) async fn fill(
        &mut self,
        view: &View,
        moved: [&Key; 2],
        mut document: Record,
        is_ahead: bool,
    ) -> Result<Option<Record>> {
        let prefix = &self.shared.config.prefix;
        let mut reader = self.shared.reader().await?;
        let mut ask = async |key: Vec<u8>| -> Result<Vec<(String, Vec<u8>)>> {
            codec::ask(Layout::Hash, &key, &mut reader.out);
            match codec::read(Layout::Hash, reader.reply().await?)? {
                Some(StoredBody::Fields(fields)) => Ok(fields),
                _ => Ok(Vec::new()),
            }
        };
        let mut stored = ask(keys::document(prefix, view, moved[0])).await?;
        let mut is_stored = true;
        if is_ahead {
            let kept = ask(moved_key(prefix, view, moved)).await?;
            let is_of_now = kept.iter().any(|(name, upto)| {
                let upto = String::from_utf8_lossy(upto).parse::<u64>();
                name == KEPT_UPTO && upto.is_ok_and(|upto| upto > self.before.offset.0)
            });
            if is_of_now || stored.is_empty() {
                (stored, is_stored) = (kept, false);
            }
            if stored.is_empty() {
                return Ok(None);
            }
        }
        let places = match view.indexes.is_empty() {
            true => Vec::new(),
            false => index::of_document(&mut reader, prefix, &view.name, moved[0]).await?,
        };
        self.shared.give_back(reader);
        for (name, value) in document.names.iter().zip(&mut document.values) {
            if !value.is_unchanged() {
                continue;
            }
            let Some((_, kept)) = stored.iter().find(|(stored, _)| **stored == **name) else {
                *value = Value::Null;
                continue;
            };
            let text = String::from_utf8_lossy(kept);
            // The store has texts only, and an index is in the order of values: it has those it is about.
            *value = match index::is_about(view, name) {
                false => Value::text(text),
                true if is_stored && let Some(value) = index::value_of(view, &places, name)? => match value {
                    Value::Decimal(_) => Value::Decimal(text.into()),
                    value => value,
                },
                true => return Ok(None),
            };
        }
        Ok(Some(document))
    }

    /// Keeps a document that is about to leave its key, for as long as it may take until all lanes have come here: should
    /// the other lane not get it now, it is written once more from what is kept.
    pub(super) async fn keep_moved(
        &mut self,
        view: &Arc<View>,
        moved: [&Key; 2],
        document: &Record,
    ) -> Result<()> {
        let kept = moved_key(&self.shared.config.prefix, view, moved);
        let writer = self.writer.as_mut().ok_or_else(over)?;
        let out = &mut writer.connection.out;
        // What is kept is no document.
        stop_counting(&mut self.counting, out, &mut self.tape);
        resp::whole(&[b"UNLINK", &kept], out);
        self.tape.push(Expect::Nothing);
        for (name, value) in document.fields().filter(|(_, value)| !value.is_null()) {
            resp::whole(&[b"HSET", &kept, name.as_bytes(), value.to_text().as_bytes()], out);
            self.tape.push(Expect::Nothing);
        }
        self.kept.push(kept);
        self.send_if_large().await
    }

    /// As [`Apply::commit`], and says from now on how far the lane is ahead, if that is given.
    pub(super) async fn commit_with(mut self, held: &Held, ahead: Option<&Ahead>) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let quiet = shared.rows.commit_begins();
        let outcome = match self.execute(held, ahead).await {
            Ok(outcome) => outcome,
            Err(e) => {
                // Whether it took effect is not known, so neither is the number of rows.
                self.writer = None;
                self.shared.rows.forget();
                return Err(e.while_doing("commit a step"));
            }
        };
        let result = match outcome {
            Outcome::Done(tally) => {
                if let Some(writer) = &mut self.writer {
                    writer.views.iter_mut().for_each(|view| view.unsaved = false);
                    let deltas = tally.delta.iter().zip(&writer.views).filter(|(delta, _)| **delta != 0);
                    deltas.for_each(|(delta, view)| self.shared.rows.add(&view.view.name, *delta));
                }
                self.shared.unwary();
                Ok(())
            }
            Outcome::Outrun => {
                self.shared.rows.forget();
                // What this writer knows of the views is another owner's business now: the next one reads it anew.
                let found = self.writer.take().and_then(|writer| writer.held);
                Err(outrun(found.as_ref(), self.epoch, self.before.offset))
            }
            Outcome::Refused(text) => Err(failure::from_reply(&text).while_doing("commit a step")),
            Outcome::Damaged(text) => {
                self.shared.rows.forget();
                Err(self.undo_position(&text).await)
            }
        };
        drop(quiet);
        if let Some(writer) = self.writer.take() {
            self.shared.rest(writer);
        }
        result
    }
}

impl Drop for Step {
    /// What was sent is forgotten by the server with the connection; what was not, here.
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take()
            && !self.sent
        {
            writer.connection.out.clear();
            self.shared.rest(writer);
        }
        self.shared.step_over();
    }
}

/// The view, the key and the former key that a change is about.
fn about(change: &ViewChange) -> (Arc<View>, Key, Option<Key>) {
    match change {
        ViewChange::Put { view, key, moved_from, .. } => (Arc::clone(view), key.clone(), moved_from.clone()),
        ViewChange::Delete { view, key } => (Arc::clone(view), key.clone(), None),
        ViewChange::Clear { view } => (Arc::clone(view), Key(Vec::new()), None),
    }
}

fn moved_key(prefix: &str, view: &View, [old, new]: [&Key; 2]) -> Vec<u8> {
    keys::moved(prefix, &view.name, old.to_text().as_bytes(), new.to_text().as_bytes())
}

fn stop_counting(counting: &mut Option<u16>, out: &mut Vec<u8>, tape: &mut Tape) {
    if let Some(view) = counting.take() {
        resp::whole(&[b"DBSIZE"], out);
        tape.push(Expect::CountAfter { view });
    }
}

/// Takes the answer to MULTI or to a queued command.
fn note(token: Token, writer: &Writer, refused: &mut Option<String>) -> Result<()> {
    match token {
        Token::Simple(_) => Ok(()),
        Token::Error(text) => {
            let text = String::from_utf8_lossy(writer.connection.text(text)).into_owned();
            refused.get_or_insert(text);
            Ok(())
        }
        _ => Err(failure::unexpected("a queued command")),
    }
}

fn over() -> Error {
    Error::bug("the step has already failed")
}
