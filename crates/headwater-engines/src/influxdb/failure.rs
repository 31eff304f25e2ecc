//! What the server says, as an error of ours.

use headwater_model::{Error, ErrorKind};
use serde_json::Value as Json;

/// Of an answer that is not one of success. A write that was taken in part is `Unsupported`: what was left out would be
/// left out again.
pub(super) fn from_answer(doing: &str, status: u16, body: &[u8]) -> Error {
    let json: Option<Json> = serde_json::from_slice(body).ok();
    let text = |name: &str| json.as_ref().and_then(|json| json[name].as_str());
    let said = text("error").or_else(|| text("message"));
    let said = match said {
        Some(said) => format!("{doing}: {said}"),
        None => format!("{doing}: the server answered with status {status}"),
    };
    from_text(said, status)
}

/// Of what a statement, or a whole request, failed with.
pub(super) fn from_text(said: String, status: u16) -> Error {
    let is = |kind, remedy: &str| Error::new(kind, &*said).with_remedy(remedy);
    let has = |part: &str| said.contains(part);
    if has("field type conflict") {
        return is(
            ErrorKind::Unsupported,
            "the series has held values of another type: as an administrator run DROP MEASUREMENT of it, and let it be filled again",
        );
    }
    if has("cache-max-memory-size") || has("cache maximum memory size") {
        return is(
            ErrorKind::Throttled,
            "raise cache-max-memory-size of the server, or give it faster disks",
        );
    }
    if has("max-series-per-database") || has("max-values-per-tag") {
        return is(
            ErrorKind::Unsupported,
            "a tag has too many values for the server: take it out of the view's tags, or raise the bound",
        );
    }
    if has("max-select") || has("max-row-limit") {
        return is(
            ErrorKind::Misconfigured,
            "set the server's max-select-* and max-row-limit to 0, which is their default",
        );
    }
    match status {
        401 | 403 => is(
            ErrorKind::Denied,
            "check user and password or the token, and grant READ and WRITE: docs/engines/influxdb.md lists what is needed",
        ),
        _ if has("not authorized") || has("authorization failed") => {
            is(ErrorKind::Denied, "grant ALL on the database to the user of the store's URL")
        }
        404 => is(
            ErrorKind::Misconfigured,
            "check database or bucket, and org, of the store; create = true creates a database",
        ),
        413 => is(ErrorKind::Unsupported, "raise max-body-size of the server to its default of 25000000"),
        429 => is(ErrorKind::Throttled, "give the server more capacity"),
        500.. => Error::transient(&*said),
        200 if has("timeout") || has("engine is closed") || has("shard is disabled") => {
            Error::transient(&*said)
        }
        _ => Error::unsupported(&*said),
    }
}

/// Whether an error says that there is no such database.
pub(super) fn is_missing(said: &str) -> bool {
    said.contains("database not found") || said.contains("could not find bucket")
}

/// Whether there was nothing to drop.
pub(super) fn is_unknown_measurement(error: &Error) -> bool {
    error.to_string().contains("measurement not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_a_kind() {
        for (status, body, kind) in [
            (401, r#"{"error":"authorization failed"}"#, ErrorKind::Denied),
            (404, r#"{"error":"database not found: \"x\""}"#, ErrorKind::Misconfigured),
            (404, r#"{"code":"not found","message":"bucket \"x\" not found"}"#, ErrorKind::Misconfigured),
            (
                400,
                r#"{"error":"partial write: field type conflict: input field \"v\" … dropped=1"}"#,
                ErrorKind::Unsupported,
            ),
            (500, r#"{"error":"engine: cache-max-memory-size exceeded: (1/1)"}"#, ErrorKind::Throttled),
            (500, r#"{"error":"timeout"}"#, ErrorKind::Transient),
            (200, r#"{"error":"engine is closed"}"#, ErrorKind::Transient),
            (503, "overloaded", ErrorKind::Transient),
            (429, "", ErrorKind::Throttled),
        ] {
            let error = from_answer("write points", status, body.as_bytes());
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(error.to_string().starts_with("write points: "), "{error:?}");
        }
    }
}
