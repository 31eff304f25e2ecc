//! What an error reply, or a broken connection, asks of the caller.

use headwater_model::{Error, ErrorKind};

/// Maps an error reply to what the caller should do about it.
pub(crate) fn from_reply(text: &str) -> Error {
    let code = text.split([' ', ':']).next().unwrap_or_default();
    let error = |kind| Error::new(kind, format!("the server answered {text:?}"));
    match code {
        "LOADING" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "READONLY" | "UNBLOCKED"
        | "NOREPLICAS" | "MOVED" | "ASK" => error(ErrorKind::Transient),
        // The disk is full or a snapshot failed: the server takes no writes until someone has looked.
        "MISCONF" => error(ErrorKind::Misconfigured).with_remedy(
            "let the server save again (free disk space, see its log), or set stop-writes-on-bgsave-error no",
        ),
        "OOM" => error(ErrorKind::Throttled).with_remedy(
            "raise maxmemory (`CONFIG SET maxmemory …`), or hold fewer or smaller views in this store",
        ),
        "NOAUTH" => error(ErrorKind::Denied)
            .with_remedy("put user and password into the store's URL: redis://user:password@host"),
        "WRONGPASS" => error(ErrorKind::Denied).with_remedy("correct user and password in the store's URL"),
        "NOPERM" => error(ErrorKind::Denied).with_remedy(
            "grant the user the commands and keys that docs/engines/redis.md lists (ACL SETUSER …)",
        ),
        // The server would not say that it is one of a cluster.
        "CROSSSLOT" => error(ErrorKind::Unsupported).with_remedy(
            "grant the user INFO, so that the cluster is recognised, or give the store a prefix with a hash tag, so that all \
             its keys are in one slot: prefix = \"{shop}:\"",
        ),
        "EXECABORT" if text.contains("OOM") => error(ErrorKind::Throttled).with_remedy(
            "raise maxmemory (`CONFIG SET maxmemory …`), or hold fewer or smaller views in this store",
        ),
        "ERR" if text.contains("max number of clients") => error(ErrorKind::Transient)
            .with_remedy("raise maxclients, or look for clients that leak connections (`CLIENT LIST`)"),
        "ERR" if text.contains("AUTH") => {
            error(ErrorKind::Denied).with_remedy("correct user and password in the store's URL")
        }
        "ERR" if text.contains("DB index") || text.contains("SELECT") => error(ErrorKind::Misconfigured)
            .with_remedy("correct the database number in the store's URL: redis://host/0"),
        "ERR" if text.contains("unknown command") => error(ErrorKind::Unsupported)
            .with_remedy("use Redis 6.2 or newer, or Valkey, with COPY, UNLINK, WATCH and MULTI enabled"),
        _ => error(ErrorKind::Bug),
    }
}

/// A connection that broke, timed out or could not be made.
pub(super) fn lost(doing: &str, cause: std::io::Error) -> Error {
    // What TLS refuses (a certificate, a name, a peer that does not speak it) does not get better by itself.
    if cause.kind() == std::io::ErrorKind::InvalidData {
        return Error::misconfigured(format!("{doing} with TLS failed")).with_cause(cause).with_remedy(
            "give `tls_ca` the authority of the server's certificate, and the URL a host name that is in it",
        );
    }
    Error::transient(format!("{doing} failed")).with_cause(cause)
}

pub(super) fn garbled() -> Error {
    Error::new(ErrorKind::Misconfigured, "the server's answer is not the Redis protocol")
        .with_remedy("check host and port of the store's URL, and whether the server wants TLS (rediss://)")
}

/// A reply that is well formed but not what the command gives.
pub(crate) fn unexpected(command: &str) -> Error {
    Error::bug(format!("an answer to {command} has an unexpected form"))
}
