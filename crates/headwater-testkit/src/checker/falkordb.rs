//! What lies in a graph of FalkorDB, asked for in plain openCypher.

use headwater_model::{View, ViewKind};
use redis::Value as Reply;

use super::found::{empty, patient};
use super::{Body, Found};

/// A node per document, labelled as its view; an edge per document of a view of edges. A vertex without an edge belongs to nobody.
pub async fn found(url: &str, graph: &str, views: &[View]) -> Found {
    let client = redis::Client::open(url).expect("a Redis URL");
    let mut connection =
        client.get_multiplexed_async_connection_with_config(&patient()).await.expect("connect to FalkorDB");
    let mut found = empty(views);
    for view in views {
        let pattern = match &view.kind {
            ViewKind::Edge(edge) => {
                format!("()-[x:`{}`]->() WHERE x.headwater_view = '{}'", edge.label, view.name)
            }
            _ => format!("(x:`{}`)", view.name),
        };
        let query = format!("MATCH {pattern} RETURN x.headwater_key, x.headwater_document");
        let documents = found.entry(view.name.to_string()).or_default();
        for row in ask(&mut connection, graph, &query).await {
            let [key, document] = <[String; 2]>::try_from(row).expect("two columns");
            let mut key = key.replace("%20", " ");
            if documents.contains_key(&key) {
                key.push_str(" once more");
            }
            documents.insert(key, Body::Json(document.into_bytes()));
        }
        if matches!(view.kind, ViewKind::Edge(_)) {
            let alone =
                "MATCH (v:Vertex) WHERE NOT (v)-[]-() RETURN toString(v.value), 'a vertex without an edge'";
            for row in ask(&mut connection, graph, alone).await {
                documents.insert(row.join(", "), Body::Json(Vec::new()));
            }
        }
    }
    found
}

/// The rows of a query. A graph that is not there has none.
async fn ask(
    connection: &mut redis::aio::MultiplexedConnection,
    graph: &str,
    query: &str,
) -> Vec<Vec<String>> {
    let asked = redis::cmd("GRAPH.RO_QUERY").arg(graph).arg(query).query_async::<Reply>(connection).await;
    let parts = match asked {
        Ok(Reply::Array(parts)) => parts,
        Ok(other) => panic!("{query}: {other:?}"),
        Err(error) if error.to_string().contains("empty key") => return Vec::new(),
        Err(error) => panic!("{query}: {error}"),
    };
    // Header, rows, statistics.
    let Some(Reply::Array(rows)) = parts.into_iter().nth(1) else { panic!("{query}: no rows") };
    let text = |cell: Reply| match cell {
        Reply::BulkString(bytes) => String::from_utf8(bytes).expect("a text"),
        Reply::SimpleString(text) => text,
        Reply::Nil => String::new(),
        other => panic!("{query}: {other:?}"),
    };
    rows.into_iter()
        .map(|row| match row {
            Reply::Array(cells) => cells.into_iter().map(text).collect(),
            other => panic!("{query}: {other:?}"),
        })
        .collect()
}
