//! What is looked for in a graph, and in the server that it lies in: most of what is looked for in a Redis server, and what only a
//! graph has.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use headwater_model::exam::{Check, ExamBudget, Examination, Examine, Urgency};
use headwater_model::file::StoreSection;
use headwater_model::{ErrorKind, Result};

use super::config::Config;
use super::failure;
use crate::checks::{Found, Limits, Symptom, limit, page, record};
use crate::graph::is_looked_up;
use crate::redis;
use crate::redis::connection::Connection;
use crate::redis::facts;
use crate::redis::resp::Reply;

/// A graph is one large key, and its queries work on threads of their own.
const NOT_OF_A_GRAPH: &[&str] = &["HW2004", "HW2009", "HW2010"];

/// Of a query's text so much is told.
const SHAPE_MAX: usize = 160;

const NO_INDEX: Check = Check {
    id: "HW6001",
    page: page!("HW6001"),
    asks: "CALL db.indexes(), CALL db.labels(), CALL db.relationshipTypes(), and one element of each",
    limits: &[],
};

const SLOW: Check = Check {
    id: "HW6002",
    page: page!("HW6002"),
    asks: "GRAPH.SLOWLOG",
    limits: &[limit("milliseconds", 100.0)],
};

const UNBOUNDED: Check = Check {
    id: "HW6003",
    page: page!("HW6003"),
    asks: "GRAPH.CONFIG GET QUERY_MEM_CAPACITY\nGRAPH.CONFIG GET TIMEOUT_DEFAULT",
    limits: &[],
};

const REFUSED: &[ErrorKind] = &[ErrorKind::Denied, ErrorKind::Unsupported, ErrorKind::Bug];

/// Every check, in the order of their ids; those of a Redis server are that engine's.
pub(crate) fn checks() -> Vec<&'static Check> {
    vec![&NO_INDEX, &SLOW, &UNBOUNDED]
}

/// Examines one graph and its server, with the user of the store's URL.
pub(crate) struct Examiner {
    config: Config,
}

impl Examiner {
    pub(crate) fn of_store(section: &StoreSection) -> Result<Examiner> {
        Ok(Examiner { config: Config::new(section)? })
    }
}

#[async_trait]
impl Examine for Examiner {
    async fn examine(&self, budget: &ExamBudget) -> Result<Examination> {
        let config = &self.config.redis;
        let mut connection = Connection::open(config, &config.address).await?;
        let server = facts::inspect(&mut connection).await?.server;
        let mut examination =
            Examination { server: format!("{server} with graphs"), ..Examination::default() };
        redis::examine_server(&mut connection, config, budget, NOT_OF_A_GRAPH, &mut examination).await?;
        let mut graph = Graph { connection, name: &self.config.graph, budget };
        for check in checks().into_iter().filter(|check| budget.wants(check)) {
            let limits = Limits { check, set: &budget.limits };
            let looked = match check.id {
                "HW6001" => graph.without_index().await,
                "HW6002" => graph.slow(&limits).await,
                _ => graph.unbounded().await,
            };
            let user = config.user.as_deref().unwrap_or("default");
            let remedy = format!(
                "ACL SETUSER {user} +graph.ro_query +graph.slowlog +graph.config ~{}",
                self.config.graph
            );
            record(&mut examination, check, budget, Ok(looked), (REFUSED, remedy))?;
        }
        Ok(examination)
    }
}

struct Graph<'a> {
    connection: Connection,
    name: &'a str,
    budget: &'a ExamBudget,
}

impl Graph<'_> {
    async fn call(&mut self, args: &[&str]) -> Result<Reply> {
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        match self.connection.ask(&args).await? {
            Reply::Error(text) => Err(failure::from_reply(&text)),
            reply => Ok(reply),
        }
    }

    /// The rows of a query that only reads; none if there is no graph yet.
    async fn rows(&mut self, query: &str) -> Result<Vec<Vec<Reply>>> {
        let within = self.budget.each.as_millis().max(1).to_string();
        let name = self.name;
        let reply = match self.call(&["GRAPH.RO_QUERY", name, query, "TIMEOUT", &within]).await {
            Err(error) if failure::is_no_graph(&error.to_string()) => return Ok(Vec::new()),
            reply => reply?,
        };
        let Reply::Array(mut parts) = reply else { return Err(failure::unexpected("GRAPH.RO_QUERY")) };
        if parts.len() != 3 {
            return Ok(Vec::new());
        }
        let Reply::Array(rows) = parts.swap_remove(1) else { return Ok(Vec::new()) };
        Ok(rows
            .into_iter()
            .filter_map(|row| if let Reply::Array(cells) = row { Some(cells) } else { None })
            .collect())
    }

    async fn without_index(&mut self) -> Result<Found> {
        let mut indexed = BTreeSet::new();
        // A list in an answer is one text: each of its members is asked for as a row.
        let asked = "CALL db.indexes() YIELD label, properties, entitytype UNWIND properties AS p RETURN label, p, entitytype";
        for row in self.rows(asked).await? {
            let [label, property, kind] = &row[..] else { continue };
            indexed.insert((kind.lossy() == "RELATIONSHIP", label.lossy(), property.lossy()));
        }
        let mut found = Found::new();
        for (edge, list) in [(false, "CALL db.labels()"), (true, "CALL db.relationshipTypes()")] {
            for row in self.rows(list).await? {
                let label = row.first().map(Reply::lossy).unwrap_or_default();
                let quoted = format!("`{}`", label.replace('`', "``"));
                let pattern = if edge { format!("()-[x:{quoted}]->()") } else { format!("(x:{quoted})") };
                // One is as good as all: every element that we write has them.
                let one = format!("MATCH {pattern} WITH x LIMIT 1 UNWIND keys(x) AS p RETURN p");
                let properties = self.rows(&one).await?;
                let properties = properties.iter().filter_map(|row| row.first()).map(Reply::lossy);
                for property in properties.filter(|name| is_looked_up(name)) {
                    if indexed.contains(&(edge, label.clone(), property.clone())) {
                        continue;
                    }
                    let pattern = pattern.replace("]->()", "]-()");
                    let make = format!(
                        "GRAPH.QUERY {} \"CREATE INDEX FOR {pattern} ON (x.{property})\"",
                        quoted_word(self.name)
                    );
                    let symptom = Symptom::new(
                        format!("{label} ({property})"),
                        Urgency::High,
                        format!(
                            "elements of {label} are looked up by {property}, which no index has: each change and each answer reads all of \
                             them"
                        ),
                        &[make.as_str()],
                    );
                    found.push((symptom, BTreeMap::from([("label".to_owned(), label.clone())])));
                }
            }
        }
        Ok(found)
    }

    async fn slow(&mut self, limits: &Limits<'_>) -> Result<Found> {
        let name = self.name;
        let entries = match self.call(&["GRAPH.SLOWLOG", name]).await {
            Ok(Reply::Array(entries)) => entries,
            // Not a graph yet.
            Err(error)
                if error.kind() == ErrorKind::Misconfigured || failure::is_no_graph(&error.to_string()) =>
            {
                return Ok(Found::new());
            }
            Err(error) => return Err(error),
            Ok(_) => return Err(failure::unexpected("GRAPH.SLOWLOG")),
        };
        // The same question with other values is the same question.
        let mut longest: BTreeMap<String, f64> = BTreeMap::new();
        for entry in entries {
            // Time, command, query, milliseconds.
            let Reply::Array(parts) = entry else { continue };
            let (Some(query), Some(took)) = (parts.get(2), parts.get(3)) else { continue };
            let took: f64 = took.lossy().parse().unwrap_or(0.0);
            let known = longest.entry(shape(&query.lossy())).or_default();
            *known = known.max(took);
        }
        longest.retain(|_, took| *took >= limits.of("milliseconds"));
        let mut found: Vec<_> = longest.into_iter().collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(found
            .into_iter()
            .map(|(shape, took)| {
                let urgency = if took >= 1000.0 { Urgency::High } else { Urgency::Medium };
                let word = quoted_word(name);
                let symptom = Symptom::new(
                    format!("query {shape}"),
                    urgency,
                    format!("took up to {took:.0} ms: it holds one of the server's few threads for as long"),
                    &[&format!(
                        "GRAPH.SLOWLOG {word} RESET  # once it is mended, to see whether it comes again"
                    )],
                );
                (symptom, BTreeMap::from([("milliseconds".to_owned(), format!("{took:.1}"))]))
            })
            .collect())
    }

    async fn unbounded(&mut self) -> Result<Found> {
        let mut found = Found::new();
        for (setting, what, set) in [
            (
                "QUERY_MEM_CAPACITY",
                "one query may take all memory of the server, and end it",
                "GRAPH.CONFIG SET QUERY_MEM_CAPACITY 1073741824",
            ),
            (
                "TIMEOUT_DEFAULT",
                "a query that finds too much runs for ever, and holds one of the server's few threads",
                "GRAPH.CONFIG SET TIMEOUT_DEFAULT 30000",
            ),
        ] {
            let Reply::Array(pair) = self.call(&["GRAPH.CONFIG", "GET", setting]).await? else {
                return Err(failure::unexpected("GRAPH.CONFIG"));
            };
            let value = pair.get(1).map(Reply::lossy).unwrap_or_default();
            if value == "0" {
                let symptom = Symptom::new(setting, Urgency::Low, what, &[set])
                    .undo(format!("GRAPH.CONFIG SET {setting} 0"));
                found.push((symptom, BTreeMap::from([(setting.to_owned(), value)])));
            }
        }
        Ok(found)
    }
}

/// As `redis-cli` takes it.
fn quoted_word(word: &str) -> String {
    let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte));
    if plain && !word.is_empty() { word.to_owned() } else { format!("{word:?}") }
}

/// A query without the values in it: those are somebody's data.
fn shape(query: &str) -> String {
    let mut shape = String::new();
    let mut letters = query.chars().peekable();
    let mut in_word = false;
    while let Some(letter) = letters.next() {
        if matches!(letter, '\'' | '"') {
            while let Some(inner) = letters.next() {
                match inner {
                    '\\' => drop(letters.next()),
                    _ if inner == letter => break,
                    _ => {}
                }
            }
            shape.push('?');
        } else if letter.is_ascii_digit() && !in_word {
            while letters.next_if(|next| next.is_ascii_digit() || *next == '.').is_some() {}
            shape.push('?');
        } else if letter.is_whitespace() {
            if !shape.ends_with(' ') {
                shape.push(' ');
            }
        } else {
            shape.push(letter);
        }
        in_word = letter.is_alphanumeric() || letter == '_';
    }
    shape.chars().take(SHAPE_MAX).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_told_without_the_values_in_it() {
        let query = "MATCH (p:person {name: 'Ann \\' Lee',  n1: 12.5})\n WHERE p.a = \"x\" RETURN p LIMIT 10";
        assert_eq!(shape(query), "MATCH (p:person {name: ?, n1: ?}) WHERE p.a = ? RETURN p LIMIT ?");
        assert!(shape(&"x".repeat(1000)).len() == SHAPE_MAX);
    }

    #[test]
    fn a_graph_s_name_is_a_word() {
        assert_eq!(quoted_word("shop-1"), "shop-1");
        assert_eq!(quoted_word("a graph"), "\"a graph\"");
    }
}
