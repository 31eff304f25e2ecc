//! Answers, each from one MULTI, so that documents and position are of one moment.

use headwater_model::{Answer, AnswerMoment, Error, Found, Read, Result};

use super::connection::Connection;
use super::resp::{self, Reply};
use super::{codec, failure, keys, meta};

pub(super) async fn answer(connection: &mut Connection, prefix: &str, read: &Read) -> Result<Answer> {
    match read {
        Read::Get { view, keys } => {
            let layout = view.layout();
            let mut moment = Moment::open(connection, prefix);
            for key in keys {
                moment.ask(|out| codec::ask(layout, &keys::document(prefix, view, key), out));
            }
            let (at, replies) = moment.read().await?;
            let documents =
                replies.into_iter().map(|reply| codec::read(layout, reply)).collect::<Result<_>>()?;
            Ok(Answer { at, found: Found::Documents(documents) })
        }
        Read::Range(_) | Read::Walk(_) => {
            Err(Error::unsupported("ranges and walks are not answered here yet"))
        }
    }
}

/// Questions that are answered together: in one MULTI, with the position.
struct Moment<'c> {
    connection: &'c mut Connection,
    asked: usize,
}

impl Moment<'_> {
    fn open<'c>(connection: &'c mut Connection, prefix: &str) -> Moment<'c> {
        resp::whole(&[b"MULTI"], &mut connection.out);
        meta::ask_held(&keys::meta(prefix), &mut connection.out);
        Moment { connection, asked: 0 }
    }

    /// `write` appends one command.
    fn ask(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.connection.out);
        self.asked += 1;
    }

    /// The moment, and the replies in the order asked. A command that failed has its error as its reply.
    async fn read(self) -> Result<(AnswerMoment, Vec<Reply>)> {
        resp::whole(&[b"EXEC"], &mut self.connection.out);
        let mut refused = None;
        // MULTI, the position, the questions.
        for _ in 0..2 + self.asked {
            if let Reply::Error(text) = self.connection.reply().await? {
                refused.get_or_insert(text);
            }
        }
        let replies = match (refused, self.connection.reply().await?) {
            (Some(text), _) | (None, Reply::Error(text)) => return Err(failure::from_reply(&text)),
            (None, Reply::Array(replies)) => replies,
            (None, _) => return Err(failure::unexpected("EXEC")),
        };
        let mut replies = replies.into_iter();
        let held = meta::read_held(replies.next().unwrap_or(Reply::Nil))?.ok_or_else(|| {
            Error::out_of_step("the store is empty: it was flushed, or restarted without its data")
        })?;
        let at = AnswerMoment::Applied(held);
        Ok((at, replies.collect()))
    }
}
