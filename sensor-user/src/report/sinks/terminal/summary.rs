//! Sums come in; the tables that answer "who spent it" go out.

use std::fmt::Write;

use anstyle::Style;

use crate::report::escape;
use crate::report::sinks::terminal::layout::fit;
use crate::report::sinks::terminal::look::Look;
use crate::report::sinks::terminal::numbers;
use crate::report::totals::Group;
use crate::report::totals::Sums;
use crate::report::totals::Totals;

/// Rows shown of one table.
const ROWS_SHOWN: usize = 10;
/// Widths of a name, at least and at most.
const NAME: (usize, usize) = (8, 44);
/// Titles and widths of the numbers behind the name.
const NUMBERS: [(&str, usize); 6] =
    [("CALLS", 7), ("ERRORS", 6), ("IN", 11), ("CACHED", 9), ("OUT", 9), ("COST", 12)];

/// All tables.
pub(super) fn text(totals: &Totals, look: &Look) -> String {
    if totals.all.calls == 0 {
        return "no call has been seen\n".to_owned();
    }
    let numbers = NUMBERS
        .iter()
        .fold(0, |sum: usize, (_, width)| sum.saturating_add(*width).saturating_add(1));
    let width =
        look.width().map_or(NAME.1, |width| width.saturating_sub(numbers).clamp(NAME.0, NAME.1));
    let mut out = String::new();
    let groups = [
        ("PROVIDER", &totals.providers),
        ("MODEL", &totals.models),
        ("KEY", &totals.keys),
        ("WORKLOAD", &totals.workloads),
    ];
    for (title, group) in groups {
        table(&mut out, title, group, width, look);
    }
    let last = look.paint(Style::new().bold(), &row("all calls", &totals.all, width));
    // Writing into a string cannot fail.
    let _written = writeln!(out, "\n{last}");
    if totals.all.unpriced > 0 {
        let count = numbers::grouped(totals.all.unpriced);
        let _written =
            writeln!(out, "≥ calls whose price is not known are not in the sum: {count}");
    }
    if totals.all.estimated > 0 {
        let count = numbers::grouped(totals.all.estimated);
        let _written = writeln!(out, "~ calls whose price is estimated: {count}");
    }
    out.push('\n');
    out
}

fn table(out: &mut String, title: &str, group: &Group, width: usize, look: &Look) {
    let rows = group.rows();
    let titles = NUMBERS.map(|(title, width)| fit(title, width, true));
    let header = format!("{} {}", fit(title, width, false), titles.join(" "));
    let _written = writeln!(out, "\n{}", look.paint(Style::new().bold().underline(), &header));
    for (name, sums) in rows.iter().take(ROWS_SHOWN) {
        let _written = writeln!(out, "{}", row(name, sums, width));
    }
    let more = rows.len().saturating_sub(ROWS_SHOWN);
    if more > 0 {
        let _written = writeln!(out, "… and {more} more");
    }
}

fn row(name: &str, sums: &Sums, width: usize) -> String {
    let counts = [
        Some(sums.calls),
        Some(sums.errors),
        Some(sums.input),
        Some(sums.cached),
        Some(sums.output),
        None,
    ];
    let cells = counts.iter().zip(NUMBERS).map(|(count, (_, width))| {
        let text = count.map_or_else(|| cost(sums, width), |count| numbers::count(count, width));
        fit(&text, width, true)
    });
    format!("{} {}", fit(&escape::plain(name), width, false), cells.collect::<Vec<_>>().join(" "))
}

/// `?` where no price is known, `≥` where some are not, `~` where some are estimated.
fn cost(sums: &Sums, width: usize) -> String {
    if sums.unpriced == sums.calls {
        return "?".to_owned();
    }
    let mark = match (sums.unpriced, sums.estimated) {
        (0, 0) => "",
        (0, _) => "~",
        _ => "≥",
    };
    format!("{mark}{}", numbers::dollars(sums.cost.picodollars(), width.saturating_sub(1)))
}
