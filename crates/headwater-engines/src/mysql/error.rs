//! What the server's and the driver's errors ask the caller to do.

use headwater_model::{Error, ErrorKind};

/// The statement was ended because it took too long: MariaDB's number and MySQL's.
pub(super) const TIMED_OUT: [u16; 2] = [1969, 3024];

/// What the server says against a statement.
pub(super) struct Refused(pub mysql_async::ServerError);

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        failed(mysql_async::Error::Server(refused.0))
    }
}

pub(super) fn failed(error: mysql_async::Error) -> Error {
    match &error {
        mysql_async::Error::Server(server) => {
            let text = format!("{} ({})", server.message, server.code);
            Error::new(kind(server.code, &server.message), text)
        }
        mysql_async::Error::Url(_) => Error::misconfigured(error.to_string()),
        _ => Error::transient(error.to_string()),
    }
}

/// The server's number of an error, if it is the server's.
pub(super) fn code(error: &mysql_async::Error) -> Option<u16> {
    match error {
        mysql_async::Error::Server(server) => Some(server.code),
        _ => None,
    }
}

fn kind(code: u16, message: &str) -> ErrorKind {
    match code {
        // Access denied, to the server, a database, a table, a column, or for want of a privilege.
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698 => ErrorKind::Denied,
        // What the server's own system or disk says, and what it has no memory or room for.
        0..1000 | 1021 | 1030 | 1037 | 1038 | 1041 => ErrorKind::Transient,
        // Too many connections, shutting down, lock waits and deadlocks, killed, read-only, timed out, a table that was altered
        // under a snapshot, and a session that was ended because nothing came for long.
        1040 | 1053 | 1077 | 1079 | 1205 | 1213 | 1290 | 1317 | 1412 | 1836 | 1927 | 1969 | 3024 | 3100
        | 4031 => ErrorKind::Transient,
        // The log cannot be sent from there; a second reader with our server id is no such case.
        1236 if message.contains("same server") => ErrorKind::Transient,
        1236 => ErrorKind::OutOfStep,
        1064 => ErrorKind::Bug,
        _ => ErrorKind::Misconfigured,
    }
}
