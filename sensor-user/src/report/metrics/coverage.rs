//! Verdicts about connections to AI providers come in; how many there were, the share that was seen whole, and what is missing go out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::HashMap;

use prometheus::Error;
use prometheus::GaugeVec;
use prometheus::IntCounterVec;
use serde::Deserialize;
use serde::Serialize;

use super::Metrics;
use super::calls::Dollars;
use super::labels::Bounded;
use super::labels::OTHER;
use super::locked;
use super::registry::Registrar;
use crate::report::coverage::Coverage;
use crate::report::coverage::Estimate;
use crate::report::coverage::Provider;
use crate::report::coverage::Scope;
use crate::report::event::Connection;
use crate::report::event::Seen;

/// Connections whose provider is not known are counted under no name.
const NO_PROVIDER: &str = "";

/// Metrics of coverage, and the sums that ratios are made of.
#[derive(Debug)]
pub(super) struct CoverageMetrics {
    providers: Bounded,
    connections: IntCounterVec,
    missing: IntCounterVec,
    ratio: GaugeVec,
    provider_ratio: GaugeVec,
    tokens: IntCounterVec,
    cost: Dollars,
    covered: Covered,
    share: Share,
    by_provider: HashMap<String, Share>,
}

/// What has been counted of connections that are over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Covered {
    /// Connections by how much was seen.
    pub seen: BTreeMap<String, u64>,
    /// Connections that were not seen whole, by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Bytes of plaintext known to be missing.
    pub missing_bytes: u64,
    /// Tokens that blind connections may have carried.
    pub estimated_tokens: u64,
    /// What they may have cost, in pico-dollars.
    pub estimated_picodollars: i64,
}

impl CoverageMetrics {
    pub(super) fn new(r: &mut Registrar, values_max: usize) -> Result<Self, Error> {
        Ok(Self {
            providers: Bounded::new(values_max),
            connections: r.counter(
                "tollgate_capture_connections_total",
                "Connections to AI providers, by how much of their plaintext was seen and why not all.",
                &["coverage", "reason"],
            )?,
            missing: r.counter(
                "tollgate_coverage_missing_bytes_total",
                "Plaintext bytes of ended connections that were not seen, exactly or at most so many.",
                &["bound"],
            )?,
            ratio: r.ratio(
                "tollgate_coverage_ratio",
                "Share of ended connections to AI providers whose plaintext was seen whole, since the start.",
                &[],
            )?,
            provider_ratio: r.ratio(
                "tollgate_coverage_provider_ratio",
                "The same share for one provider; without a name for connections whose host is not known.",
                &["provider"],
            )?,
            tokens: r.counter(
                "tollgate_coverage_estimated_tokens_total",
                "Tokens that connections nobody could read may have carried, estimated from bytes and packets.",
                &["provider", "class"],
            )?,
            cost: Dollars::new(r.amount(
                "tollgate_coverage_estimated_cost_usd_total",
                "US dollars that they may have cost, where a model of the provider was seen used; in no other sum.",
                &["provider"],
            )?),
            covered: Covered::default(),
            share: Share::default(),
            by_provider: HashMap::new(),
        })
    }

    /// Counts a connection that was seen whole; any other has a verdict of its own.
    pub(super) fn connection(&mut self, connection: &Connection) {
        if connection.seen == Seen::Complete && Provider::counts(connection.provider.as_ref()) {
            self.count(Seen::Complete, "", connection.provider.as_ref());
        }
    }

    /// Counts a connection that was not seen whole.
    pub(super) fn verdict(&mut self, coverage: &Coverage) {
        if coverage.scope == Scope::Process || !Provider::counts(coverage.provider.as_ref()) {
            return;
        }
        let provider = self.count(coverage.seen, coverage.reason, coverage.provider.as_ref());
        if let Some(missing) = coverage.missing {
            let bound = if missing.exact { "exact" } else { "at_most" };
            self.missing.with_label_values(&[bound]).inc_by(missing.bytes);
            let sum = &mut self.covered.missing_bytes;
            *sum = sum.saturating_add(missing.bytes);
        }
        if let Some(estimate) = &coverage.estimate {
            self.estimate(&provider, estimate);
        }
    }

    fn estimate(&mut self, provider: &str, estimate: &Estimate) {
        let tokens = estimate.tokens;
        for (class, count) in [("input", tokens.input), ("output", tokens.output)] {
            self.tokens.with_label_values(&[provider, class]).inc_by(count);
            let sum = &mut self.covered.estimated_tokens;
            *sum = sum.saturating_add(count);
        }
        if let Some(amount) = estimate.cost.picodollars {
            self.cost.add(&[provider], amount);
            let sum = &mut self.covered.estimated_picodollars;
            *sum = sum.saturating_add(amount);
        }
    }

    /// Counts a verdict; gives back the provider's label.
    fn count(&mut self, seen: Seen, reason: &'static str, provider: Option<&Provider>) -> String {
        self.connections.with_label_values(&[seen.as_str(), reason]).inc();
        let name = provider.map_or(NO_PROVIDER, |provider| &provider.name);
        let name = self.providers.admit(name).map_or(OTHER.to_owned(), Cow::into_owned);
        let whole = seen == Seen::Complete;
        self.share.add(whole);
        self.ratio.with_label_values::<&str>(&[]).set(self.share.ratio());
        let share = self.by_provider.entry(name.clone()).or_default();
        share.add(whole);
        self.provider_ratio.with_label_values(&[&name]).set(share.ratio());
        let sum = self.covered.seen.entry(seen.as_str().to_owned()).or_default();
        *sum = sum.saturating_add(1);
        if !reason.is_empty() {
            let sum = self.covered.reasons.entry(reason.to_owned()).or_default();
            *sum = sum.saturating_add(1);
        }
        name
    }
}

/// Connections seen whole, and all of them.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    whole: u32,
    all: u32,
}

impl Share {
    fn add(&mut self, whole: bool) {
        self.whole = self.whole.saturating_add(u32::from(whole));
        self.all = self.all.saturating_add(1);
    }

    fn ratio(self) -> f64 {
        f64::from(self.whole) / f64::from(self.all.max(1))
    }
}

impl Metrics {
    /// What has been counted of connections to AI providers that have ended.
    pub fn covered(&self) -> Covered {
        locked(&self.coverage).covered.clone()
    }
}
