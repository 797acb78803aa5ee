//! Calls come in; counters of calls, tokens, dollars and times go out.

use std::collections::HashMap;

use prometheus::CounterVec;
use prometheus::Error;
use prometheus::HistogramVec;
use prometheus::IntCounterVec;

use crate::report::call::CallEvent;
use crate::report::call::Tokens;
use crate::report::metrics::labels::Bounded;
use crate::report::metrics::labels::OTHER;
use crate::report::metrics::registry::Registrar;
use crate::report::words;

/// Pico-dollars in a dollar.
const PICO_PER_DOLLAR: f64 = 1e12;

/// Seconds a call takes: from a moderation to a long reasoning.
const DURATION_BUCKETS: [f64; 13] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 600.0];
/// Seconds to the first token.
const FIRST_TOKEN_BUCKETS: [f64; 11] = [0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0, 8.0, 20.0, 60.0];

/// Metrics of calls, and the label values admitted so far.
#[derive(Debug)]
pub(super) struct CallMetrics {
    providers: Bounded,
    models: Bounded,
    fingerprints: Bounded,
    ended: Ended,
    bindings: IntCounterVec,
    tokens: IntCounterVec,
    unknown_usage: IntCounterVec,
    cost: Dollars,
    priced: IntCounterVec,
    unpriced: IntCounterVec,
    times: Times,
    credentials: IntCounterVec,
    credential_cost: Dollars,
    unattributed: IntCounterVec,
    folded: IntCounterVec,
}

/// Calls that have ended.
#[derive(Debug)]
struct Ended {
    all: IntCounterVec,
    failed: IntCounterVec,
    retries: IntCounterVec,
}

impl Ended {
    fn new(r: &mut Registrar) -> Result<Self, Error> {
        Ok(Self {
            all: r.counter(
                "tollgate_provider_calls_total",
                "Calls to AI providers that have ended.",
                &["provider", "operation", "model", "status", "coverage"],
            )?,
            failed: r.counter(
                "tollgate_provider_failed_calls_total",
                "Calls that failed: refused, unanswered, or with an error within an answer that had begun with 2xx.",
                &["provider", "status"],
            )?,
            retries: r.counter(
                "tollgate_provider_retries_total",
                "Calls that said of themselves that they repeat a failed one.",
                &["provider"],
            )?,
        })
    }
}

/// How long calls take.
#[derive(Debug)]
struct Times {
    duration: HistogramVec,
    first_token: HistogramVec,
}

impl Times {
    fn new(r: &mut Registrar) -> Result<Self, Error> {
        Ok(Self {
            duration: r.seconds(
                "tollgate_provider_call_duration_seconds",
                "First byte of the request to last byte of the response.",
                &["provider", "operation"],
                &DURATION_BUCKETS,
            )?,
            first_token: r.seconds(
                "tollgate_provider_first_token_seconds",
                "First byte of the request to first token of a streamed answer.",
                &["provider"],
                &FIRST_TOKEN_BUCKETS,
            )?,
        })
    }
}

/// Sums of dollars. The exact sum is kept in pico-dollars: adding small floating-point amounts would drift.
#[derive(Debug)]
pub(super) struct Dollars {
    counter: CounterVec,
    sums: HashMap<Vec<String>, i128>,
}

impl Dollars {
    pub(super) fn new(counter: CounterVec) -> Self {
        Self { counter, sums: HashMap::new() }
    }

    pub(super) fn add(&mut self, labels: &[&str], picodollars: i64) {
        let sum =
            self.sums.entry(labels.iter().map(|label| (*label).to_owned()).collect()).or_default();
        *sum = sum.saturating_add(i128::from(picodollars));
        let counter = self.counter.with_label_values(labels);
        let more = to_f64(*sum) / PICO_PER_DOLLAR - counter.get();
        // A refund cannot be shown by a counter; it waits until it is made up for.
        if more > 0.0 {
            counter.inc_by(more);
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a metric is a 64-bit float; the exact sum is kept beside it"
)]
fn to_f64(picodollars: i128) -> f64 {
    picodollars as f64
}

/// Seconds as Prometheus wants them.
fn seconds(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64()
}

impl CallMetrics {
    /// `values_max` bounds each label whose values come from outside; of models it bounds pairs with the provider.
    pub(super) fn new(r: &mut Registrar, values_max: usize) -> Result<Self, Error> {
        Ok(Self {
            providers: Bounded::new(values_max),
            models: Bounded::new(values_max),
            fingerprints: Bounded::new(values_max),
            ended: Ended::new(r)?,
            bindings: r.counter(
                "tollgate_capture_bindings_total",
                "Calls by how their TLS object was bound to its socket.",
                &["method"],
            )?,
            tokens: r.counter(
                "tollgate_provider_tokens_total",
                "Tokens that providers reported, in disjoint classes.",
                &["provider", "model", "class"],
            )?,
            unknown_usage: r.counter(
                "tollgate_provider_unknown_usage_calls_total",
                "Calls answered with 2xx whose token counts are missing, or only lower bounds.",
                &["provider", "quality"],
            )?,
            cost: Dollars::new(r.amount(
                "tollgate_spend_cost_usd_total",
                "US dollars that calls cost, where it is known, by how the amount was found.",
                &["provider", "model", "basis"],
            )?),
            priced: r.counter(
                "tollgate_spend_calls_total",
                "Calls by how their amount was found; without an amount it is `unknown`.",
                &["provider", "basis"],
            )?,
            unpriced: r.counter(
                "tollgate_spend_inexact_calls_total",
                "Calls whose amount is unknown or estimated, by reason.",
                &["provider", "basis", "reason"],
            )?,
            times: Times::new(r)?,
            credentials: r.counter(
                "tollgate_credential_calls_total",
                "Calls by fingerprint and kind of their key.",
                &["fingerprint", "kind"],
            )?,
            credential_cost: Dollars::new(r.amount(
                "tollgate_credential_cost_usd_total",
                "US dollars that calls with this key cost, where it is known.",
                &["fingerprint"],
            )?),
            unattributed: r.counter(
                "tollgate_workload_unattributed_calls_total",
                "Calls of which something is not known: process, credential, or peer.",
                &["missing"],
            )?,
            folded: r.counter(
                "tollgate_report_labels_folded_total",
                "Label values counted as `other` because their label has too many.",
                &["label"],
            )?,
        })
    }

    pub(super) fn observe(&mut self, event: &CallEvent) {
        let call = &event.call;
        let (provider, model) = self.names(event);
        let operation = call.operation.as_str();
        let status = words::status_class(call.outcome());
        let coverage = words::coverage(call.complete);
        let labels = [provider.as_str(), operation, model.as_str(), status, coverage];
        self.ended.all.with_label_values(&labels).inc();
        if call.failed() {
            self.ended.failed.with_label_values(&[provider.as_str(), status]).inc();
        }
        if call.retry_count.is_some_and(|count| count > 0) {
            self.ended.retries.with_label_values(&[&provider]).inc();
        }
        self.bindings.with_label_values(&[event.binding.unwrap_or("unbound")]).inc();
        self.times
            .duration
            .with_label_values(&[provider.as_str(), operation])
            .observe(seconds(event.duration_ns()));
        if let Some(nanos) = event.first_token_ns() {
            self.times.first_token.with_label_values(&[&provider]).observe(seconds(nanos));
        }
        self.add_tokens(event, &provider, &model);
        self.add_cost(event, &provider, &model);
        let missing = [
            ("process", event.process.workload.is_none()),
            ("credential", event.identity.is_none()),
            ("peer", event.server.peer.is_none()),
        ];
        for (what, _) in missing.into_iter().filter(|(_, is_missing)| *is_missing) {
            self.unattributed.with_label_values(&[what]).inc();
        }
    }

    /// Provider and model within their bounds; the bound of models is one of pairs.
    fn names(&mut self, event: &CallEvent) -> (String, String) {
        let provider = match self.providers.admit(&event.call.provider) {
            Some(provider) => provider.into_owned(),
            None => self.fold("provider"),
        };
        let Some(model) = event.model() else { return (provider, String::new()) };
        let pair = format!("{provider} {model}");
        let model = match self.models.admit(&pair) {
            Some(pair) => {
                pair.split_once(' ').map(|(_, model)| model.to_owned()).unwrap_or_default()
            }
            None => self.fold("model"),
        };
        (provider, model)
    }

    fn fold(&self, label: &str) -> String {
        self.folded.with_label_values(&[label]).inc();
        OTHER.to_owned()
    }

    fn add_tokens(&self, event: &CallEvent, provider: &str, model: &str) {
        let Some(usage) = event.added() else { return };
        let reasoning = usage.output_reasoning;
        let answer =
            usage.output.map(|output| output.saturating_sub(reasoning.unwrap_or_default()));
        let classes = [
            ("input", usage.input_uncached),
            ("cache_read", usage.cache_read),
            ("cache_creation", Tokens::of(usage).cache_write),
            ("output", answer),
            ("reasoning", reasoning),
        ];
        for (class, count) in classes {
            if let Some(count) = count {
                self.tokens.with_label_values(&[provider, model, class]).inc_by(count);
            }
        }
        let quality = words::quality(event.call.usage_quality);
        if quality != "reported" && words::status_class(event.call.outcome()) == "2xx" {
            self.unknown_usage.with_label_values(&[provider, quality]).inc();
        }
    }

    fn add_cost(&mut self, event: &CallEvent, provider: &str, model: &str) {
        let cost = &event.cost;
        let basis = cost.basis.as_str();
        self.priced.with_label_values(&[provider, basis]).inc();
        if let Some(amount) = cost.picodollars {
            self.cost.add(&[provider, model, basis], amount);
        }
        if let Some(gap) = cost.gap {
            self.unpriced.with_label_values(&[provider, basis, gap.as_str()]).inc();
        }
        let Some(key) = &event.identity else { return };
        let fingerprint = match self.fingerprints.admit(&key.fingerprint) {
            Some(fingerprint) => fingerprint.into_owned(),
            None => self.fold("fingerprint"),
        };
        self.credentials.with_label_values(&[fingerprint.as_str(), key.kind]).inc();
        if let Some(amount) = cost.picodollars {
            self.credential_cost.add(&[&fingerprint], amount);
        }
    }
}
