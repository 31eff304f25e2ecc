//! What a source says about how it is used: plain counts, since some time. `control` draws the conclusions.

use crate::{Risk, TableName};

#[derive(Clone, Debug, Default)]
pub struct SourceUsage {
    /// For how long rows were counted, in seconds; `None`: the source does not say.
    pub tables_for: Option<f64>,
    pub tables: Vec<TableUsage>,
    /// For how long statements were counted.
    pub statements_for: Option<f64>,
    /// Statements that read, each text once; `None` if the source does not count them.
    pub statements: Option<Vec<StatementUsage>>,
    /// Sessions of applications at this moment.
    pub sessions: u64,
    /// What cannot be seen, and what would change that.
    pub missing: Vec<Risk>,
}

/// Rows of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableUsage {
    pub name: TableName,
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
}

/// One statement, its values replaced by `$1`, `$2` ….
#[derive(Clone, Debug, PartialEq)]
pub struct StatementUsage {
    pub text: String,
    pub calls: u64,
    pub rows: u64,
    /// Together, in milliseconds.
    pub took_ms: f64,
}

impl SourceUsage {
    /// What came between an earlier look and this one, `seconds` later. What was counted anew since counts as it is now.
    pub fn since(&self, earlier: &SourceUsage, seconds: f64) -> SourceUsage {
        let mut now = self.clone();
        (now.tables_for, now.statements_for) = (Some(seconds), Some(seconds));
        for table in &mut now.tables {
            if let Some(before) = earlier.tables.iter().find(|before| before.name == table.name) {
                table.inserted = table.inserted.saturating_sub(before.inserted);
                table.updated = table.updated.saturating_sub(before.updated);
                table.deleted = table.deleted.saturating_sub(before.deleted);
            }
        }
        let before = earlier.statements.as_deref().unwrap_or_default();
        for statement in now.statements.iter_mut().flatten() {
            let same = before.iter().find(|before| before.text == statement.text);
            if let Some(before) = same.filter(|before| before.calls <= statement.calls) {
                statement.calls -= before.calls;
                statement.rows = statement.rows.saturating_sub(before.rows);
                statement.took_ms = (statement.took_ms - before.took_ms).max(0.0);
            }
        }
        if let Some(statements) = &mut now.statements {
            statements.retain(|statement| statement.calls > 0);
        }
        now
    }
}

impl TableUsage {
    pub fn writes(&self) -> u64 {
        self.inserted + self.updated + self.deleted
    }
}
