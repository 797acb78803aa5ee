//! The width of the terminal comes in; which columns are shown, and how wide, goes out.

use unicode_width::UnicodeWidthChar;
use unicode_width::UnicodeWidthStr;

/// From this width on, columns stand two blanks apart.
const WIDE: usize = 160;

/// One thing that is shown of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Time,
    Process,
    User,
    Place,
    Provider,
    Model,
    Key,
    Input,
    Cached,
    Output,
    Cost,
    FirstToken,
    Duration,
    Status,
}

/// How a column may be laid out.
struct Row {
    column: Column,
    title: &'static str,
    is_right: bool,
    min: usize,
    max: usize,
    /// The column with the lowest rank goes first where there is no room.
    rank: u8,
}

impl Row {
    /// The text in its place; the last column needs no blanks behind it.
    fn fit(&self, text: &str, width: usize) -> String {
        if self.column == Column::Status {
            cut(text, width)
        } else {
            fit(text, width, self.is_right)
        }
    }
}

const fn row(
    column: Column,
    title: &'static str,
    is_right: bool,
    widths: (usize, usize),
    rank: u8,
) -> Row {
    Row { column, title, is_right, min: widths.0, max: widths.1, rank }
}

const ROWS: [Row; 14] = [
    row(Column::Time, "TIME", false, (8, 8), 8),
    row(Column::Process, "PROCESS", false, (13, 24), 20),
    row(Column::User, "USER", false, (5, 12), 4),
    row(Column::Place, "WHERE", false, (10, 22), 2),
    row(Column::Provider, "PROVIDER", false, (9, 16), 6),
    row(Column::Model, "MODEL", false, (14, 28), 20),
    row(Column::Key, "KEY", false, (14, 24), 5),
    row(Column::Input, "IN", true, (7, 9), 7),
    row(Column::Cached, "CACHED", true, (7, 9), 1),
    row(Column::Output, "OUT", true, (6, 8), 20),
    row(Column::Cost, "COST", true, (10, 12), 20),
    row(Column::FirstToken, "TTFT", true, (6, 6), 3),
    row(Column::Duration, "TOTAL", true, (6, 6), 9),
    row(Column::Status, "STATUS", false, (6, 36), 20),
];

/// Columns with their widths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    columns: Vec<(usize, usize)>,
    gap: usize,
}

impl Layout {
    /// Fits the columns into a width; without one, each is as wide as it may be.
    pub(super) fn for_width(width: Option<usize>) -> Self {
        let Some(width) = width else {
            return Self { columns: ROWS.iter().map(|row| row.max).enumerate().collect(), gap: 2 };
        };
        let gap = if width >= WIDE { 2 } else { 1 };
        let mut columns: Vec<_> = ROWS.iter().map(|row| row.min).enumerate().collect();
        while total(&columns, gap) > width && columns.len() > 1 {
            let rank = |at: usize| ROWS.get(at).map_or(0, |row| row.rank);
            let Some(least) = columns.iter().map(|(at, _)| rank(*at)).min() else { break };
            // Of equals the last goes first.
            let Some(position) = columns.iter().rposition(|(at, _)| rank(*at) == least) else {
                break;
            };
            columns.remove(position);
        }
        let spare = width.saturating_sub(total(&columns, gap));
        grow(&mut columns, spare);
        Self { columns, gap }
    }

    /// Titles over the columns.
    pub(super) fn header(&self) -> String {
        self.join(|row, width| row.fit(row.title, width))
    }

    /// One line; `cell` gives text and its painter.
    pub(super) fn line(&self, cell: impl Fn(Column, usize) -> Cell) -> String {
        self.join(|row, width| {
            let cell = cell(row.column, width);
            (cell.paint)(row.fit(&cell.text, width))
        })
    }

    fn join(&self, cell: impl Fn(&Row, usize) -> String) -> String {
        let mut line = String::new();
        for (at, width) in &self.columns {
            let Some(row) = ROWS.get(*at) else { continue };
            if !line.is_empty() {
                line.push_str(&" ".repeat(self.gap));
            }
            line.push_str(&cell(row, *width));
        }
        line
    }
}

/// Text of a cell, and what puts its colour around the padded text.
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) paint: Box<dyn Fn(String) -> String>,
}

fn total(columns: &[(usize, usize)], gap: usize) -> usize {
    let gaps = columns.len().saturating_sub(1).saturating_mul(gap);
    columns.iter().fold(gaps, |sum, (_, width)| sum.saturating_add(*width))
}

/// Gives out spare columns one by one, in turn: to texts first, which are cut otherwise; numbers fit themselves in.
fn grow(columns: &mut [(usize, usize)], spare: usize) {
    let left = grow_some(columns, spare, false);
    grow_some(columns, left, true);
}

fn grow_some(columns: &mut [(usize, usize)], mut spare: usize, is_right: bool) -> usize {
    while spare > 0 {
        let before = spare;
        for (at, width) in columns.iter_mut() {
            let can = ROWS.get(*at).is_some_and(|row| row.is_right == is_right && *width < row.max);
            if spare > 0 && can {
                *width = width.saturating_add(1);
                spare = spare.saturating_sub(1);
            }
        }
        if spare == before {
            break;
        }
    }
    spare
}

/// Pads a text to a width, or cuts it and says so with `…`.
pub(in crate::report) fn fit(text: &str, width: usize, is_right: bool) -> String {
    let text = cut(text, width);
    let padding = " ".repeat(width.saturating_sub(text.width()));
    if is_right { format!("{padding}{text}") } else { format!("{text}{padding}") }
}

/// The text, or as much of it as fits with `…` behind it.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fitting = text.chars().map_while(|c| {
        left = left.checked_sub(c.width().unwrap_or(0))?;
        Some(c)
    });
    let mut short: String = fitting.collect();
    if width > 0 {
        short.push('…');
    }
    short
}
