//! What is looked for in a Redis or Valkey server: what it says of itself, its slow commands, and a sample of its keys.
//!
//! A check names the commands it asks, one per line, and judges what came back. Of a cluster the node of the URL is examined.

mod examine;
mod judge;

use headwater_model::exam::Check;

pub(crate) use examine::Examiner;
#[cfg(feature = "falkordb")]
pub(crate) use examine::examine_server;
use judge::Seen;

use crate::checks::{Limits, Symptom, limit, page};

/// A check, and what makes findings of the answers.
struct Ask {
    check: Check,
    judge: fn(&Seen, &Limits<'_>) -> Vec<Symptom>,
}

/// Every check, in the order of their ids.
pub(crate) fn checks() -> Vec<&'static Check> {
    CHECKS.iter().map(|ask| &ask.check).collect()
}

const CHECKS: &[Ask] = &[
    Ask {
        check: Check { id: "HW2001", page: page!("HW2001"), asks: "INFO memory", limits: &[] },
        judge: judge::unbounded,
    },
    Ask {
        check: Check { id: "HW2002", page: page!("HW2002"), asks: "INFO memory\nINFO stats", limits: &[] },
        judge: judge::evicting,
    },
    Ask {
        check: Check {
            id: "HW2003",
            page: page!("HW2003"),
            asks: "INFO memory",
            limits: &[limit("share", 0.85)],
        },
        judge: judge::full,
    },
    Ask {
        check: Check {
            id: "HW2004",
            page: page!("HW2004"),
            asks: "SAMPLE {keys}",
            limits: &[limit("keys", 10_000.0), limit("bytes", 10_485_760.0)],
        },
        judge: judge::big,
    },
    Ask {
        check: Check { id: "HW2005", page: page!("HW2005"), asks: "INFO persistence", limits: &[] },
        judge: judge::not_saved,
    },
    Ask {
        check: Check {
            id: "HW2006",
            page: page!("HW2006"),
            asks: "INFO persistence\nCONFIG GET save",
            limits: &[],
        },
        judge: judge::never_saved,
    },
    Ask {
        check: Check {
            id: "HW2007",
            page: page!("HW2007"),
            asks: "CONFIG GET bind\nCONFIG GET protected-mode\nACL GETUSER default",
            limits: &[],
        },
        judge: judge::open,
    },
    Ask {
        check: Check {
            id: "HW2008",
            page: page!("HW2008"),
            asks: "CONFIG GET bind\nCONFIG GET port\nCONFIG GET tls-port\nCONFIG GET protected-mode",
            limits: &[],
        },
        judge: judge::in_the_clear,
    },
    Ask {
        check: Check {
            id: "HW2009",
            page: page!("HW2009"),
            asks: "SLOWLOG GET 128",
            limits: &[limit("milliseconds", 10.0), limit("times", 3.0)],
        },
        judge: judge::slow,
    },
    Ask {
        check: Check {
            id: "HW2010",
            page: page!("HW2010"),
            asks: "INFO commandstats\nINFO keyspace",
            limits: &[limit("keys", 1000.0)],
        },
        judge: judge::walks_all_keys,
    },
    Ask {
        check: Check {
            id: "HW2011",
            page: page!("HW2011"),
            asks: "INFO clients\nINFO stats\nCONFIG GET maxclients",
            limits: &[limit("share", 0.8)],
        },
        judge: judge::crowded,
    },
    Ask {
        check: Check {
            id: "HW2012",
            page: page!("HW2012"),
            asks: "INFO replication",
            limits: &[limit("backlog_bytes", 16_777_216.0)],
        },
        judge: judge::replication,
    },
];
