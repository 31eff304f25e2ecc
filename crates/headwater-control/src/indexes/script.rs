//! The advice as a script to be read and then run.

use super::Advice;
use crate::doctor::SCRIPT_MARK;

/// Statements that build, the most worth first; what drops is commented out, for a person to decide.
pub fn script(advice: &Advice) -> String {
    let mut out = format!(
        "{SCRIPT_MARK} indexes. Each statement waits for transactions that were open when it began, and must not be in a\n\
         -- transaction itself. If one fails, drop the index that it may have left and run it again.\n\
         -- Statements that drop something are commented out.\n"
    );
    for advised in advice.indexes.iter().filter(|advised| advised.accepted.is_none()) {
        let helps: Vec<&str> = advised.helps.iter().map(|helped| &*helped.query).collect();
        out.push_str(&match advised.index.exists {
            true => "\n-- no query of the workload needs it\n".to_owned(),
            false => format!("\n-- for {}\n", helps.join(", ")),
        });
        for line in advised.index.statement.lines() {
            out.push_str(if advised.index.exists { "-- " } else { "" });
            out.push_str(line);
            out.push('\n');
        }
        for line in advised.index.undo.lines() {
            out.push_str(&format!("-- undo: {line}\n"));
        }
    }
    out
}
