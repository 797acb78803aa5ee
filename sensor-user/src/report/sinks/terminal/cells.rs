//! A call and a column come in; the text of that cell and its colour go out.

use anstyle::AnsiColor;
use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use crate::credential::Identity;
use crate::provider::UsageQuality;
use crate::report::CallEvent;
use crate::report::call::Tokens;
use crate::report::escape;
use crate::report::sinks::terminal::layout::Cell;
use crate::report::sinks::terminal::layout::Column;
use crate::report::sinks::terminal::layout::cut;
use crate::report::sinks::terminal::look::Look;
use crate::report::sinks::terminal::numbers;
use crate::report::totals;
use crate::report::words;
use crate::spend::Basis;
use crate::spend::Cost;
use crate::workload::Workload;

/// What stands for an unknown value.
const UNKNOWN: &str = "-";
/// Colours that tell providers apart.
const PALETTE: [AnsiColor; 5] =
    [AnsiColor::Cyan, AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::Green, AnsiColor::Yellow];

/// Text and colour of one cell.
pub(super) fn cell(column: Column, width: usize, event: &CallEvent, look: &Look) -> Cell {
    let style = style(column, event);
    let colour = look.colour && style != Style::new();
    let paint = move |text: String| if colour { format!("{style}{text}{style:#}") } else { text };
    Cell {
        text: escape::plain(&text(column, width, event, look)).into_owned(),
        paint: Box::new(paint),
    }
}

fn text(column: Column, width: usize, event: &CallEvent, look: &Look) -> String {
    let (call, workload) = (&event.call, event.process.workload.as_deref());
    let known = |value: Option<&str>| value.unwrap_or(UNKNOWN).to_owned();
    let tokens = Tokens::of(&call.usage);
    match column {
        Column::Time => look.clock(event.time),
        Column::Process => process(event, width),
        Column::User => known(workload.map(Workload::user_name)),
        Column::Place => known(totals::place(event).as_deref()),
        Column::Provider => call.provider.clone(),
        Column::Model => known(event.model().or(Some(call.operation.as_str()))),
        Column::Key => {
            event.identity.as_ref().map_or_else(|| UNKNOWN.to_owned(), |one| key(one, width))
        }
        Column::Input => count(tokens.input, call.usage_quality, width),
        Column::Cached => {
            known(call.usage.cache_read.map(|tokens| numbers::count(tokens, width)).as_deref())
        }
        Column::Output => count(tokens.output, call.usage_quality, width),
        Column::Cost => cost(&event.cost, width),
        Column::FirstToken => {
            event.first_token_ns().map_or_else(|| UNKNOWN.to_owned(), numbers::seconds)
        }
        Column::Duration => numbers::seconds(event.duration_ns()),
        Column::Status => status(event),
    }
}

fn style(column: Column, event: &CallEvent) -> Style {
    let plain = Style::new();
    match column {
        Column::Time | Column::Key | Column::Cached => plain.dimmed(),
        Column::Process | Column::Model => plain.bold(),
        Column::Provider => {
            let sum = event
                .call
                .provider
                .bytes()
                .fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            let colour = sum.checked_rem(PALETTE.len()).and_then(|at| PALETTE.get(at));
            colour.map_or(plain, |colour| colour.on_default())
        }
        Column::Cost => match event.cost.basis {
            Basis::Reported => AnsiColor::Green.on_default().bold(),
            Basis::Estimated => AnsiColor::Yellow.on_default().bold(),
            Basis::Unknown => plain.dimmed(),
        },
        Column::Status => match (event.call.outcome(), event.call.complete) {
            (Some(200..=299), true) if event.call.error_type.is_none() => {
                AnsiColor::Green.on_default()
            }
            (Some(200..=399 | 429), _) => AnsiColor::Yellow.on_default(),
            _ => AnsiColor::Red.on_default(),
        },
        _ => plain,
    }
}

/// The name is cut, the process id is not.
fn process(event: &CallEvent, width: usize) -> String {
    let name = event
        .process
        .workload
        .as_deref()
        .map_or("?", |workload| words::file_name(&workload.executable));
    let pid = event.process.pid.map(|pid| format!("[{pid}]")).unwrap_or_default();
    let name = escape::plain(name);
    format!("{}{pid}", cut(&name, width.saturating_sub(pid.width())))
}

fn status(event: &CallEvent) -> String {
    let call = &event.call;
    let mut text = call.outcome().map_or_else(|| "cut".to_owned(), |status| status.to_string());
    if let Some(error) = call.error_type.as_deref().filter(|error| *error != text) {
        text = format!("{text} {error}");
    }
    if !call.complete {
        text.push_str(" (truncated)");
    }
    text
}

/// A lower bound is marked `≥`.
fn count(count: Option<u64>, quality: UsageQuality, width: usize) -> String {
    let mark = if quality == UsageQuality::Partial { "≥" } else { "" };
    count.map_or_else(
        || UNKNOWN.to_owned(),
        |count| format!("{mark}{}", numbers::count(count, width.saturating_sub(mark.width()))),
    )
}

/// `~` marks an estimate, `?` an unknown amount.
fn cost(cost: &Cost, width: usize) -> String {
    let mark = if cost.basis == Basis::Estimated { "~" } else { "" };
    let room = width.saturating_sub(mark.width());
    cost.picodollars.map_or_else(
        || "?".to_owned(),
        |amount| format!("{mark}{}", numbers::dollars(i128::from(amount), room)),
    )
}

/// Hint and fingerprint; where there is no room, the end of the hint.
fn key(key: &Identity, width: usize) -> String {
    let short = totals::short(&key.fingerprint);
    let whole = format!("{} {short}", key.hint);
    match key.hint.rsplit_once('…') {
        Some((_, end)) if whole.width() > width => format!("…{end} {short}"),
        _ => whole,
    }
}
