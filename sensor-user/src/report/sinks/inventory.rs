//! Calls and blind connections come in; once a second, what is new of them goes into the inventory on disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use jiff::Timestamp;

use crate::provider::catalogue::Category;
use crate::report::CallEvent;
use crate::report::Error;
use crate::report::Event;
use crate::report::Metrics;
use crate::report::Sink;
use crate::report::call::Tokens;
use crate::report::coverage::Coverage;
use crate::report::coverage::Provider;
use crate::report::coverage::Scope;
use crate::report::event::Connection;
use crate::report::event::Process;
use crate::report::event::Seen;
use crate::report::words;
use crate::spend::Basis;
use crate::store;
use crate::store::Entry;
use crate::store::Figures;
use crate::store::OTHERS;
use crate::store::Store;
use crate::store::Use;
use crate::workload::Container;

/// Time between two writes.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Time after a write that failed (a full disk) until the next try.
const RETRY_AFTER: Duration = Duration::from_secs(15);
/// Uses that wait for the disk; what is new beyond them is summed.
const PENDING_MAX: usize = 10_000;
/// Time between two looks for what is too old.
const FORGET_EVERY: Duration = Duration::from_hours(1);
const SECONDS_PER_DAY: i64 = 86_400;
/// Pico-dollars in a millionth of a dollar.
const PICO_PER_MICRO: u64 = 1_000_000;

/// Keeps the inventory; a disk that fails costs nothing but time: what waits is written when it works again.
#[derive(Debug)]
pub struct Inventory {
    store: Store,
    metrics: Arc<Metrics>,
    pending: BTreeMap<Use, Figures>,
    due: Instant,
    forget_due: Instant,
    retention_days: u32,
    failures: u64,
    folded: u64,
    refused: u64,
}

impl Inventory {
    /// Writes to `store`; what goes wrong is counted in `metrics`.
    pub fn new(store: Store, config: &store::Config, metrics: Arc<Metrics>) -> Self {
        let now = Instant::now();
        Self {
            store,
            metrics,
            pending: BTreeMap::new(),
            due: now,
            forget_due: now,
            retention_days: config.retention_days,
            failures: 0,
            folded: 0,
            refused: 0,
        }
    }

    fn note(&mut self, mut used: Use, figures: &Figures) {
        if self.pending.len() >= PENDING_MAX && !self.pending.contains_key(&used) {
            self.folded = self.folded.saturating_add(1);
            self.metrics.set_stage_event("store", "folded", self.folded);
            let provider = used.provider.clone();
            used = Use { provider, model: OTHERS.to_owned(), ..Use::default() };
        }
        self.pending.entry(used).or_default().add(figures);
    }

    fn write(&mut self, now: Instant) {
        if self.pending.is_empty() {
            return;
        }
        let rows: Vec<_> = self
            .pending
            .iter()
            .map(|(used, figures)| Entry {
                used: used.clone(),
                figures: figures.clone(),
                ..Entry::default()
            })
            .collect();
        match self.store.add(&rows) {
            Ok(refused) => {
                self.pending.clear();
                self.refused(refused);
                self.due = later(now, WRITE_EVERY);
            }
            Err(error) => {
                self.failed(&error);
                self.due = later(now, RETRY_AFTER);
            }
        }
    }

    fn refused(&mut self, rows: u64) {
        if rows == 0 {
            return;
        }
        self.refused = self.refused.saturating_add(rows);
        self.metrics.set_stage_event("store", "row_refused", self.refused);
        tracing::debug!(rows, "inventory refuses rows");
    }

    fn failed(&mut self, error: &store::Error) {
        self.failures = self.failures.saturating_add(1);
        self.metrics.set_stage_event("store", "write_failed", self.failures);
        if self.failures.is_power_of_two() {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(%error, cause, waiting = self.pending.len(), "inventory waits for its disk");
        }
    }

    fn forget(&mut self, now: Instant) {
        self.forget_due = later(now, FORGET_EVERY);
        let keep = i64::from(self.retention_days).saturating_mul(SECONDS_PER_DAY);
        if let Err(error) = self.store.forget(Timestamp::now().as_second(), keep) {
            self.failed(&error);
        }
    }
}

impl Sink for Inventory {
    fn take(&mut self, event: &Event) -> Result<(), Error> {
        match event {
            Event::Call(call) => {
                let (used, figures) = of_call(call);
                self.note(used, &figures);
            }
            // A name that proves nothing is no use of anything.
            Event::Connection(connection)
                if connection.seen == Seen::Complete
                    && Provider::counts(connection.provider.as_ref()) =>
            {
                let (used, figures) = of_connection(connection);
                self.note(used, &figures);
            }
            Event::Coverage(coverage) if Provider::counts(coverage.provider.as_ref()) => {
                let (used, figures) = of_coverage(coverage);
                self.note(used, &figures);
            }
            _ => {}
        }
        Ok(())
    }

    fn totals(&mut self) -> Result<(), Error> {
        self.write(Instant::now());
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if now >= self.due {
            self.write(now);
        }
        if now >= self.forget_due {
            self.forget(now);
        }
        Ok(())
    }
}

fn later(now: Instant, pause: Duration) -> Instant {
    now.checked_add(pause).unwrap_or(now)
}

fn of_call(event: &CallEvent) -> (Use, Figures) {
    let call = &event.call;
    let host = Some(&call.server_address).filter(|host| !host.is_empty());
    let mut used = Use {
        provider: call.provider.clone(),
        category: call.category.map(Category::as_str).unwrap_or_default().to_owned(),
        host: host.or(event.server.name.as_ref()).cloned().unwrap_or_default(),
        model: event.model().unwrap_or_default().to_owned(),
        ..Use::default()
    };
    who(&mut used, &event.process);
    if let Some(identity) = &event.identity {
        used.credential.clone_from(&identity.fingerprint);
        used.credential_hint.clone_from(&identity.hint);
    }
    let tokens = event.added().map(Tokens::of).unwrap_or_default();
    let at = event.time.as_second();
    let mut figures = Figures {
        first_seen: at,
        last_seen: at,
        calls: 1,
        errors: u64::from(call.failed()),
        input_tokens: tokens.input.unwrap_or(0),
        output_tokens: tokens.output.unwrap_or(0),
        unpriced: u64::from(event.cost.picodollars.is_none()),
        estimated: u64::from(event.cost.basis == Basis::Estimated),
        truncated: u64::from(!call.complete),
        decision: event
            .decision
            .as_ref()
            .map(|decision| decision.ruling.effect.as_str().to_owned())
            .unwrap_or_default(),
        ..Figures::default()
    };
    figures.add_amount(event.cost.picodollars.unwrap_or(0));
    (used, figures)
}

fn of_connection(connection: &Connection) -> (Use, Figures) {
    let mut used = at(connection.server.name.as_deref(), connection.provider.as_ref());
    who(&mut used, &connection.process);
    let at = connection.time.as_second();
    (used, Figures { first_seen: at, last_seen: at, whole: 1, ..Figures::default() })
}

fn of_coverage(coverage: &Coverage) -> (Use, Figures) {
    let mut used = at(coverage.server.name.as_deref(), coverage.provider.as_ref());
    who(&mut used, &coverage.process);
    let at = coverage.time.as_second();
    // A blind process has a row; its connections are counted when they end.
    let is = |seen| u64::from(coverage.scope == Scope::Connection && coverage.seen == seen);
    let estimate = coverage.estimate.as_ref();
    let tokens = estimate.map(|estimate| estimate.tokens).unwrap_or_default();
    let amount = estimate.and_then(|estimate| estimate.cost.picodollars).unwrap_or(0);
    // Rounded up: a known amount must not become none.
    let micros = u64::try_from(amount).unwrap_or(0).div_ceil(PICO_PER_MICRO);
    let figures = Figures {
        first_seen: at,
        last_seen: at,
        opaque: is(Seen::Blind),
        partial: is(Seen::Truncated),
        missing_bytes: coverage.missing.map_or(0, |missing| missing.bytes),
        opaque_tokens: tokens.input.saturating_add(tokens.output),
        opaque_microdollars: micros,
        ..Figures::default()
    };
    (used, figures)
}

fn at(host: Option<&str>, provider: Option<&Provider>) -> Use {
    Use {
        provider: provider.map(|provider| provider.name.clone()).unwrap_or_default(),
        category: provider.map(|provider| provider.category.to_owned()).unwrap_or_default(),
        host: host.unwrap_or_default().to_owned(),
        ..Use::default()
    }
}

fn who(used: &mut Use, process: &Process) {
    let Some(workload) = process.workload.as_deref() else { return };
    words::file_name(&workload.executable).clone_into(&mut used.program);
    workload.user_name().clone_into(&mut used.user);
    used.place = workload
        .container
        .as_ref()
        .map_or_else(|| workload.systemd_unit.clone().unwrap_or_default(), place);
}

/// A use is the workload's, not that of one of its pods: of a pod that will have another name tomorrow, namespace and
/// container stay.
fn place(container: &Container) -> String {
    let Some(about) = container.about() else { return container.id.clone() };
    let name = about.name.as_deref();
    match &about.pod {
        Some(pod) => format!("{}/{}", pod.namespace, name.unwrap_or(&pod.name)),
        None => {
            name.map_or_else(|| container.id.clone(), |name| format!("{}:{name}", about.runtime))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Attribute;
    use crate::policy::Fact;
    use crate::policy::Facts;
    use crate::policy::Given;
    use crate::report::coverage::Estimate;
    use crate::report::inventory::given;
    use crate::report::sinks::sample;

    fn inventory(folder: &std::path::Path) -> Inventory {
        let store = Store::open(folder).unwrap();
        let metrics = Arc::new(Metrics::new(10).unwrap());
        Inventory::new(store, &store::Config::default(), metrics)
    }

    #[test]
    fn calls_of_one_use_are_one_row_with_exact_sums() {
        let folder = tempfile::tempdir().unwrap();
        let mut inventory = inventory(folder.path());
        for _ in 0..3 {
            inventory.take(&Event::Call(Box::new(sample::call()))).unwrap();
        }
        inventory.totals().unwrap();
        let entries = Store::open_to_read(folder.path()).unwrap().entries(0).unwrap();
        let [entry] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!(entry.used.program, "python3.13");
        assert_eq!((entry.used.user.as_str(), entry.figures.calls), ("ana", 3));
        assert_eq!(entry.figures.amount(), 873_000_000);
        assert!(entry.used.place.starts_with("3f2a91bc"));
        let mut rows = Vec::new();
        crate::report::inventory::csv(&entries, &mut rows).unwrap();
        sample::compare(
            "inventory.csv",
            include_str!("../../../../tests/golden/inventory.csv"),
            &String::from_utf8(rows).unwrap(),
        );
    }

    #[test]
    fn call_that_failed_within_its_answer_is_an_error() {
        let mut event = sample::call();
        assert_eq!(of_call(&event).1.errors, 0);
        event.call.error_type = Some("overloaded_error".to_owned());
        assert_eq!((event.call.status, of_call(&event).1.errors), (Some(200), 1));
    }

    #[test]
    fn user_without_a_name_is_judged_live_recorded_and_as_a_row_alike() {
        let mut event = sample::call();
        let mut workload = event.process.workload.as_deref().cloned().unwrap();
        (workload.user, workload.uid) = (None, "65532".to_owned());
        event.process.workload = Some(workload.into());
        let mut live = Facts::default();
        live.set_workload(event.process.workload.as_deref().unwrap());
        let recorded = Given::of_event(&serde_json::from_str(&event.line("host")).unwrap());
        let (used, figures) = of_call(&event);
        let row = given(&Entry { used, figures, ..Entry::default() });
        for facts in [live, recorded.facts(), row.facts()] {
            assert_eq!(facts.text(Attribute::User), Fact::Known("65532"));
        }
    }

    #[test]
    fn name_of_a_host_with_other_traffic_is_no_row() {
        let folder = tempfile::tempdir().unwrap();
        let mut inventory = inventory(folder.path());
        for (presumed, rows) in [(true, 0), (false, 1)] {
            let mut coverage = sample::truncated();
            coverage.provider.as_mut().unwrap().presumed = presumed;
            inventory.take(&Event::Coverage(Box::new(coverage))).unwrap();
            assert_eq!(inventory.pending.len(), rows, "{presumed}");
        }
    }

    #[test]
    fn estimate_below_a_millionth_of_a_dollar_is_known() {
        for (picodollars, micros) in [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2)] {
            let tokens = crate::spend::Tokens { input: 1, output: 0 };
            let cost = crate::spend::Cost::reported(picodollars);
            let estimate = Estimate { tokens, model: None, cost };
            let coverage = Coverage { estimate: Some(estimate), ..sample::truncated() };
            assert_eq!(of_coverage(&coverage).1.opaque_microdollars, micros, "{picodollars}");
        }
    }

    #[test]
    fn disk_that_fails_loses_nothing_and_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut inventory = inventory(folder.path());
        inventory.store = Store::open_to_read(folder.path()).unwrap();
        inventory.take(&Event::Call(Box::new(sample::call()))).unwrap();
        inventory.totals().unwrap();
        assert_eq!((inventory.failures, inventory.pending.len()), (1, 1));
        assert!(inventory.due > Instant::now(), "the next try is not at once");
        inventory.store = Store::open(folder.path()).unwrap();
        inventory.totals().unwrap();
        assert!(inventory.pending.is_empty());
        assert_eq!(inventory.store.entries(0).unwrap()[0].figures.calls, 1);
    }

    #[test]
    fn what_waits_for_the_disk_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut inventory = inventory(folder.path());
        for number in 0..=PENDING_MAX {
            let used = Use { model: number.to_string(), ..Use::default() };
            inventory.note(used, &Figures { calls: 1, ..Figures::default() });
        }
        assert_eq!(inventory.pending.len(), PENDING_MAX.saturating_add(1));
        assert_eq!(inventory.folded, 1);
        let calls: u64 = inventory.pending.values().map(|figures| figures.calls).sum();
        assert_eq!(usize::try_from(calls).unwrap(), PENDING_MAX.saturating_add(1));
    }
}
