//! Rows of the inventory come in; one page without anything from outside goes out.

use askama::Template;

use super::sums::Sum;
use super::sums::Sums;
use super::text;
use crate::report::Error;
use crate::report::sinks::terminal::numbers;
use crate::store::Entry;

/// Rows of the detail table; the CSV form has all of them.
const ROWS_SHOWN: usize = 500;

#[derive(Template)]
#[template(path = "inventory.html")]
struct Page {
    host: String,
    made: String,
    cards: Vec<(&'static str, String, &'static str)>,
    groups: Vec<Group>,
    rows: Vec<[String; 12]>,
    more: usize,
}

struct Group {
    title: &'static str,
    rows: Vec<Bar>,
}

/// A row with a bar whose length is its share of the largest.
struct Bar {
    name: String,
    percent: u64,
    calls: String,
    opaque: String,
    whole: String,
    users: usize,
    cost: String,
    since: String,
    last: String,
    listed: bool,
    approved: &'static str,
}

/// The report as one HTML page; `host` and `made` (a time) stand in its head.
pub fn html(entries: &[Entry], host: &str, made: &str) -> Result<String, Error> {
    let sums = Sums::of(entries);
    let unlisted = sums.providers.iter().filter(|sum| !sum.listed).count();
    let cards = vec![
        ("services", sums.providers.len().to_string(), "in use"),
        ("not in the catalogue", unlisted.to_string(), "unlisted or unread hosts"),
        ("tools", sums.programs.len().to_string(), "programs that call AI"),
        ("people and accounts", sums.users.len().to_string(), "behind them"),
        ("keys", sums.keys.len().to_string(), "credentials seen"),
        ("calls", numbers::grouped(sums.all.calls), "read in plaintext"),
        ("seen whole", text::percent(&sums.all), "of connections to AI"),
        ("opaque", numbers::grouped(sums.all.opaque), "connections nobody could read"),
        ("in the opaque", numbers::grouped(sums.all.opaque_tokens), "tokens, estimated from bytes"),
        ("cost", text::cost(&sums.all), "at list prices"),
    ];
    let groups = vec![
        group("Services", &sums.providers),
        group("Tools", &sums.programs),
        group("People and accounts", &sums.users),
        group("Models", &sums.models),
        group("Keys", &sums.keys),
    ];
    let page = Page {
        host: host.to_owned(),
        made: made.to_owned(),
        cards,
        groups,
        rows: entries.iter().take(ROWS_SHOWN).map(row).collect(),
        more: entries.len().saturating_sub(ROWS_SHOWN),
    };
    page.render().map_err(|error| Error::Render(error.to_string()))
}

fn group(title: &'static str, sums: &[Sum]) -> Group {
    let weight = |sum: &Sum| {
        let amount = u64::try_from(sum.figures.amount()).unwrap_or(u64::MAX);
        // Where nothing has a price, calls decide.
        (amount, sum.figures.calls.saturating_add(sum.figures.opaque))
    };
    let largest = sums.iter().map(weight).max().unwrap_or_default();
    let share = |sum: &Sum| {
        let (part, whole) = match largest {
            (0, calls) => (weight(sum).1, calls),
            (amount, _) => (weight(sum).0, amount),
        };
        let percent = u128::from(part).saturating_mul(100).checked_div(u128::from(whole));
        percent.and_then(|percent| u64::try_from(percent).ok()).unwrap_or(0)
    };
    let rows = sums
        .iter()
        .take(25)
        .map(|sum| Bar {
            name: sum.name.clone(),
            percent: share(sum).max(1),
            calls: numbers::grouped(sum.figures.calls),
            opaque: numbers::grouped(sum.figures.opaque),
            whole: text::percent(&sum.figures),
            users: sum.users,
            cost: text::cost(&sum.figures),
            since: text::day(sum.figures.first_seen),
            last: text::day(sum.figures.last_seen),
            listed: sum.listed,
            approved: sum.approved,
        })
        .collect();
    Group { title, rows }
}

fn row(entry: &Entry) -> [String; 12] {
    let (used, figures) = (&entry.used, &entry.figures);
    let seen = match (figures.calls, figures.opaque) {
        (0, _) if figures.whole > 0 || figures.partial > 0 => "connections",
        (0, _) => "opaque",
        (_, 0) if figures.truncated == 0 => "plaintext",
        _ => "partly",
    };
    [
        used.provider.clone(),
        used.host.clone(),
        used.model.clone(),
        used.program.clone(),
        used.user.clone(),
        used.place.chars().take(24).collect(),
        used.credential_hint.clone(),
        numbers::grouped(figures.calls),
        text::cost(figures),
        seen.to_owned(),
        entry.approved.as_str().to_owned(),
        text::day(figures.last_seen),
    ]
    .map(|cell| crate::report::escape::plain(&cell).into_owned())
}
