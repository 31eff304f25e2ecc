//! What the server's and the driver's errors ask the caller to do.

use std::io;

use headwater_model::{Error, ErrorKind};

/// The statement was ended because it took too long: MariaDB's number and MySQL's.
pub(super) const TIMED_OUT: [u16; 2] = [1969, 3024];

/// The server takes no connection in the clear, as MySQL says it. MariaDB says [`ACCESS_DENIED`], as both do where only the user
/// may not come so.
const TLS_REQUIRED: u16 = 3159;
const ACCESS_DENIED: u16 = 1045;

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

/// Why there is no connection. What is wrong with TLS stays so until somebody does something; anything else of the network may pass.
pub(super) fn unconnected(error: mysql_async::Error) -> Error {
    use mysql_async::{DriverError, IoError};
    match &error {
        mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            Error::misconfigured("the server does not offer TLS").with_remedy(
                "give the server a certificate, or allow an unencrypted connection with sslmode=disable in the URL",
            )
        }
        mysql_async::Error::Server(server) if server.code == TLS_REQUIRED => {
            Error::new(ErrorKind::Denied, format!("{} ({})", server.message, server.code))
                .with_remedy("have the connection encrypted: say sslmode=verify-full in the URL")
        }
        mysql_async::Error::Server(server) if server.code == ACCESS_DENIED => failed(error).with_remedy(
            "check the user and the password; where the server demands TLS, say sslmode=verify-full in the URL",
        ),
        mysql_async::Error::Io(IoError::Io(cause)) if cause.kind() == io::ErrorKind::InvalidData => {
            untrusted(error)
        }
        mysql_async::Error::Io(IoError::Tls(_)) => untrusted(error),
        _ => failed(error),
    }
}

fn untrusted(cause: mysql_async::Error) -> Error {
    Error::misconfigured("TLS with the server failed")
        .with_remedy(
            "name the authority's certificate with sslrootcert, connect by the name in the server's certificate, or choose \
             a weaker sslmode",
        )
        .with_cause(cause)
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
