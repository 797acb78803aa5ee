//! Rows of the inventory come in; sums by service, tool, person, key and model go out, dearest first.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::report::escape;
use crate::store::Entry;
use crate::store::Figures;

/// What stands for different answers.
const PARTLY: &str = "partly";
/// Name of what is not known.
const UNKNOWN: &str = "(unknown)";

/// A sum and what it is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) name: String,
    pub(super) figures: Figures,
    /// Different users behind it.
    pub(super) users: usize,
    /// Whether all of it stands in the catalogue.
    pub(super) listed: bool,
    /// Whether policies approve of it; `partly` where not of all.
    pub(super) approved: &'static str,
}

/// Sums over all rows, by what a reader asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub(super) all: Figures,
    pub(super) providers: Vec<Sum>,
    pub(super) programs: Vec<Sum>,
    pub(super) users: Vec<Sum>,
    pub(super) models: Vec<Sum>,
    pub(super) keys: Vec<Sum>,
}

impl Sums {
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut all = Figures::default();
        for entry in entries {
            all.add(&entry.figures);
        }
        let (every, calls) = (entries.iter().collect::<Vec<_>>(), read(entries));
        Self {
            all,
            providers: group(&every, |entry| match entry.used.provider.as_str() {
                "" => format!("{} (not read)", known(&entry.used.host)),
                "unlisted" => format!("{} (unlisted)", known(&entry.used.host)),
                provider => provider.to_owned(),
            }),
            programs: group(&every, |entry| known(&entry.used.program).to_owned()),
            users: group(&every, |entry| known(&entry.used.user).to_owned()),
            models: group(&calls, |entry| known(&entry.used.model).to_owned()),
            keys: group(&calls, |entry| {
                let digits = entry.used.credential.get(..8).unwrap_or_default();
                format!("{} {digits}", known(&entry.used.credential_hint)).trim_end().to_owned()
            }),
        }
    }
}

fn known(text: &str) -> &str {
    if text.is_empty() { UNKNOWN } else { text }
}

/// Rows of calls: rows of connections name no model and no key.
fn read(entries: &[Entry]) -> Vec<&Entry> {
    entries.iter().filter(|entry| entry.figures.calls > 0).collect()
}

fn group(entries: &[&Entry], name: impl Fn(&Entry) -> String) -> Vec<Sum> {
    let mut groups: BTreeMap<String, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        groups.entry(escape::plain(&name(entry)).into_owned()).or_default().push(entry);
    }
    let mut sums: Vec<_> = groups.into_iter().map(|(name, rows)| sum(name, &rows)).collect();
    sums.sort_by(|one, other| {
        let order = |sum: &Sum| (sum.figures.amount(), sum.figures.calls);
        order(other).cmp(&order(one)).then_with(|| one.name.cmp(&other.name))
    });
    sums
}

fn sum(name: String, rows: &[&Entry]) -> Sum {
    let mut figures = Figures::default();
    for entry in rows {
        figures.add(&entry.figures);
    }
    let users: BTreeSet<_> = rows.iter().map(|entry| entry.used.user.as_str()).collect();
    let listed = rows.iter().all(|entry| super::is_listed(entry));
    let used = rows.iter().filter(|entry| !is_carrier(&entry.figures));
    let approved = agreed(used).or_else(|| agreed(rows.iter())).unwrap_or_default();
    Sum { name, figures, users: users.len(), listed, approved }
}

/// Whether a row only counts connections that were seen whole: of what they carried other rows tell.
fn is_carrier(figures: &Figures) -> bool {
    figures.whole > 0 && figures.opaque == 0 && figures.calls == 0
}

/// What holds of all rows; nothing where there are none.
fn agreed<'a>(mut rows: impl Iterator<Item = &'a &'a Entry>) -> Option<&'static str> {
    let first = rows.next()?.approved;
    let is_one = rows.all(|entry| entry.approved == first);
    Some(if is_one { first.as_str() } else { PARTLY })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Approved;

    #[test]
    fn connections_seen_whole_do_not_make_a_service_partly_approved() {
        let row = |calls, whole, approved| Entry {
            figures: Figures { calls, whole, ..Figures::default() },
            approved,
            ..Entry::default()
        };
        let (call, other) = (row(1, 0, Approved::Yes), row(1, 0, Approved::No));
        let whole = row(0, 3, Approved::Unknown);
        let cases = [
            (vec![&whole, &call], "yes"),
            (vec![&call, &whole], "yes"),
            (vec![&call, &whole, &other], PARTLY),
            (vec![&whole], "unknown"),
        ];
        for (rows, expected) in cases {
            let sums = group(&rows, |_entry| "openai".to_owned());
            let [sum] = sums.as_slice() else { panic!("{sums:?}") };
            assert_eq!(sum.approved, expected);
            assert_eq!(sum.figures.whole, if rows.contains(&&whole) { 3 } else { 0 });
        }
    }
}
