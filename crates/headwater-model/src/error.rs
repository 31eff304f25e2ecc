//! One error type for every seam, with a kind that says what the caller should do.

use std::error::Error as StdError;
use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again after a pause: connection lost, server starting, deadlock.
    Transient,
    /// The engine asks for less: slow down, then try again.
    Throttled,
    /// Credentials or privileges are missing: pause and tell the operator.
    Denied,
    /// The file or the engine's settings must change: pause and tell the operator.
    Misconfigured,
    /// The engine or Headwater cannot do this: refuse at start, quarantine when met later.
    Unsupported,
    /// A higher epoch owns the store or the source: stop writing at once, go back to standby.
    Fenced,
    /// Positions do not fit together (a gap, another system, an emptied store): rebuild what is affected.
    OutOfStep,
    /// Bytes that should be ours fail their checksum or cannot be read: rebuild from the source.
    Corrupt,
    /// Our own mistake: report it, do not retry in a loop.
    Bug,
}

/// An error with its kind, what was being done, what to do about it, and its cause.
pub struct Error {
    kind: ErrorKind,
    message: Box<str>,
    remedy: Option<Box<str>>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// `message` is lowercase, without a full stop, and says what was being done or what is wrong.
    pub fn new(kind: ErrorKind, message: impl Into<Box<str>>) -> Error {
        Error { kind, message: message.into(), remedy: None, cause: None }
    }

    pub fn transient(message: impl Into<Box<str>>) -> Error {
        Error::new(ErrorKind::Transient, message)
    }

    pub fn misconfigured(message: impl Into<Box<str>>) -> Error {
        Error::new(ErrorKind::Misconfigured, message)
    }

    pub fn unsupported(message: impl Into<Box<str>>) -> Error {
        Error::new(ErrorKind::Unsupported, message)
    }

    pub fn out_of_step(message: impl Into<Box<str>>) -> Error {
        Error::new(ErrorKind::OutOfStep, message)
    }

    pub fn corrupt(message: impl Into<Box<str>>) -> Error {
        Error::new(ErrorKind::Corrupt, message)
    }

    pub fn bug(message: impl Into<Box<str>>) -> Error {
        Error::new(ErrorKind::Bug, message)
    }

    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.cause = Some(cause.into());
        self
    }

    /// What the operator can do: an imperative sentence, exact SQL or command where there is one.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<Box<str>>) -> Error {
        self.remedy = Some(remedy.into());
        self
    }

    /// The same error, with what was being done put before its message.
    #[must_use]
    pub fn while_doing(mut self, doing: impl fmt::Display) -> Error {
        self.message = format!("{doing}: {}", self.message).into();
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// Whether trying again after a pause may help without anyone changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Transient | ErrorKind::Throttled)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.cause.as_deref().map(|c| c as &dyn StdError);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl StdError for Error {}
