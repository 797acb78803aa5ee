//! Rows of the inventory come in; tables for a terminal go out.

use std::fmt::Write;

use anstyle::Style;

use super::sums::Sum;
use super::sums::Sums;
use crate::report::sinks::terminal::Look;
use crate::report::sinks::terminal::layout::fit;
use crate::report::sinks::terminal::numbers;
use crate::store::Entry;
use crate::store::Figures;

/// Rows shown of one table.
const ROWS_SHOWN: usize = 15;
/// Width of a name.
const NAME: usize = 40;
/// Stands for a sum of nothing that is known.
const UNKNOWN: &str = "-";
/// Titles and widths of the columns behind the name.
const COLUMNS: [(&str, usize); 9] = [
    ("USERS", 6),
    ("CALLS", 8),
    ("OPAQUE", 7),
    ("WHOLE", 6),
    ("TOKENS", 12),
    ("COST", 12),
    ("APPROVED", 8),
    ("FIRST SEEN", 11),
    ("LAST SEEN", 11),
];

/// The report for people.
pub fn text(entries: &[Entry], look: &Look) -> String {
    if entries.is_empty() {
        return "no use of AI has been seen in this time\n".to_owned();
    }
    let sums = Sums::of(entries);
    let mut out = String::new();
    for (title, rows) in [
        ("SERVICE", &sums.providers),
        ("TOOL", &sums.programs),
        ("USER", &sums.users),
        ("MODEL", &sums.models),
        ("KEY", &sums.keys),
    ] {
        table(&mut out, title, rows, look);
    }
    let all = Sum { name: "all".to_owned(), figures: sums.all, ..Sum::default() };
    // Writing into a string cannot fail.
    let _written = writeln!(out, "{}", look.paint(Style::new().bold(), &row(&all)));
    if all.figures.opaque > 0 {
        let _written = writeln!(
            out,
            "OPAQUE: connections whose content could not be read; `tollgate doctor` says why"
        );
        let _written = writeln!(out, "they may have carried {}", opaque(&all.figures));
    }
    if let Some((connections, percent)) = all.figures.coverage() {
        let partial = numbers::grouped(all.figures.partial);
        let _written = writeln!(
            out,
            "WHOLE: {percent} % of {} connections were seen whole, {partial} in part, with at most {} bytes missing",
            numbers::grouped(connections),
            numbers::grouped(all.figures.missing_bytes)
        );
    }
    if all.figures.unpriced > 0 {
        let count = numbers::grouped(all.figures.unpriced);
        let _written = writeln!(out, "calls whose price is not known are not in the sum: {count}");
    }
    out
}

fn table(out: &mut String, title: &str, rows: &[Sum], look: &Look) {
    let titles = COLUMNS.map(|(title, width)| fit(title, width, true));
    let header = format!("{} {}", fit(title, NAME, false), titles.join(" "));
    let _written = writeln!(out, "{}", look.paint(Style::new().bold().underline(), &header));
    for sum in rows.iter().take(ROWS_SHOWN) {
        let _written = writeln!(out, "{}", row(sum));
    }
    let more = rows.len().saturating_sub(ROWS_SHOWN);
    if more > 0 {
        let _written = writeln!(out, "… and {more} more");
    }
    out.push('\n');
}

fn row(sum: &Sum) -> String {
    let figures = &sum.figures;
    let users = if sum.users == 0 { String::new() } else { sum.users.to_string() };
    let cells = [
        users,
        numbers::grouped(figures.calls),
        numbers::grouped(figures.opaque),
        percent(figures),
        tokens(figures),
        cost(figures),
        sum.approved.to_owned(),
        day(figures.first_seen),
        day(figures.last_seen),
    ];
    let cells: Vec<_> =
        cells.iter().zip(COLUMNS).map(|(cell, (_, width))| fit(cell, width, true)).collect();
    format!("{} {}", fit(&sum.name, NAME, false), cells.join(" ")).trim_end().to_owned()
}

/// `-` where no call has said how many.
fn tokens(figures: &Figures) -> String {
    match figures.input_tokens.saturating_add(figures.output_tokens) {
        0 => UNKNOWN.to_owned(),
        tokens => numbers::grouped(tokens),
    }
}

/// `-` where there was no call, `?` where no price is known, `≥` where some are not, `~` where some are estimated.
pub(super) fn cost(figures: &Figures) -> String {
    if figures.calls == 0 {
        return UNKNOWN.to_owned();
    }
    let mark = match (figures.unpriced, figures.estimated) {
        (0, 0) => "",
        (0, _) => "~",
        (unpriced, _) if unpriced == figures.calls => return "?".to_owned(),
        _ => "≥",
    };
    format!("{mark}{}", numbers::dollars(figures.amount(), 11))
}

/// In a hundred connections those that were seen whole.
pub(super) fn percent(figures: &Figures) -> String {
    figures.coverage().map(|(_, percent)| format!("{percent} %")).unwrap_or_default()
}

/// What opaque connections may have carried and cost.
pub(super) fn opaque(figures: &Figures) -> String {
    let tokens = numbers::grouped(figures.opaque_tokens);
    let amount = figures.opaque_amount();
    let cost = if amount == 0 { "price unknown".to_owned() } else { numbers::dollars(amount, 11) };
    format!("about {tokens} tokens, {cost} (estimated from bytes, in no sum)")
}

/// The day of a time (UTC).
pub(super) fn day(seconds: i64) -> String {
    let mut text = super::moment(seconds);
    text.truncate(10);
    text
}
