//! `headwater incidents`: what happened to the parts and what was done about it, from the log in the data folder. No
//! instance need run.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use headwater_flow::incidents;
use headwater_flow::status::{Incident, IncidentKind};
use headwater_model::file::File;

use super::failure::Failure;
use super::file;
use super::show::print;
use super::which::{Which, heading};
use crate::figures::{counted, took, utc};

/// How often `--follow` looks.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub struct Args {
    /// Only what happened since so long ago, such as 30m, 1h or 7d.
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    since: Option<Duration>,
    /// Only of this part: `source`, `journal`, `store:NAME`, `view:STORE/VIEW`.
    #[arg(long)]
    part: Option<String>,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
    /// Go on with what happens, until Ctrl-C.
    #[arg(long)]
    follow: bool,
    /// Check that nobody changed, removed or added a line, and say what is damaged. Exit code 1 if something is.
    #[arg(long, conflicts_with_all = ["since", "part", "follow"])]
    check: bool,
    #[command(flatten)]
    which: Which,
}

pub async fn run(args: Args, path: &Path) -> Result<ExitCode, Failure> {
    let flows = args.which.flows(&file::load(path)?)?;
    if args.check {
        let mut code = ExitCode::SUCCESS;
        for flow in &flows {
            print(&if args.json { String::new() } else { heading(flow) });
            let found = check(flow, args.json)?;
            code = if found == ExitCode::SUCCESS { code } else { found };
        }
        return Ok(code);
    }
    let after = args
        .since
        .map_or(i64::MIN, |since| now_micros() - i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    let mut shown_upto = vec![0; flows.len()];
    loop {
        let mut out = String::new();
        for (flow, shown_upto) in flows.iter().zip(&mut shown_upto) {
            let more = more(&args, flow, after, shown_upto)?;
            if !args.json && !more.is_empty() {
                out.push_str(&heading(flow));
            }
            out.push_str(&more);
        }
        let mut stdout = std::io::stdout().lock();
        // A reader that went away (`| head`) is a normal end.
        if stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush()).is_err() || !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        drop(stdout);
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
            () = tokio::time::sleep(FOLLOW_EVERY) => {}
        }
    }
}

/// What has happened behind `shown_upto`, which moves on.
fn more(args: &Args, flow: &File, after: i64, shown_upto: &mut u64) -> Result<String, Failure> {
    let read = incidents::read(&incidents::folder(&flow.data))?;
    let ends = ends(&read.incidents);
    // `store:near` on the command line is `store near` in the log: no quotes needed.
    let part = args.part.as_deref().map(|part| part.replacen(':', " ", 1));
    let mut out = String::new();
    for incident in read.incidents.iter().filter(|incident| incident.id > *shown_upto) {
        if incident.last_at_micros < after || part.as_deref().is_some_and(|part| part != incident.part) {
            continue;
        }
        if args.json {
            let source = flow.source().name.as_deref();
            out.push_str(
                &serde_json::to_string(&Numbered { id: incident.id, source, incident })
                    .context("cannot write an incident as JSON")?,
            );
        } else {
            out.push_str(&text(incident, ends.get(&incident.id)));
        }
        out.push('\n');
    }
    if *shown_upto == 0 && !args.json && out.is_empty() && !args.follow {
        out.push_str(if read.incidents.is_empty() {
            "nothing has happened yet\n"
        } else {
            "nothing of that kind has happened\n"
        });
    }
    if let Some(first) = read.problems.first().filter(|_| *shown_upto == 0) {
        eprintln!("warning: the log is damaged ({first}); `headwater incidents --check` says more");
    }
    *shown_upto = read.last_id.max(*shown_upto);
    Ok(out)
}

fn check(flow: &File, json: bool) -> Result<ExitCode, Failure> {
    let read = incidents::read(&incidents::folder(&flow.data))?;
    let code = if read.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if json {
        let mut found = serde_json::json!({
            "incidents": read.incidents.len(), "files": read.files(), "first": read.first_id,
            "last": read.last_id, "problems": read.problems,
        });
        if let Some(name) = &flow.source().name {
            found["source"] = serde_json::json!(name);
        }
        print(&format!("{found}\n"));
        return Ok(code);
    }
    let mut out = format!(
        "{} in {}, number {} to {}",
        counted(read.incidents.len(), "incident"),
        counted(read.files(), "file"),
        read.first_id,
        read.last_id
    );
    if read.problems.is_empty() {
        out.push_str(": every line is as it was written, and none is missing\n");
        if read.first_id > 1 {
            out.push_str("older ones were rotated away\n");
        }
    } else {
        out.push_str(&format!("; {}:\n", counted(read.problems.len(), "problem")));
        read.problems.iter().for_each(|problem| out.push_str(&format!("  {problem}\n")));
        out.push_str(
            "Headwater goes on in a new file and leaves these as they are; they leave by rotation.\n",
        );
    }
    print(&out);
    Ok(code)
}

#[derive(serde::Serialize)]
struct Numbered<'i> {
    id: u64,
    /// Where sources have names.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'i str>,
    #[serde(flatten)]
    incident: &'i Incident,
}

/// Of incidents that were the beginning of some trouble: when it ended.
fn ends(incidents: &[Incident]) -> BTreeMap<u64, i64> {
    let mut open: BTreeMap<(&str, IncidentKind), Vec<u64>> = BTreeMap::new();
    let mut ended = BTreeMap::new();
    for incident in incidents {
        for kind in incident.kind.ends() {
            for id in open.remove(&(&*incident.part, *kind)).unwrap_or_default() {
                ended.insert(id, incident.at_micros);
            }
        }
        open.entry((&incident.part, incident.kind)).or_default().push(incident.id);
    }
    ended
}

/// A line for the incident, and one for each thing that is known about it.
fn text(incident: &Incident, ended: Option<&i64>) -> String {
    let mut out = format!(
        "{:>5}  {}  {}: {}",
        incident.id,
        utc(incident.at_micros),
        incident.part,
        incident.kind.as_str()
    );
    if incident.times > 1 {
        out.push_str(&format!(", {} times until {}", incident.times, utc(incident.last_at_micros)));
    }
    if let Some(began) = incident.began_micros {
        out.push_str(&format!(" after {}", took(incident.at_micros - began)));
    }
    if let Some(ended) = ended {
        out.push_str(&format!(" for {}", took(ended - incident.at_micros)));
    }
    let details = [
        ("cause", Some(&incident.cause).filter(|cause| !cause.is_empty())),
        ("evidence", incident.evidence.as_ref()),
        ("step", incident.step.as_ref()),
        ("approved by", incident.approved_by.as_ref()),
        ("result", incident.result.as_ref()),
    ];
    for (name, detail) in details {
        if let Some(detail) = detail {
            out.push_str(&format!("\n       {name}: {}", detail.replace(char::is_control, " ")));
        }
    }
    out
}

fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_says_all_that_is_known_and_when_its_trouble_ended() {
        let mut failed =
            Incident { id: 1, ..Incident::new(0, "store near", IncidentKind::Failed, "refused\nit") };
        failed.step = Some("fill it again".into());
        failed.approved_by = Some("headwater".into());
        let recovered = Incident {
            id: 2,
            began_micros: Some(0),
            ..Incident::new(90_000_000, "store near", IncidentKind::Recovered, "")
        };
        let ends = ends(&[failed.clone(), recovered.clone()]);
        assert_eq!(
            text(&failed, ends.get(&1)),
            "    1  1970-01-01 00:00:00  store near: failed for 1 min 30 s\n       cause: refused it\n       \
             step: fill it again\n       approved by: headwater"
        );
        assert_eq!(
            text(&recovered, ends.get(&2)),
            "    2  1970-01-01 00:01:30  store near: recovered after 1 min 30 s"
        );
    }
}
