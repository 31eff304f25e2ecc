//! A status as a picture for the terminal: the flow from source to views, a line each.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, Color, Table, presets};
use headwater_flow::status::{PartState, Status};

use crate::figures::{bytes, count, duration_ms, rate};

/// The whole picture, without escape codes unless `colours`.
pub fn picture(status: &Status, colours: bool) -> String {
    let mut out = String::new();
    let source = &status.source;
    let _ = write!(out, "source   {}   {}", source.server, state(source.state, colours));
    if let Some(position) = &source.position {
        let _ = write!(out, "   at {position}");
    }
    let _ = write!(
        out,
        "   {} tx/s, {} changes/s",
        rate(source.transactions_per_second),
        rate(source.changes_per_second)
    );
    if let Some(retained) = source.retained_log_bytes {
        let _ = write!(
            out,
            "   keeps {} of log (at most {})",
            bytes(retained),
            bytes(source.retained_log_bytes_max)
        );
    }
    out.push('\n');
    tell(&mut out, source.error.as_deref());
    let journal = &status.journal;
    let _ = writeln!(
        out,
        "journal  offset {}   {} on disk (at most {})   epoch {}\n",
        count(journal.durable_offset),
        bytes(journal.bytes),
        bytes(journal.bytes_max),
        status.epoch
    );

    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if colours {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(["store", "view", "state", "rows", "changes/s", "lag", "behind", "position", "shows"]);
    for store in &status.stores {
        table.add_row([
            Cell::new(&store.name),
            Cell::new(""),
            state_cell(store.state),
            Cell::new(""),
            Cell::new(rate(store.changes_per_second)),
            Cell::new(duration_ms(store.lag_ms)),
            Cell::new(format!("{} tx, {}", count(store.lag_transactions), bytes(store.lag_bytes))),
            Cell::new(store.position.as_deref().unwrap_or("-")),
            Cell::new(match store.promise.as_deref() {
                Some("transaction") => "whole transactions",
                Some("key") => "key by key",
                _ => "-",
            }),
        ]);
        for view in &store.views {
            table.add_row([
                Cell::new(""),
                Cell::new(&view.name),
                state_cell(view.state),
                Cell::new(view.rows.map_or_else(|| "-".to_owned(), count)),
                Cell::new(rate(view.changes_per_second)),
            ]);
        }
    }
    for right in [3, 4, 5] {
        if let Some(column) = table.column_mut(right) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.to_string().lines() {
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for store in &status.stores {
        if let Some(error) = &store.error {
            let _ = writeln!(out, "! {}: {error}", store.name);
        }
        if store.quarantined_rows > 0 {
            let _ = writeln!(out, "! {}: {} rows in quarantine", store.name, count(store.quarantined_rows));
        }
        for view in &store.views {
            if let Some(error) = &view.error {
                let _ = writeln!(out, "! {}/{}: {error}", store.name, view.name);
            }
        }
    }
    if !status.backfills.is_empty() {
        out.push('\n');
    }
    for backfill in &status.backfills {
        let share = backfill.rows as f64 / backfill.rows_estimate.max(1) as f64;
        let eta = backfill.eta_seconds.map_or_else(|| "-".to_owned(), |s| duration_ms(s * 1000));
        let _ = writeln!(
            out,
            "filling  {} {} {:>3.0} %   {} of about {} rows   {} rows/s   eta {eta}   for {}",
            backfill.table,
            bar(share),
            share.min(1.0) * 100.0,
            count(backfill.rows),
            count(backfill.rows_estimate),
            rate(backfill.rows_per_second),
            backfill.views.join(", ")
        );
    }
    out
}

fn tell(out: &mut String, error: Option<&str>) {
    if let Some(error) = error {
        let _ = writeln!(out, "! {error}");
    }
}

fn colour(state: PartState) -> Color {
    match state {
        PartState::Healthy => Color::Green,
        PartState::Lagging | PartState::Rebuilding | PartState::Starting | PartState::Standby => {
            Color::Yellow
        }
        PartState::Failed | PartState::Paused => Color::Red,
    }
}

fn state_cell(state: PartState) -> Cell {
    Cell::new(state.as_str()).fg(colour(state))
}

fn state(state: PartState, colours: bool) -> String {
    let code = match colour(state) {
        Color::Green => 32,
        Color::Yellow => 33,
        _ => 31,
    };
    if colours { format!("\x1b[{code}m{}\x1b[0m", state.as_str()) } else { state.as_str().to_owned() }
}

fn bar(share: f64) -> String {
    const WIDTH: usize = 20;
    let full = (share.clamp(0.0, 1.0) * WIDTH as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(WIDTH - full))
}
