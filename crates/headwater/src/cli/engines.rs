//! `headwater engines`: which engines there are, what each may be used for and what it then promises. Reads no file.

use std::process::ExitCode;

use comfy_table::{Table, presets};
use headwater_engines::engine::{Engine, Pattern};
use headwater_engines::registry::engines;
use serde_json::{Value, json};

use super::failure::Failure;
use super::show::print;

#[derive(clap::Args)]
pub struct Args {
    /// One JSON object per engine, in a list.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let engines = engines();
    if args.json {
        let list: Vec<Value> = engines.iter().map(as_json).collect();
        print(&format!("{:#}\n", Value::from(list)));
    } else {
        print(&text(&engines));
    }
    Ok(ExitCode::SUCCESS)
}

fn words(patterns: &[Pattern]) -> Vec<&'static str> {
    patterns.iter().map(|pattern| pattern.word()).collect()
}

fn as_json(engine: &Engine) -> Value {
    json!({
        "name": engine.name,
        "stands_for": engine.stands_for,
        "schemes": engine.schemes,
        "built_in": engine.built_in,
        "feature": engine.feature,
        "page": format!("docs/engines/{}", engine.page),
        "source": engine.source.map(|source| json!({
            "follows": source.follows,
            "answers": words(source.answers),
        })),
        "store": engine.store.map(|store| json!({
            "promise": store.promise_word(),
            "except": store.except.map(plain),
            "layouts": store.layout_words(),
            "answers": words(store.answers),
        })),
    })
}

fn text(engines: &[Engine]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.force_no_tty();
    table.set_header(["ENGINE", "URL", "SOURCE", "STORE PROMISES", "LAYOUTS", "ANSWERS", "BUILT IN"]);
    let mut notes = Vec::new();
    for engine in engines {
        let promise = engine.store.map_or_else(
            || "-".to_owned(),
            |store| match store.except {
                Some(except) => {
                    notes.push(format!("{}: {}", engine.name, plain(except)));
                    format!("{}*", store.promise_word())
                }
                None => store.promise_word().to_owned(),
            },
        );
        let answers = engine.store.map(|store| store.answers).or(engine.source.map(|source| source.answers));
        let built_in =
            if engine.built_in { "yes".to_owned() } else { format!("--features {}", engine.feature) };
        table.add_row([
            engine.name.to_owned(),
            format!("{}:", engine.schemes.first().unwrap_or(&"")),
            engine.source.map_or("-", |source| source.follows).to_owned(),
            promise,
            engine.store.map_or_else(|| "-".to_owned(), |store| store.layout_words().join(" ")),
            words(answers.unwrap_or_default()).join(" "),
            built_in,
        ]);
    }
    let line = |line: &str| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned() + "\n";
    let mut out: String = table.to_string().lines().map(line).collect();
    if !notes.is_empty() {
        out.push_str(&format!("\n* {}\n", notes.join("\n* ")));
    }
    out.push_str("\nwhat stores promise is said in docs/engines/README.md\n");
    out
}

/// Without the marks that a page has.
fn plain(text: &str) -> String {
    text.replace('`', "")
}
