//! What the server or the driver says, as an error of ours.

use headwater_model::{Error, ErrorKind};
use mongodb::error::ErrorKind as Said;

/// A key that is there already: the condition of a write did not hold.
pub(super) const DUPLICATE: i32 = 11000;

/// `doing` says what and, where one is at fault, which key.
pub(super) fn failure(doing: impl std::fmt::Display, error: mongodb::error::Error) -> Error {
    match &*error.kind {
        Said::Command(command) => from_code(doing, command.code, &command.message),
        Said::Authentication { message, .. } => denied(format!("{doing}: {message}")),
        Said::InvalidArgument { message, .. }
        | Said::InvalidTlsConfig { message, .. }
        | Said::IncompatibleServer { message, .. } => Error::misconfigured(format!("{doing}: {message}"))
            .with_remedy("check the store's URL and its options: docs/engines/mongodb.md"),
        Said::ServerSelection { message, .. } => Error::transient(format!("{doing}: {message}"))
            .with_remedy("check that the hosts of the URL can be reached, and that replicaSet and tls are as the server has them"),
        other => Error::transient(format!("{doing}: {other}")),
    }
}

/// Of a code that the server gave, for a command or for one write of it.
pub(super) fn from_code(doing: impl std::fmt::Display, code: i32, said: &str) -> Error {
    let said = format!("{doing}: {said} (code {code})");
    match code {
        // Unauthorized, AuthenticationFailed, and Atlas' own.
        13 | 18 | 8000 => denied(said),
        // IndexOptionsConflict, IndexKeySpecsConflict
        85 | 86 => Error::misconfigured(said)
            .with_remedy("drop the collection's indexes whose names begin with hw_: they are made again"),
        // The disk is full, by the server's own measure.
        14031 => Error::new(ErrorKind::Throttled, said).with_remedy("give the server's volume more room"),
        // What the server will say again: what a document, a key or a command is made of.
        2 | 9 | 14 | 15 | 52 | 57 | 10334 | 17280 | 17419 | 17420 => Error::unsupported(said),
        // CommandNotFound, NoReplicationEnabled, CommandNotSupported, and Amazon DocumentDB's own.
        59 | 76 | 115 | 303 => Error::unsupported(said),
        _ => Error::transient(said),
    }
}

fn denied(said: String) -> Error {
    Error::new(ErrorKind::Denied, said).with_remedy(
        "check user, password and authSource of the URL, and that the user has the role readWrite of the database",
    )
}
