//! Kinds of views, access patterns and `[serve]` in the effective file.

use std::fmt::Write as _;

use super::{key, list, show_order, string};
use crate::file::call;
use crate::file::unit::{show_duration, show_rate};
use crate::file::{File, ServeSection};
use crate::{Access, Buckets, Figure, HopLabel, Pattern, ViewKind};

/// `rank = { … }`, `series = { … }` or `edge = { … }`.
pub(super) fn kind(kind: &ViewKind, out: &mut String) {
    let _ = match kind {
        ViewKind::Document => Ok(()),
        ViewKind::Ranking(ranking) => {
            let within = match &ranking.within[..] {
                [] => String::new(),
                within => format!("within = {}, ", list(within)),
            };
            let score = call::show(ranking.function.name(), ranking.column.as_deref());
            writeln!(out, "rank = {{ by = {}, {within}score = {} }}", list(&ranking.by), string(&score))
        }
        ViewKind::Series(series) => {
            let tags = match &series.tags[..] {
                [] => String::new(),
                tags => format!("tags = {}, ", list(tags)),
            };
            let (time, fields) = (string(&series.time), list(&series.fields));
            writeln!(out, "series = {{ time = {time}, {tags}fields = {fields} }}")
        }
        ViewKind::Edge(edge) => {
            let (source, label, target) = (string(&edge.source), string(&edge.label), string(&edge.target));
            writeln!(out, "edge = {{ source = {source}, label = {label}, target = {target} }}")
        }
    };
}

/// `[access.…]` as TOML: reads back as the same patterns.
pub fn access(patterns: &[Access]) -> String {
    let mut out = String::new();
    for access in patterns {
        let _ = writeln!(out, "\n[access.{}]", access.name);
        pattern(&access.pattern, &mut out);
        let _ = match &access.stores[..] {
            [] => writeln!(out, "# store: every store that holds it, in the order of the view"),
            stores => writeln!(out, "store = {}", list(stores)),
        };
        let _ = writeln!(out, "source = {}", access.source);
        let _ = match access.stale {
            Some(stale) => writeln!(out, "stale = {}", string(&show_duration(stale))),
            None => writeln!(out, "# stale: of any age"),
        };
        if let Some(rate) = access.rate_per_second {
            let _ = writeln!(out, "rate = {}", string(&show_rate(rate)));
        }
        if let Some(p99) = access.p99 {
            let _ = writeln!(out, "p99 = {}", string(&show_duration(p99)));
        }
    }
    out
}

fn pattern(pattern: &Pattern, out: &mut String) {
    let name = pattern.name();
    let limit = match pattern {
        Pattern::Get { view } => {
            let _ = writeln!(out, "{name} = {}", string(view));
            return;
        }
        Pattern::Range { view, by, order, limit } => {
            let _ = writeln!(out, "{name} = {}", string(view));
            if !by.is_empty() {
                let _ = writeln!(out, "by = {}", list(by));
            }
            let _ = match &order[..] {
                [] => writeln!(out, "# order: the key"),
                order => writeln!(out, "order = {}", list(&order.iter().map(show_order).collect::<Vec<_>>())),
            };
            limit
        }
        Pattern::Top { view, limit } => {
            let _ = writeln!(out, "{name} = {}", string(view));
            limit
        }
        Pattern::Walk { hops, limit } => {
            let hops: Vec<Box<str>> = hops.iter().map(|hop| hop.to_string().into()).collect();
            let _ = writeln!(out, "{name} = {}", list(&hops));
            limit
        }
        Pattern::Window { view, buckets, figures, limit } => {
            let _ = writeln!(out, "{name} = {}", string(view));
            if let Some(Buckets { every, zone, gaps }) = buckets {
                let _ = writeln!(out, "every = {}", string(&show_duration(*every)));
                let _ = match zone.as_ref().and_then(|zone| zone.iana_name()) {
                    Some(zone) => writeln!(out, "zone = {}", string(zone)),
                    None => writeln!(out, "# zone: UTC"),
                };
                let _ = writeln!(out, "gaps = {}", string(gaps.name()));
                let figures: Vec<String> = figures.iter().map(figure).collect();
                let _ = writeln!(out, "figures = {{ {} }}", figures.join(", "));
            }
            limit
        }
    };
    let _ = writeln!(out, "limit = {limit}");
}

fn figure(figure: &Figure) -> String {
    let call = call::show(&figure.function.name(), figure.column.as_deref());
    format!("{} = {}", key(&figure.name), string(&call))
}

impl std::fmt::Display for HopLabel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.against {
            true => write!(f, "<{}", self.label),
            false => write!(f, "{}>", self.label),
        }
    }
}

impl File {
    pub(super) fn serve_config(&self, out: &mut String) {
        let ServeSection { listen, resp, tls, tokens, .. } = &self.serve;
        let address = |address: &Option<std::net::SocketAddr>| match address {
            Some(address) => string(&address.to_string()),
            None => string("off"),
        };
        let _ = writeln!(out, "\n[serve]\nlisten = {}\nresp = {}", address(listen), address(resp));
        match tls {
            Some(tls) => {
                let _ = writeln!(out, "tls_cert = {}", string(&tls.cert.to_string_lossy()));
                let _ = writeln!(out, "tls_key = {}", string(&tls.key.to_string_lossy()));
            }
            None => out.push_str("# tls_cert, tls_key: without TLS\n"),
        }
        let _ = writeln!(out, "source_rate = {}", string(&show_rate(self.serve.source_rate_per_second)));
        let _ = writeln!(out, "source_parallel = {}", self.serve.source_parallel);
        let _ = writeln!(out, "source_timeout = {}", string(&show_duration(self.serve.source_timeout)));
        if !tokens.is_empty() {
            out.push_str("\n[serve.tokens]\n");
        }
        for token in tokens {
            let path = format!("serve.tokens.{}.token_file", token.name);
            let secret = match self.places.get(&path).and_then(|place| place.shown.as_deref()) {
                Some(path) => format!("token_file = {}", string(path)),
                None => "token = \"***\"".to_owned(),
            };
            let _ = writeln!(out, "{} = {{ role = \"{}\", {secret} }}", token.name, token.role.name());
        }
    }
}
