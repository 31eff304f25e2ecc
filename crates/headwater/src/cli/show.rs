//! Findings on a terminal: the line of the file with what is wrong underlined, and the remedy.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::ops::Range;
use std::path::Path;

use headwater_control::Finding;
use headwater_model::Severity;
use headwater_model::file::FileErrors;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};

use crate::figures::counted;

pub fn file_errors(path: &Path, errors: &FileErrors) {
    let found: Vec<Finding> = errors.errors.iter().cloned().map(Finding::from).collect();
    findings(path, &errors.text, &found);
}

/// Everything found, then a count; nothing if nothing was found.
pub fn findings(path: &Path, text: &str, findings: &[Finding]) {
    if findings.is_empty() {
        return;
    }
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    // Remedies hold SQL and commands: a wrapped line cannot be copied.
    let handler = GraphicalReportHandler::new_themed(theme).with_wrap_lines(false).with_context_lines(1);
    let mut out = String::new();
    for finding in findings {
        let mut diagnostic = MietteDiagnostic::new(&finding.message).with_severity(match finding.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Note => miette::Severity::Advice,
        });
        if let Some(remedy) = &finding.remedy {
            diagnostic = diagnostic.with_help(remedy);
        }
        if !text.is_empty() {
            diagnostic = diagnostic.with_label(LabeledSpan::underline(one_line(text, &finding.span)));
        }
        let report = Report::new(diagnostic)
            .with_source_code(NamedSource::new(path.display().to_string(), text.to_owned()));
        // Writing to a string does not fail.
        let _ = handler.render_report(&mut out, report.as_ref());
        out.push('\n');
    }
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let _ = writeln!(
        out,
        "{}: {}, {}",
        path.display(),
        counted(count(Severity::Error), "mistake"),
        counted(count(Severity::Warning), "warning")
    );
    let _ = std::io::stderr().lock().write_all(out.as_bytes());
}

/// Text on standard output. A reader that stops reading (`| head`) is no mistake.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The same on a terminal that is too narrow for it: lines go on below where their text begins. What is read by programs and files
/// stays as it is.
pub fn print_wrapped(text: &str) {
    let width = terminal_size::terminal_size().filter(|_| std::io::stdout().is_terminal());
    match width {
        Some((terminal_size::Width(columns), _)) => print(&wrapped(text, usize::from(columns))),
        None => print(text),
    }
}

/// Narrower than this nothing is gained.
const COLUMNS_MIN: usize = 40;

fn wrapped(text: &str, columns: usize) -> String {
    let columns = columns.max(COLUMNS_MIN);
    let mut out = String::new();
    for line in text.lines() {
        match columns_apart(line, columns) {
            Some((first, second)) => {
                wrap(first, columns, &mut out);
                wrap(&second, columns, &mut out);
            }
            None => wrap(line, columns, &mut out),
        }
    }
    out
}

/// What stands in the last column of a line that is too long: a line of its own below, a little further in.
fn columns_apart(line: &str, columns: usize) -> Option<(&str, String)> {
    if line.chars().count() <= columns {
        return None;
    }
    let gap = line.rfind("  ")?;
    let first = line[..gap].trim_end();
    let wide = first.chars().count();
    let indentation = line.len() - line.trim_start().len() + 4;
    (wide > columns / 2 && wide <= columns)
        .then(|| (first, format!("{:indentation$}{}", "", &line[gap + 2..])))
}

fn wrap(line: &str, columns: usize, out: &mut String) {
    let hang = hang(line, columns);
    let mut used = 0;
    for (place, word) in line.split(' ').enumerate() {
        let wide = word.chars().count();
        // Spaces before a word are empty words: what the line is set in by stays.
        let is_text = !word.is_empty() && used > hang;
        if is_text && used + 1 + wide > columns && hang + wide <= columns {
            out.truncate(out.trim_end_matches(' ').len());
            let _ = write!(out, "\n{:hang$}{word}", "");
            used = hang + wide;
            continue;
        }
        if place > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += wide;
    }
    out.push('\n');
}

/// Where the text of a line begins: behind its indentation, a dash, or a label and the room after it.
fn hang(line: &str, columns: usize) -> usize {
    let chars: Vec<char> = line.chars().collect();
    let indentation = chars.iter().take_while(|c| **c == ' ').count();
    let mut hang = indentation + if chars.get(indentation) == Some(&'-') { 2 } else { 0 };
    for at in indentation + 2..chars.len().min(columns / 2) {
        if chars[at] != ' ' && chars[at - 1] == ' ' && chars[at - 2] == ' ' {
            hang = at;
        }
    }
    hang
}

/// The part of a span on its first line: what goes over many lines is not shown whole.
fn one_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = span.start.min(text.len());
    let shown = text.get(start..span.end.min(text.len())).unwrap_or_default();
    start..start + shown.lines().next().unwrap_or_default().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_has_every_word_below_where_its_text_begins() {
        let text = "      why        the database is there anyway and has room for it: no engine beside it pays\n  - ElastiCache: one node, and with it all that is kept there is away for five minutes\nshort\n";
        let narrow = wrapped(text, 50);
        assert_eq!(
            narrow,
            "      why        the database is there anyway and\n                 has room for it: no engine beside\n                 it pays\n  - ElastiCache: one node, and with it all that is\n    kept there is away for five minutes\nshort\n"
        );
        assert_eq!(wrapped(text, 200), text);
        for columns in [1, 40, 63, 80, 120] {
            let narrow = wrapped(text, columns);
            assert!(narrow.lines().all(|line| line.chars().count() <= columns.max(COLUMNS_MIN)), "{narrow}");
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&narrow), words(text));
        }
    }

    #[test]
    fn what_stands_in_a_column_goes_below_as_a_whole() {
        let line = "      2 × db.r6g.large                      $329  1,460 hours at $0.225 (A 2022-07-17)\n";
        assert_eq!(
            wrapped(line, 70),
            "      2 × db.r6g.large                      $329\n          1,460 hours at $0.225 (A 2022-07-17)\n"
        );
    }

    #[test]
    fn a_word_that_fits_nowhere_is_left_whole() {
        let text = format!("    {} end\n", "x".repeat(90));
        assert_eq!(wrapped(&text, 50).split_whitespace().next().map(str::len), Some(90));
    }
}
