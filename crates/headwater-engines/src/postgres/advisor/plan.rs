//! A plan as the server tells it: what it costs, which indexes it reads, what shape it has.

use std::collections::BTreeSet;

use headwater_model::{Error, Result};
use serde_json::Value;

use crate::advice::configs::{Ask, Planned};
use crate::postgres::connection::Connection;
use crate::postgres::error::ServerError;

pub(super) fn read(text: &str) -> Result<Planned> {
    let strange = || Error::bug("a plan that cannot be read");
    let value: Value = serde_json::from_str(text).map_err(|error| strange().with_cause(error))?;
    let root = &value[0]["Plan"];
    let mut planned = Planned {
        cost: number(&root["Total Cost"]).ok_or_else(strange)?,
        uses: BTreeSet::new(),
        shape: String::new(),
        execution_ms: number(&value[0]["Execution Time"]),
        rows: 0.0,
    };
    // What writes tells of no rows itself.
    let finds = if root["Node Type"] == "ModifyTable" { &root["Plans"][0] } else { root };
    planned.rows = number(&finds["Plan Rows"]).unwrap_or(1.0);
    walk(root, &mut planned);
    Ok(planned)
}

/// Numbers keep the digits that they came with.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_number()?.to_string().parse().ok())
}

fn walk(node: &Value, planned: &mut Planned) {
    let text = |name: &str| node[name].as_str().unwrap_or_default();
    planned.shape.push_str(text("Node Type"));
    for name in ["Join Type", "Scan Direction", "Relation Name", "Alias", "Index Name"] {
        if node[name].is_string() {
            planned.shape.push(' ');
            planned.shape.push_str(text(name));
        }
    }
    if let Some(name) = node["Index Name"].as_str() {
        planned.uses.insert(name.to_owned());
    }
    planned.shape.push('(');
    for child in node["Plans"].as_array().into_iter().flatten() {
        walk(child, planned);
        planned.shape.push(',');
    }
    planned.shape.push(')');
}

/// A statement with parameters is planned once for all of them, as a driver's prepared statement is in the end. `position` of a
/// refusal is in the statement as it was given.
pub(super) async fn ask(
    connection: &mut Connection,
    ask: &Ask,
    options: &str,
) -> Result<Result<Planned, ServerError>> {
    let sql = ask.sql.trim_end().trim_end_matches(';');
    let prefix = if ask.parameters == 0 {
        format!("EXPLAIN ({options}) ")
    } else {
        "PREPARE headwater_asked AS ".to_owned()
    };
    let mut outcome = connection.attempt(&format!("{prefix}{sql}")).await?;
    if let Err(refused) = &mut outcome {
        refused.position = refused.position.map(|at| at.saturating_sub(prefix.len()).max(1));
    }
    if ask.parameters > 0 && outcome.is_ok() {
        let nulls = vec!["NULL"; ask.parameters].join(", ");
        outcome = connection
            .attempt(&format!("EXPLAIN ({options}) EXECUTE headwater_asked({nulls})"))
            .await?
            .map_err(|refused| ServerError { position: None, ..refused });
        // Inside a transaction that a refusal has ended it is refused too: whoever began that cleans up.
        let _ = connection.attempt("DEALLOCATE headwater_asked").await?;
    }
    match outcome {
        Ok(rows) => {
            let text = rows.into_iter().flatten().flatten().next();
            read(&text.ok_or_else(|| Error::bug("EXPLAIN told nothing"))?).map(Ok)
        }
        Err(refused) => Ok(Err(refused)),
    }
}
