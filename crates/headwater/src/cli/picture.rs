//! A status as a picture for the terminal: the flow from source to views, a line each.
//!
//! Owns: what is left out where the terminal is narrow. A line that the terminal breaks is no table any more, so the least
//! important columns go first, and the lines above the table break between two things that they say.

use std::fmt::Write as _;
use std::io::IsTerminal;

use comfy_table::{Cell, CellAlignment, Color, Table, presets};
use headwater_flow::status::{
    ConsumedStatus, PartState, PartStatus, Status, StoreStatus, VerificationStatus, ViewStatus,
};

use crate::figures::{bytes, count, cut, duration_ms, rate, share, units};

/// What the picture is drawn on.
#[derive(Clone, Copy, Default)]
pub struct Screen {
    /// Whether escape codes colour the states.
    pub colours: bool,
    /// In characters; `None` is as wide as it takes.
    pub width: Option<usize>,
}

impl Screen {
    /// Standard output: a terminal of some width, or something that takes lines of any length and no colours.
    pub fn of_stdout() -> Screen {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Screen::default();
        }
        let size = terminal_size::terminal_size_of(&stdout);
        // A terminal that does not know its width says 0.
        let width = size.map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0);
        Screen { colours: std::env::var_os("NO_COLOR").is_none(), width }
    }
}

/// How much was compared with the source; nothing if nothing ever was.
fn verification(status: &VerificationStatus) -> Option<String> {
    let mut line = match (status.oldest_ms, status.covered > 0.0) {
        (Some(oldest), _) => format!("verified: all of it, the oldest part {} ago", duration_ms(oldest)),
        (None, true) => format!("verified: {:.0} % of the documents", status.covered * 100.0),
        (None, false) if status.running.is_some() => "verified: nothing yet".to_owned(),
        (None, false) => return None,
    };
    if let Some(running) = &status.running {
        let _ = write!(line, "; now {}, {} rows", running.subject, count(running.rows));
    }
    for (store, canary) in &status.canaries {
        match (canary.newest_ms, canary.longest_ms, &canary.why_not) {
            (Some(newest), Some(longest), _) => {
                let (newest, longest) = (duration_ms(newest), duration_ms(longest));
                let _ =
                    write!(line, "\n  damage in {store} is found within {newest}, {longest} at most so far");
            }
            (_, _, Some(why)) => {
                let _ = write!(line, "\n  {store} holds no canary: {why}");
            }
            _ => {}
        }
    }
    Some(line)
}

/// The whole picture.
pub fn picture(status: &Status, screen: Screen) -> String {
    let mut out = String::new();
    head(&mut out, status, screen);
    out.push('\n');
    out.push_str(&table(status, screen));
    if status.source.quarantined_rows > 0 {
        let rows = count(status.source.quarantined_rows);
        let _ = writeln!(out, "! source: {rows} rows without a key, left out, in quarantine");
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
    if let Some(line) = verification(&status.verification) {
        let _ = writeln!(out, "{line}");
    }
    for held in status.heal.held.iter().filter(|held| held.missing() > 0) {
        let _ = writeln!(
            out,
            "! {} {}: to {} waits for `headwater heal approve {}`",
            held.part,
            held.cause,
            held.action.what(),
            held.id
        );
    }
    for pause in &status.heal.pauses {
        let _ = writeln!(out, "! healing of {} is paused by {}", pause.part, pause.by);
    }
    if !status.backfills.is_empty() {
        out.push('\n');
    }
    for backfill in &status.backfills {
        let share = backfill.rows as f64 / backfill.rows_estimate.max(1) as f64;
        let eta = backfill.eta_seconds.map_or_else(|| "-".to_owned(), |s| duration_ms(s * 1000));
        let said = [
            format!("{} {} {:>3.0} %", backfill.table, bar(share), share.min(1.0) * 100.0),
            format!("{} of about {} rows", count(backfill.rows), count(backfill.rows_estimate)),
            format!("{} rows/s", rate(backfill.rows_per_second)),
            format!("eta {eta}"),
            format!("for {}", backfill.views.join(", ")),
        ];
        line(&mut out, "filling", &said.map(Said::plain), screen);
    }
    out
}

/// Source and journal.
fn head(out: &mut String, status: &Status, screen: Screen) {
    let source = &status.source;
    let mut said = vec![
        Said::plain(source.server.clone()),
        Said { text: source.state.as_str().to_owned(), colour: Some(colour(source.state)) },
    ];
    said.extend(source.position.iter().map(|position| Said::plain(format!("at {position}"))));
    said.push(Said::plain(format!(
        "{} tx/s, {} changes/s",
        rate(source.transactions_per_second),
        rate(source.changes_per_second)
    )));
    if let Some(retained) = source.retained_log_bytes {
        let most = bytes(source.retained_log_bytes_max);
        said.push(Said::plain(format!("keeps {} of log (at most {most})", bytes(retained))));
    }
    line(out, "source", &said, screen);
    if let Some(error) = &source.error {
        let _ = writeln!(out, "! {error}");
    }
    let journal = &status.journal;
    let said = [
        format!("offset {}", count(journal.durable_offset)),
        format!("{} on disk (at most {})", bytes(journal.bytes), bytes(journal.bytes_max)),
        format!("epoch {}", status.epoch),
    ];
    line(out, "journal", &said.map(Said::plain), screen);
}

/// One thing that a line says.
struct Said {
    text: String,
    colour: Option<Color>,
}

impl Said {
    fn plain(text: String) -> Said {
        Said { text, colour: None }
    }
}

/// `name` and what is said of it, on more than one line if need be.
fn line(out: &mut String, name: &str, said: &[Said], screen: Screen) {
    const APART: &str = "   ";
    let indent = " ".repeat(NAME_WIDTH);
    let _ = write!(out, "{name:<NAME_WIDTH$}");
    let mut at = NAME_WIDTH;
    for (i, Said { text, colour }) in said.iter().enumerate() {
        let takes = text.chars().count();
        if i > 0 {
            let fits = screen.width.is_none_or(|width| at + APART.len() + takes <= width);
            match fits {
                true => out.push_str(APART),
                false => _ = write!(out, "\n{indent}"),
            }
            at = if fits { at + APART.len() } else { NAME_WIDTH };
        }
        at += takes;
        match colour.filter(|_| screen.colours) {
            Some(colour) => _ = write!(out, "\x1b[{}m{text}\x1b[0m", code(colour)),
            None => out.push_str(text),
        }
    }
    out.push('\n');
}

const NAME_WIDTH: usize = 9;

/// The columns of the table, in order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    State,
    Rows,
    Changes,
    Lag,
    Behind,
    Position,
    Shows,
}

use Column::*;

const COLUMNS: [Column; 8] = [Name, State, Rows, Changes, Lag, Behind, Position, Shows];

/// What goes first where there is no room for all. What is left says what is there, how it is and how far behind.
const LEFT_OUT: [Column; 5] = [Position, Shows, Changes, Behind, Rows];

/// A name is not cut below this.
const NAME_LEAST: usize = 8;

impl Column {
    fn title(self) -> &'static str {
        match self {
            Name => "store / view",
            State => "state",
            Rows => "rows",
            Changes => "changes/s",
            Lag => "lag",
            Behind => "behind",
            Position => "position",
            Shows => "shows",
        }
    }

    fn of_store(self, store: &StoreStatus) -> String {
        match self {
            Name => store.name.clone(),
            State => store.state.as_str().to_owned(),
            Rows => String::new(),
            Changes => rate(store.changes_per_second),
            Lag => duration_ms(store.lag_ms),
            Behind => format!("{} tx, {}", count(store.lag_transactions), bytes(store.lag_bytes)),
            Position => store.position.clone().unwrap_or_else(|| "-".to_owned()),
            Shows => match store.promise.as_deref() {
                Some("transaction") => "whole transactions".to_owned(),
                Some("key") => "key by key".to_owned(),
                _ => "-".to_owned(),
            },
        }
    }

    fn of_view(self, view: &ViewStatus) -> String {
        match (self, &view.part) {
            (Name, _) => format!("  {}", view.name),
            (State, _) => view.state.as_str().to_owned(),
            (Rows, Some(part)) => format!("{} of {}", count(part.documents), count(part.documents_max)),
            (Rows, None) => view.rows.map_or_else(|| "-".to_owned(), count),
            (Changes, _) => rate(view.changes_per_second),
            (Shows, part) => shows(part.as_ref(), view.consumed.as_ref()),
            (Lag | Behind | Position, _) => String::new(),
        }
    }
}

/// What a store has of a view if not all of it, and what it has used of an engine that is paid by the request.
fn shows(part: Option<&PartStatus>, consumed: Option<&ConsumedStatus>) -> String {
    let part = part.map(|part| match share(part.hits, part.hits + part.misses) {
        Some(share) => format!("a part, {share} hits"),
        None => "a part".to_owned(),
    });
    part.into_iter().chain(consumed.map(units)).collect::<Vec<_>>().join(", ")
}

fn table(status: &Status, screen: Screen) -> String {
    let mut columns = COLUMNS.to_vec();
    let mut left_out = LEFT_OUT.iter();
    let mut name_width = usize::MAX;
    loop {
        // Measured without escape codes.
        let drawn = draw(status, &columns, name_width, false);
        let takes = drawn.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        let too_much = screen.width.map_or(0, |width| takes.saturating_sub(width));
        if too_much > 0 {
            if let Some(column) = left_out.next() {
                columns.retain(|kept| kept != column);
                continue;
            }
            let longest = names(status).map(|name| name.chars().count()).max().unwrap_or(0);
            let shorter = longest.min(name_width).saturating_sub(too_much).max(NAME_LEAST);
            if shorter < name_width.min(longest) {
                name_width = shorter;
                continue;
            }
        }
        return if screen.colours { draw(status, &columns, name_width, true) } else { drawn };
    }
}

fn names(status: &Status) -> impl Iterator<Item = String> {
    status.stores.iter().flat_map(|store| {
        let views = store.views.iter().map(|view| Name.of_view(view));
        [Name.of_store(store)].into_iter().chain(views)
    })
}

fn draw(status: &Status, columns: &[Column], name_width: usize, colours: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if colours {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(columns.iter().map(|column| column.title()));
    let cell = |column: Column, text: String, state: PartState| match column {
        Name => Cell::new(cut(&text, name_width)),
        State => Cell::new(text).fg(colour(state)),
        _ => Cell::new(text),
    };
    for store in &status.stores {
        table.add_row(columns.iter().map(|column| cell(*column, column.of_store(store), store.state)));
        for view in &store.views {
            table.add_row(columns.iter().map(|column| cell(*column, column.of_view(view), view.state)));
        }
    }
    for (i, column) in columns.iter().enumerate() {
        if matches!(column, Rows | Changes | Lag)
            && let Some(column) = table.column_mut(i)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string().lines().fold(String::new(), |out, line| out + line.trim_end() + "\n")
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

fn code(colour: Color) -> u8 {
    match colour {
        Color::Green => 32,
        Color::Yellow => 33,
        _ => 31,
    }
}

fn bar(share: f64) -> String {
    const WIDTH: usize = 20;
    let full = (share.clamp(0.0, 1.0) * WIDTH as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use headwater_flow::status::{BackfillStatus, PartStatus};

    use super::*;

    fn status() -> Status {
        let view = |name: &str, rows| ViewStatus {
            name: name.into(),
            state: PartState::Healthy,
            rows,
            changes_per_second: 512.4,
            ..ViewStatus::default()
        };
        let part = PartStatus {
            documents_max: 3_000,
            documents: 2_988,
            hits: 94_600,
            misses: 5_400,
            ..PartStatus::default()
        };
        let mut status = Status { epoch: 7, ..Status::default() };
        status.source.server = "PostgreSQL 15.20".into();
        status.source.state = PartState::Healthy;
        status.source.position = Some("0/1A2B3C4D".into());
        (status.source.transactions_per_second, status.source.changes_per_second) = (1_204.0, 3_611.0);
        status.source.retained_log_bytes = Some(18 << 20);
        status.source.retained_log_bytes_max = 10 << 30;
        (status.journal.durable_offset, status.journal.bytes, status.journal.bytes_max) =
            (1_204_113, 48 << 20, 10 << 30);
        status.stores = vec![
            StoreStatus {
                name: "near".into(),
                state: PartState::Lagging,
                promise: Some("transaction".into()),
                position: Some("0/1A2B0000".into()),
                lag_ms: 6_200,
                lag_transactions: 7_211,
                lag_bytes: 3 << 20,
                changes_per_second: 2_930.0,
                views: vec![
                    view("book", Some(1_204_113)),
                    ViewStatus { part: Some(part), ..view("customer_with_orders", None) },
                ],
                quarantined_rows: 2,
                ..StoreStatus::default()
            },
            StoreStatus {
                name: "catalog".into(),
                state: PartState::Failed,
                error: Some("connect to catalog.internal:6379: connection refused".into()),
                promise: Some("key".into()),
                views: vec![ViewStatus { state: PartState::Rebuilding, ..view("book", None) }],
                ..StoreStatus::default()
            },
        ];
        status.backfills = vec![BackfillStatus {
            table: "public.books".into(),
            rows: 412_000,
            rows_estimate: 1_200_000,
            rows_per_second: 81_400.0,
            eta_seconds: Some(10),
            views: vec!["catalog/book".into()],
        }];
        status
    }

    fn shown(width: Option<usize>) -> String {
        picture(&status(), Screen { colours: false, width })
    }

    #[test]
    fn what_is_paid_by_the_request_is_said_per_view() {
        let mut status = status();
        let consumed = ConsumedStatus { read_units: 0.5, write_units: 12_340.0 };
        status.stores[1].views[0].consumed = Some(consumed);
        let picture = picture(&status, Screen { colours: false, width: None });
        assert!(picture.contains("1 read and 12,340 write units"), "{picture}");
    }

    #[test]
    fn without_a_terminal_nothing_is_left_out() {
        insta::assert_snapshot!("full", shown(None));
    }

    #[test]
    fn the_least_important_columns_go_first_where_there_is_no_room() {
        for width in [60, 80, 100, 160] {
            let shown = shown(Some(width));
            insta::assert_snapshot!(format!("width_{width}"), shown);
            for line in shown.lines().filter(|line| !line.starts_with("! ")) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn names_are_cut_at_last_and_colours_change_no_width() {
        for width in 0..200 {
            let plain = shown(Some(width));
            let coloured = picture(&status(), Screen { colours: true, width: Some(width) });
            let mut stripped = String::new();
            let mut rest = coloured.as_str();
            while let Some((before, after)) = rest.split_once('\x1b') {
                stripped.push_str(before);
                rest = after.split_once('m').map_or("", |(_, after)| after);
            }
            stripped.push_str(rest);
            let trimmed =
                |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
            assert_eq!(trimmed(&stripped), trimmed(&plain), "{width}");
        }
        let narrow = shown(Some(30));
        assert!(narrow.contains("  custo… "), "{narrow}");
    }
}
