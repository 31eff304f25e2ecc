//! `headwater where`: one row, from the source to every store and view that shows it, asked of the running instance.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use headwater_flow::whereabouts::{Place, Shown, Verdict, Whereabouts};
use headwater_model::Error;

use super::failure::Failure;
use super::file;
use super::show::print;
use super::which::Which;
use crate::by_source::BySource;
use crate::control_socket;
use crate::figures::{count, counted, cut, utc};

/// A value is cut here, in characters.
const VALUE_CHARS_MAX: usize = 60;

#[derive(clap::Args)]
pub struct Args {
    /// The row: its table and its key as stores write it, such as books/42, public.books/42 or order_lines/7:3.
    #[arg(value_name = "TABLE/KEY")]
    row: String,
    /// One JSON document, with every document whole.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Exit code 0 if every store shows what the source has, 1 if one does not, or if it could not be told.
pub async fn run(args: Args, path: &Path) -> Result<ExitCode, Failure> {
    let file = file::load(path)?;
    let Some((table, key)) = args.row.split_once('/').filter(|(table, _)| !table.is_empty()) else {
        return Err(Error::misconfigured(format!("`{}` names no row", args.row))
            .with_remedy("write the table, a slash and the key, such as books/42")
            .into());
    };
    let flows = args.which.flows(&file)?;
    let (mut all, mut refused) = (BySource::default(), None);
    for flow in &flows {
        let asked = control_socket::whereabouts(&flow.data, table, key)
            .await
            .context("cannot ask the running instance")?;
        let Some(found) = asked else {
            refused.get_or_insert(
                Error::transient("no instance runs here")
                    .with_remedy("start `headwater run`, or name its file with --file"),
            );
            continue;
        };
        match found {
            Ok(found) => all.add(flow.source().name.as_deref(), found),
            // Another source may have such a table.
            Err(error) => drop(refused.get_or_insert(error)),
        }
    }
    if all.iter().next().is_none()
        && let Some(refused) = refused
    {
        return Err(refused.into());
    }
    if args.json {
        let text = serde_json::to_string_pretty(&all).context("cannot write it as JSON")?;
        print(&format!("{text}\n"));
    } else {
        for (source, found) in all.iter() {
            print(&format!(
                "{}{}",
                source.map_or(String::new(), |name| format!("── source {name}\n\n")),
                text(found)
            ));
        }
    }
    let fine = all.iter().all(|(_, found)| found.is_in_step());
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(found: &Whereabouts) -> String {
    let mut out = format!("{}/{}\n\nsource\n", found.table, found.key);
    match (&found.source.row, &found.source.error) {
        (_, Some(error)) => out.push_str(&format!("  does not answer: {error}\n")),
        (None, None) => out.push_str(&format!("  no such row{}\n", at(found.source.position.as_deref()))),
        (Some(row), None) => {
            out.push_str(&format!("  a row{}\n", at(found.source.position.as_deref())));
            for (column, value) in row.as_object().into_iter().flatten() {
                out.push_str(&format!("    {column}: {}\n", cut(&value.to_string(), VALUE_CHARS_MAX)));
            }
        }
    }
    out.push_str("\nstores\n");
    if found.places.is_empty() {
        out.push_str("  no document shows it\n");
    }
    let width = |of: fn(&Place) -> usize| found.places.iter().map(of).max().unwrap_or(0);
    let (store, name) = (
        width(|place| place.store.chars().count()),
        width(|place| place.view.chars().count() + 1 + place.key.chars().count()),
    );
    for place in &found.places {
        let named = format!("{}/{}", place.view, place.key);
        let position =
            place.position.as_deref().map(|position| format!(" at {position}")).unwrap_or_default();
        let lag = match place.lag_transactions {
            Some(0) => ", in step".to_owned(),
            Some(n) => format!(", {} transactions behind", count(n)),
            None => String::new(),
        };
        let how = match place.shown {
            Shown::Document => "",
            Shown::Embedded => " (embeds it)",
            Shown::Ranking => " (counts it)",
        };
        let part = if place.part { " (holds part of the view)" } else { "" };
        out.push_str(&format!(
            "  {:store$}  {named:name$}  {}{position}{lag}{how}{part}\n",
            place.store,
            said(place),
        ));
        for difference in &place.differences {
            out.push_str(&format!(
                "    {}: {} at the source, {} here\n",
                difference.field,
                cut(&difference.source.to_string(), VALUE_CHARS_MAX),
                cut(&difference.store.to_string(), VALUE_CHARS_MAX)
            ));
        }
        if let Some(why) = &place.quarantined {
            out.push_str(&format!("    in quarantine: {why}\n"));
        }
        if let Some(error) = &place.error {
            out.push_str(&format!("    {error}\n"));
        }
    }
    let told =
        found.places.iter().map(|place| (&place.view, &place.key)).collect::<std::collections::BTreeSet<_>>();
    if found.documents > told.len() {
        out.push_str(&format!("  and {} more\n", counted(found.documents - told.len(), "document")));
    }
    out.push_str("\nchanges\n");
    if found.changes.is_empty() {
        out.push_str("  none");
    }
    for change in &found.changes {
        let columns = match &change.columns {
            Some(columns) if columns.is_empty() => "  nothing differs".to_owned(),
            Some(columns) => format!("  {}", columns.join(", ")),
            None => String::new(),
        };
        out.push_str(&format!(
            "  {}  {}  {}  {}{columns}\n",
            change.offset,
            change.position,
            utc(change.committed_at_micros),
            change.kind
        ));
    }
    let looked = format!("in the journal from {} to {}\n", found.looked_from, found.looked_upto);
    out.push_str(&if found.changes.is_empty() { format!(" {looked}") } else { format!("  {looked}") });
    out
}

fn said(place: &Place) -> &'static str {
    match place.verdict {
        Verdict::Equal if place.document.is_none() => "equal: no document",
        verdict => verdict.as_str(),
    }
}

fn at(position: Option<&str>) -> String {
    position.map(|position| format!(", as of {position} or later")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use headwater_flow::whereabouts::{Difference, InSource, TracedChange};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_is_told_with_all_that_became_of_it() {
        let place = |store: &str, view: &str, verdict, shown| Place {
            store: store.into(),
            view: view.into(),
            key: "42".into(),
            shown,
            verdict,
            part: false,
            document: Some(json!({"id": 42})),
            differences: Vec::new(),
            quarantined: None,
            error: None,
            offset: Some(17),
            position: Some("0/16B3748".into()),
            lag_transactions: Some(0),
        };
        let mut differs = place("catalog", "book", Verdict::Differs, Shown::Document);
        differs.differences =
            vec![Difference { field: "title".into(), source: json!("new"), store: json!("old") }];
        (differs.lag_transactions, differs.quarantined) = (Some(3), Some("too long".into()));
        let found = Whereabouts {
            table: "public.books".into(),
            key: "42".into(),
            source: InSource {
                row: Some(json!({"id": 42, "title": "new"})),
                position: Some("0/16B3800".into()),
                error: None,
            },
            places: vec![
                place("near", "book", Verdict::Equal, Shown::Document),
                differs,
                place("near", "author", Verdict::Equal, Shown::Embedded),
            ],
            documents: 5,
            changes: vec![TracedChange {
                offset: 17,
                position: "0/16B3748".into(),
                committed_at_micros: 0,
                kind: "update".into(),
                columns: Some(vec!["title".into()]),
            }],
            looked_from: 1,
            looked_upto: 20,
        };
        assert!(!found.is_in_step());
        assert_eq!(
            text(&found),
            "public.books/42\n\nsource\n  a row, as of 0/16B3800 or later\n    id: 42\n    title: \"new\"\n\nstores\n  \
             near     book/42    equal at 0/16B3748, in step\n  catalog  book/42    differs at 0/16B3748, 3 transactions \
             behind\n    title: \"new\" at the source, \"old\" here\n    in quarantine: too long\n  near     author/42  equal \
             at 0/16B3748, in step (embeds it)\n  and 3 documents more\n\nchanges\n  17  0/16B3748  1970-01-01 00:00:00  \
             update  title\n  in the journal from 1 to 20\n"
        );
    }
}
