//! What the module answers, as an error of ours.

use headwater_model::{Error, ErrorKind};

use crate::redis::failure as redis;
use crate::redis::resp::Reply;

pub(super) fn from_reply(text: &str) -> Error {
    let error = |kind| Error::new(kind, format!("the server answered {text:?}"));
    if text.contains("unknown command") {
        return no_module();
    }
    if text.contains("Query timed out") {
        return error(ErrorKind::Transient).with_remedy(
            "raise the module's TIMEOUT_MAX and TIMEOUT_DEFAULT (GRAPH.CONFIG SET …), or bound the walk with fewer hops",
        );
    }
    if text.contains("mem consumption exceeded") {
        return error(ErrorKind::Throttled)
            .with_remedy("raise the module's QUERY_MEM_CAPACITY: GRAPH.CONFIG SET QUERY_MEM_CAPACITY 0");
    }
    if text.contains("Max pending queries exceeded") {
        return error(ErrorKind::Throttled)
            .with_remedy("raise the module's MAX_QUEUED_QUERIES, or give the server more threads");
    }
    if text.starts_with("WRONGTYPE") || text.contains("not a graph") {
        return error(ErrorKind::Misconfigured)
            .with_remedy("give the store another graph: falkordb://host/another_name");
    }
    if text.starts_with("NOPERM") {
        return error(ErrorKind::Denied).with_remedy(
            "grant the user the commands and the key that docs/engines/falkordb.md lists (ACL SETUSER …)",
        );
    }
    redis::from_reply(text)
}

/// The graph was never made, or is gone.
pub(super) fn is_no_graph(text: &str) -> bool {
    text.contains("Invalid graph operation on empty key")
}

pub(super) fn no_module() -> Error {
    Error::misconfigured("the server is a Redis without the graph module")
        .with_remedy("start it with --loadmodule falkordb.so, or use the image falkordb/falkordb")
}

pub(super) fn unexpected(command: &str) -> Error {
    redis::unexpected(command)
}

/// What MODULE LIST says of the graph module: 4 16 3 is 41603.
pub(super) fn module_version(modules: &Reply) -> Option<i64> {
    let Reply::Array(modules) = modules else { return None };
    modules.iter().find_map(|module| {
        let Reply::Array(fields) = module else { return None };
        let field = |name: &str| {
            let at = fields.iter().step_by(2).position(|field| field.lossy() == name)?;
            fields.get(2 * at + 1)
        };
        match (field("name")?.lossy().as_str(), field("ver")?) {
            ("graph", Reply::Int(version)) => Some(*version),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_says_its_version() {
        let text = |text: &str| Reply::Text(text.into());
        let module = |name: &str, version| {
            Reply::Array(vec![
                text("name"),
                text(name),
                text("ver"),
                Reply::Int(version),
                text("path"),
                text("/x"),
            ])
        };
        assert_eq!(
            module_version(&Reply::Array(vec![module("vectorset", 1), module("graph", 41603)])),
            Some(41603)
        );
        assert_eq!(module_version(&Reply::Array(vec![module("vectorset", 1)])), None);
    }

    #[test]
    fn each_answer_has_a_kind_and_a_remedy() {
        for (text, kind) in [
            ("ERR unknown command 'GRAPH.QUERY', with args beginning with: 'g'", ErrorKind::Misconfigured),
            ("Query timed out", ErrorKind::Transient),
            ("Query's mem consumption exceeded capacity", ErrorKind::Throttled),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", ErrorKind::Misconfigured),
            ("NOPERM User me has no permissions to run the 'graph.query' command", ErrorKind::Denied),
            ("OOM command not allowed when used memory > 'maxmemory'.", ErrorKind::Throttled),
        ] {
            let error = from_reply(text);
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(error.remedy().is_some(), "{error:?}");
        }
    }
}
