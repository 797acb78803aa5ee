//! Rows of the inventory come in; sums by service, tool, person, key and model go out, dearest first.

use std::collections::BTreeMap;

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
    let mut groups: BTreeMap<String, (Sum, Vec<&str>)> = BTreeMap::new();
    for entry in entries {
        let name = escape::plain(&name(entry)).into_owned();
        let approved = entry.approved.as_str();
        let (sum, users) = groups.entry(name.clone()).or_insert_with(|| {
            (Sum { name, approved, listed: true, ..Sum::default() }, Vec::new())
        });
        if sum.approved != approved {
            sum.approved = PARTLY;
        }
        sum.figures.add(&entry.figures);
        sum.listed &= super::is_listed(entry);
        users.push(&entry.used.user);
    }
    let mut sums: Vec<_> = groups
        .into_values()
        .map(|(mut sum, mut users)| {
            users.sort_unstable();
            users.dedup();
            sum.users = users.len();
            sum
        })
        .collect();
    sums.sort_by(|one, other| {
        let order = |sum: &Sum| (sum.figures.amount(), sum.figures.calls);
        order(other).cmp(&order(one)).then_with(|| one.name.cmp(&other.name))
    });
    sums
}
