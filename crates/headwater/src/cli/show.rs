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

/// The part of a span on its first line: what goes over many lines is not shown whole.
fn one_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = span.start.min(text.len());
    let shown = text.get(start..span.end.min(text.len())).unwrap_or_default();
    start..start + shown.lines().next().unwrap_or_default().len()
}
