//! An environment for files under test, and errors as a terminal would show them.

use std::fmt::Write as _;
use std::path::Path;

use headwater_model::file::{File, FileErrors, References};

pub struct Env;

impl References for Env {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "PGPASSWORD" => Some("se/cr@et".to_owned()),
            "REDIS_URL" => Some("redis://:hush@cache:6380".to_owned()),
            "API_TOKEN" => Some("0123456789abcdef".to_owned()),
            "SHORT" => Some("short".to_owned()),
            "DATA" => Some("/var/lib/headwater".to_owned()),
            _ => None,
        }
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        match path.to_str() {
            Some("/run/secrets/pg") => Ok("from-file\n".to_owned()),
            Some("/run/secrets/token") => Ok("fedcba9876543210\n".to_owned()),
            _ => Err("No such file or directory".to_owned()),
        }
    }
}

pub fn load(text: &str) -> Result<File, FileErrors> {
    File::load(text, &Env)
}

/// Every error with its line and a caret under what is wrong.
pub fn render(errors: &FileErrors) -> String {
    let mut out = String::new();
    for error in &errors.errors {
        let _ = writeln!(out, "{}:{}: {}", error.line, error.column, error.message);
        let line = errors.text.lines().nth(error.line - 1).unwrap_or_default();
        let span = errors.text.get(error.span.clone()).unwrap_or_default();
        let width = span.lines().next().unwrap_or_default().chars().count().max(1);
        let _ = writeln!(out, "  | {line}\n  | {}{}", " ".repeat(error.column - 1), "^".repeat(width));
        if let Some(remedy) = &error.remedy {
            let _ = writeln!(out, "  = {remedy}");
        }
    }
    out
}
