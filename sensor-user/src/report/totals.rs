//! Calls come in; sums by provider, model, key and workload go out.

use std::collections::BTreeMap;

use crate::report::call::CallEvent;
use crate::report::call::Tokens;
use crate::report::words;
use crate::spend::Total;

/// Rows kept of one table; what comes later is summed under [`REST`].
const ROWS_MAX: usize = 1000;
/// Name of the row for what has no row of its own.
pub(super) const REST: &str = "(others)";
/// Name of the row for what is not known.
const UNKNOWN: &str = "(unknown)";

/// Sums of some calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Calls.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Input tokens where known, cached ones included.
    pub input: u64,
    /// Input tokens read from a cache, where known.
    pub cached: u64,
    /// Output tokens where known.
    pub output: u64,
    /// Sum of the amounts that are known.
    pub cost: Total,
    /// Calls whose amount is unknown: they are not in `cost`.
    pub unpriced: u64,
    /// Calls whose amount is estimated.
    pub estimated: u64,
}

/// One table of sums.
#[derive(Clone, Debug, Default)]
pub struct Group(BTreeMap<String, Sums>);

/// All sums since the start.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Over all calls.
    pub all: Sums,
    /// By provider.
    pub providers: Group,
    /// By provider and model.
    pub models: Group,
    /// By hint and fingerprint of the key.
    pub keys: Group,
    /// By container, unit, or user and program.
    pub workloads: Group,
}

impl Totals {
    /// Adds one call.
    pub fn add(&mut self, event: &CallEvent) {
        self.all.add(event);
        let provider = event.call.provider.as_str();
        self.providers.add(provider, event);
        self.models.add(&format!("{} · {provider}", event.model().unwrap_or(UNKNOWN)), event);
        let key =
            event.identity.as_ref().map(|key| format!("{} {}", key.hint, short(&key.fingerprint)));
        self.keys.add(key.as_deref().unwrap_or(UNKNOWN), event);
        self.workloads.add(&workload(event), event);
    }
}

impl Sums {
    fn add(&mut self, event: &CallEvent) {
        let usage = event.added();
        let tokens = usage.map(Tokens::of).unwrap_or_default();
        let more = |sum: &mut u64, count: Option<u64>| {
            *sum = sum.saturating_add(count.unwrap_or_default());
        };
        let flag = |is: bool| Some(u64::from(is));
        more(&mut self.calls, Some(1));
        more(&mut self.errors, flag(event.call.failed()));
        more(&mut self.input, tokens.input);
        more(&mut self.cached, usage.and_then(|usage| usage.cache_read));
        more(&mut self.output, tokens.output);
        more(&mut self.unpriced, flag(event.cost.picodollars.is_none()));
        more(&mut self.estimated, flag(event.cost.basis == crate::spend::Basis::Estimated));
        if let Some(cost) = event.cost.picodollars.and_then(|amount| self.cost.checked_add(amount))
        {
            self.cost = cost;
        }
    }
}

impl Group {
    fn add(&mut self, name: &str, event: &CallEvent) {
        let name = if self.0.len() < ROWS_MAX || self.0.contains_key(name) { name } else { REST };
        self.0.entry(name.to_owned()).or_default().add(event);
    }

    /// Rows, the dearest first.
    pub fn rows(&self) -> Vec<(&str, &Sums)> {
        let mut rows: Vec<_> = self.0.iter().map(|(name, sums)| (name.as_str(), sums)).collect();
        rows.sort_by(|(_, a), (_, b)| b.cost.cmp(&a.cost).then(b.calls.cmp(&a.calls)));
        rows
    }
}

/// First eight characters of a fingerprint: enough to tell keys apart on a screen.
pub(super) fn short(fingerprint: &str) -> &str {
    fingerprint.get(..8).unwrap_or(fingerprint)
}

/// Container or unit where there is one, else the user's program.
fn workload(event: &CallEvent) -> String {
    let Some(workload) = event.process.workload.as_deref() else { return UNKNOWN.to_owned() };
    let program = words::file_name(&workload.executable);
    match (place(event), &workload.user) {
        (Some(place), _) => format!("{program} · {place}"),
        (None, Some(user)) => format!("{program} · {user}"),
        (None, None) => format!("{program} · uid {}", workload.uid),
    }
}

/// Where a process runs: `shop/web-7f9c`, `docker:web`, `docker:3f2a91bc3f2a`, `nginx.service`; `None` for a login session.
pub(super) fn place(event: &CallEvent) -> Option<String> {
    let workload = event.process.workload.as_deref()?;
    if let Some(container) = &workload.container {
        if let Some(pod) = container.pod() {
            return Some(format!("{}/{}", pod.namespace, pod.name));
        }
        let id = container.id.get(..12).unwrap_or(&container.id);
        let name = container.about().and_then(|about| about.name.as_deref()).unwrap_or(id);
        return Some(format!("{}:{name}", container.runtime().unwrap_or("container")));
    }
    let unit = workload.systemd_unit.as_deref()?;
    // Of a user's manager, the unit in it.
    let name = unit.rsplit('/').next().unwrap_or(unit);
    let is_session =
        name.starts_with("session-") || name.starts_with("user@") || name == "init.scope";
    (!is_session).then(|| unit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Event;
    use crate::report::sinks::sample;
    use crate::workload::Workload;

    #[test]
    fn known_amounts_are_added_and_unknown_ones_counted() {
        let mut totals = Totals::default();
        totals.add(&sample::call());
        totals.add(&sample::call());
        if let Event::Call(bare) = sample::bare() {
            totals.add(&bare);
        }
        assert_eq!((totals.all.calls, totals.all.errors, totals.all.unpriced), (3, 1, 1));
        assert_eq!((totals.all.input, totals.all.cached, totals.all.output), (2408, 2048, 624));
        assert_eq!(totals.all.cost.picodollars(), 582_000_000);
        let names = |group: &Group| {
            group.rows().iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&totals.providers), ["openai"]);
        assert_eq!(
            names(&totals.models),
            ["gpt-4o-mini-2024-07-18 · openai", "(unknown) · openai"]
        );
        assert_eq!(names(&totals.keys), ["sk-proj-…a1B2 9f3c2e1a", "(unknown)"]);
        assert_eq!(names(&totals.workloads), ["python3.13 · docker:3f2a91bc3f2a", "(unknown)"]);
    }

    #[test]
    fn call_that_failed_within_its_answer_is_an_error_of_its_own_rows_too() {
        let mut totals = Totals::default();
        let mut event = sample::call();
        totals.add(&event);
        event.call.error_type = Some("overloaded_error".to_owned());
        assert_eq!(event.call.status, Some(200));
        totals.add(&event);
        assert_eq!((totals.all.calls, totals.all.errors), (2, 1));
        for group in [&totals.providers, &totals.models, &totals.keys, &totals.workloads] {
            assert_eq!(group.rows()[0].1.errors, 1);
        }
    }

    #[test]
    fn figures_that_were_counted_before_are_in_no_sum() {
        let mut totals = Totals::default();
        let mut event = sample::call();
        totals.add(&event);
        event.call.repeated = true;
        event.cost = crate::spend::Cost::reported(0);
        totals.add(&event);
        let all = totals.all;
        assert_eq!((all.calls, all.input, all.cached, all.output), (2, 1204, 1024, 312));
        assert_eq!((all.cost.picodollars(), all.unpriced), (291_000_000, 0));
    }

    #[test]
    fn unit_of_a_user_is_a_place_and_a_session_is_none() {
        let mut event = sample::call();
        let workload = event.process.workload.take().unwrap();
        for (unit, place_of) in [
            ("user@1000.service/app.service", Some("user@1000.service/app.service")),
            ("user@1000.service/init.scope", None),
            ("user@1000.service", None),
            ("session-3.scope", None),
        ] {
            let mut workload = Workload::clone(&workload);
            (workload.container, workload.systemd_unit) = (None, Some(unit.to_owned()));
            event.process.workload = Some(workload.into());
            assert_eq!(place(&event).as_deref(), place_of, "{unit}");
        }
    }

    #[test]
    fn rows_are_bounded() {
        let mut totals = Totals::default();
        let mut event = sample::call();
        for number in 0..ROWS_MAX + 10 {
            event.call.response_model = Some(format!("model-{number}"));
            totals.add(&event);
        }
        let rows = totals.models.rows();
        assert_eq!(rows.len(), ROWS_MAX + 1);
        assert_eq!(rows.iter().find(|(name, _)| *name == REST).unwrap().1.calls, 10);
        assert_eq!(rows.iter().map(|(_, sums)| sums.calls).sum::<u64>(), totals.all.calls);
    }
}
