//! The text of a first file.

use std::fmt::Write as _;

use headwater_model::file::{show_table_name, toml_key, toml_string};
use headwater_model::{ColumnFacts, Severity, SourceFacts, TableName};

use super::Looked;
use super::choose::{Choice, Proposal, What};

/// All but the access patterns.
pub(super) fn file(verb: &str, databases: &[Looked<'_>], choices: &[Choice<'_>]) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_head(&mut out, databases, verb);
    for choice in choices {
        match &choice.what {
            What::View { name, embeds } => {
                let _ = write_view(&mut out, choice, name, embeds);
            }
            What::Joins => {
                let _ = writeln!(
                    out,
                    "\n# {}: only joins other tables; its rows are embedded where they belong",
                    table(choice)
                );
            }
            What::Left { why, remedy } => {
                let _ = writeln!(
                    out,
                    "\n# {}: left out: {}\n#   {}",
                    table(choice),
                    comment(why),
                    comment(remedy)
                );
            }
        }
    }
    out
}

fn write_head(out: &mut String, databases: &[Looked<'_>], verb: &str) -> std::fmt::Result {
    let servers: Vec<String> = databases.iter().map(|database| comment(&database.facts.server)).collect();
    writeln!(
        out,
        "# What Headwater follows, and the shapes it keeps in step with it.\n\
         #\n\
         #   headwater check    compares this file with the live database\n\
         #   headwater config   prints it with every default filled in\n\
         #   headwater run      backfills, then follows\n\
         #\n\
         # Written by `headwater {verb}` after a look at {}. It is yours to change.",
        servers.join(" and ")
    )?;
    for database in databases {
        write_source(out, database)?;
    }
    let is_taken = databases.iter().any(|database| database.url.contains("derived.db"));
    let local = if is_taken { "sqlite:headwater-derived.db" } else { "sqlite:derived.db" };
    writeln!(
        out,
        "\n[stores]\n\
         # An embedded file, beside this one: nothing to install.\n\
         local = {{ url = {} }}\n\
         # A cache that applications read directly. Say `store = \"near\"`, or both, in a view.\n\
         # near = {{ url = \"redis://localhost:6379\" }}",
        toml_string(local)
    )
}

fn write_source(out: &mut String, database: &Looked<'_>) -> std::fmt::Result {
    let section = match &database.name {
        Some(name) => format!("sources.{name}"),
        None => "source".to_owned(),
    };
    writeln!(out, "\n[{section}]\nurl = {}", toml_string(&database.url))?;
    for risk in database.facts.risks.iter().filter(|risk| risk.severity >= Severity::Warning) {
        writeln!(out, "# {}\n#   {}", comment(&risk.what), comment(&risk.remedy))?;
    }
    write_columns(out, &section, database.facts)
}

/// Of a source that does not know its tables' columns.
fn write_columns(out: &mut String, section: &str, facts: &SourceFacts) -> std::fmt::Result {
    if facts.undeclared.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n# What of each table is followed, and as what: text, number, integer, boolean, bytes, or json for anything else.\n\
         # Written down as some of its rows have it: add what those lack, and leave out what nobody reads.\n\
         [{section}.columns]"
    )?;
    for table in facts.tables.iter().filter(|table| facts.undeclared.contains(&table.name)) {
        let column =
            |column: &ColumnFacts| format!("{} = {}", toml_key(&column.name), toml_string(&column.type_name));
        let columns: Vec<String> = table.columns.iter().map(column).collect();
        writeln!(out, "{} = {{ {} }}", toml_key(&table.name.name), columns.join(", "))?;
    }
    Ok(())
}

fn write_view(
    out: &mut String,
    choice: &Choice<'_>,
    name: &str,
    embeds: &[Proposal<'_>],
) -> std::fmt::Result {
    let table = choice.table;
    let rows = match table.rows_estimate {
        0 => String::new(),
        n => format!(", about {} rows", thousands(n)),
    };
    writeln!(out, "\n# {}: by {}{rows}", self::table(choice), comment(&table.key.join(", ")))?;
    writeln!(out, "[views.{name}]")?;
    if let Some(source) = choice.source {
        writeln!(out, "source = {}", toml_string(source))?;
    }
    writeln!(out, "from = {}", from(&table.name))?;
    // The embedded store has every view as long as it is the only one.
    for embed in embeds {
        let line = proposal(embed);
        match &embed.doubt {
            Some(doubt) => writeln!(out, "# {}: decide for yourself\n# {}", comment(doubt), comment(&line))?,
            None => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

fn proposal(embed: &Proposal<'_>) -> String {
    let kind = if embed.many { "many" } else { "key" };
    let mut line = format!(
        "embed.{} = {{ from = {}, {kind} = {}",
        toml_key(&embed.field),
        from(&embed.from.name),
        list(&embed.key.columns)
    );
    if let Some(references) = embed.references {
        let _ = write!(line, ", references = {}", list(references));
    }
    if let Some(order) = embed.order {
        let _ = write!(line, ", order = {}", toml_string(&format!("-{order}")));
    }
    if let Some(limit) = embed.limit {
        let _ = write!(line, ", limit = {limit}");
    }
    if let Some((field, table, key)) = &embed.through {
        let _ = write!(
            line,
            ", embed.{} = {{ from = {}, key = {} }}",
            toml_key(field),
            from(&table.name),
            list(&key.columns)
        );
    }
    line.push_str(" }");
    line
}

/// A table as a comment names it: with its source, where there are several.
fn table(choice: &Choice<'_>) -> String {
    let table = comment(&choice.table.name.to_string());
    choice.source.map_or(table.clone(), |source| format!("{source}: {table}"))
}

/// A table as a view names it: without `public`, which goes without saying.
pub(super) fn from(name: &TableName) -> String {
    let schema = name.schema.clone().filter(|schema| &**schema != "public");
    toml_string(&show_table_name(&TableName { schema, name: name.name.clone() }))
}

pub(super) fn list(names: &[Box<str>]) -> String {
    match names {
        [one] => toml_string(one),
        names => {
            let names: Vec<String> = names.iter().map(|name| toml_string(name)).collect();
            format!("[{}]", names.join(", "))
        }
    }
}

/// Text that stays on its line.
pub(super) fn comment(text: &str) -> String {
    text.split(['\n', '\r']).collect::<Vec<_>>().join(" ").replace(|c: char| c.is_control(), " ")
}

pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
