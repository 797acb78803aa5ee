//! Names, help texts and label names come in; registered metrics, and a list of all of them, go out.

use prometheus::CounterVec;
use prometheus::Error;
use prometheus::GaugeVec;
use prometheus::HistogramOpts;
use prometheus::HistogramVec;
use prometheus::IntCounterVec;
use prometheus::IntGaugeVec;
use prometheus::Opts;
use prometheus::Registry;
use prometheus::core::Collector;

/// Registers metrics and remembers what was registered.
#[derive(Debug, Default)]
pub(super) struct Registrar {
    pub(super) registry: Registry,
    descriptions: Vec<String>,
}

impl Registrar {
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, Error> {
        self.describe("counter", name, help, labels);
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn amount(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<CounterVec, Error> {
        self.describe("counter", name, help, labels);
        self.add(CounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, Error> {
        self.describe("gauge", name, help, labels);
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn ratio(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, Error> {
        self.describe("gauge", name, help, labels);
        self.add(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn seconds(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, Error> {
        self.describe("histogram", name, help, labels);
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(HistogramVec::new(options, labels)?)
    }

    /// One line a metric: name, kind, labels, help; sorted by name.
    pub(super) fn description(&self) -> String {
        let mut lines = self.descriptions.clone();
        lines.sort();
        lines.concat()
    }

    fn describe(&mut self, kind: &str, name: &str, help: &str, labels: &[&str]) {
        self.descriptions.push(format!("{name} {kind} {{{}}} {help}\n", labels.join(",")));
    }

    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, Error> {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }
}
