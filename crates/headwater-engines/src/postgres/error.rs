//! What PostgreSQL's errors ask the caller to do. This is the only place that reads a SQLSTATE to decide it.

use headwater_model::{Error, ErrorKind};

/// An `ErrorResponse`, as the server sent it. Its texts name objects, never secrets.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerError {
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Where in the statement, in characters from 1.
    pub position: Option<usize>,
}

impl ServerError {
    /// Reads the body of an `ErrorResponse`: fields of a type byte and a C string, ended by a zero byte.
    pub fn parse(body: &[u8]) -> ServerError {
        let mut error = ServerError::default();
        let mut rest = body;
        while let Some((&field, tail)) = rest.split_first() {
            if field == 0 {
                break;
            }
            let end = tail.iter().position(|b| *b == 0).unwrap_or(tail.len());
            let text = String::from_utf8_lossy(&tail[..end]).into_owned();
            match field {
                b'C' => error.code = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                b'P' => error.position = text.parse().ok(),
                _ => {}
            }
            rest = tail.get(end + 1..).unwrap_or_default();
        }
        error
    }

    pub fn kind(&self) -> ErrorKind {
        use ErrorKind::*;
        match self.code.as_str() {
            // All slots or walsenders taken; a setting must grow.
            "53400" => Misconfigured,
            // Too many connections, out of memory, disk full: may pass.
            code if code.starts_with("53") => Transient,
            // The node is a standby, or became one: the next connection may reach the primary.
            "25006" => Transient,
            // The same where the log is asked for: "logical decoding cannot be used while in recovery", "recovery is in progress".
            "0A000" | "55000" if self.message.contains("recovery") => Transient,
            // In use by another session, lock not available.
            "55006" | "55P03" => Transient,
            "55000" => Misconfigured,
            "42501" => Denied,
            // Serialization failure, deadlock, broken connection, shutdown, cancelled, system error.
            code if ["08", "40", "57", "58"].iter().any(|class| code.starts_with(class)) => Transient,
            code if code.starts_with("28") => Denied,
            "XX001" | "XX002" => Corrupt,
            // The server cannot decode a place of its log, now or later: a TRUNCATE that was undone, where decoding
            // begins anew inside the transaction. The log is lost for us; waiting does not bring it back.
            "XX000" if self.message.starts_with("could not map filenode") => OutOfStep,
            code if code.starts_with("XX") => Transient,
            // A value that its type does not take, or two types that do not compare: of a read, not of ours.
            code if code.starts_with("0A") || code.starts_with("22") || code == "42883" => Unsupported,
            // What somebody else has made in the store's tables.
            "42701" => Misconfigured,
            "3D000" | "3F000" | "42P01" | "42703" | "42704" => Misconfigured,
            _ => Bug,
        }
    }
}

impl From<ServerError> for Error {
    fn from(server: ServerError) -> Error {
        let mut message = format!("PostgreSQL says: {} (SQLSTATE {})", server.message, server.code);
        if let Some(detail) = &server.detail {
            message.push_str(&format!("; {detail}"));
        }
        let error = Error::new(server.kind(), message);
        match server.hint {
            Some(hint) => error.with_remedy(hint),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_error_maps_to_what_the_caller_should_do() {
        let error = ServerError::parse(b"SERROR\0C42501\0Mpermission denied\0Hask\0\0");
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(error.hint.as_deref(), Some("ask"));
        for (code, kind) in [
            ("57P01", ErrorKind::Transient),
            ("40P01", ErrorKind::Transient),
            ("28P01", ErrorKind::Denied),
            ("53400", ErrorKind::Misconfigured),
            ("53300", ErrorKind::Transient),
            ("42601", ErrorKind::Bug),
        ] {
            assert_eq!(ServerError { code: code.into(), ..ServerError::default() }.kind(), kind, "{code}");
        }
    }

    /// Behind one address for several servers each connection may lead to another one.
    #[test]
    fn a_standby_is_not_the_last_word() {
        for (code, message) in [
            ("25006", "cannot execute INSERT in a read-only transaction"),
            ("0A000", "logical decoding cannot be used while in recovery"),
            ("55000", "recovery is in progress"),
        ] {
            let error = ServerError { code: code.into(), message: message.into(), ..ServerError::default() };
            assert_eq!(error.kind(), ErrorKind::Transient, "{message}");
        }
        let error = ServerError { code: "0A000".into(), ..ServerError::default() };
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_log_that_the_server_cannot_decode_is_a_gap() {
        let error =
            ServerError::parse(b"SERROR\0CXX000\0Mcould not map filenode \"base/5/7\" to relation OID\0\0");
        assert_eq!(error.kind(), ErrorKind::OutOfStep);
    }

    #[test]
    fn a_torn_server_error_does_not_panic() {
        let whole = b"SERROR\0C42501\0Mpermission denied\0\0";
        for length in 0..whole.len() {
            ServerError::parse(&whole[..length]);
        }
    }
}
