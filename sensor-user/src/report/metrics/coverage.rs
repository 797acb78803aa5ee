//! The counter of ended connections comes in; how many there were by how much of them was seen goes out.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;

use super::Metrics;

impl Metrics {
    /// Connections to AI providers that have ended, by how much of their plaintext was seen.
    pub fn coverage(&self) -> BTreeMap<String, u64> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        let families = self.connections.collect();
        for metric in families.iter().flat_map(MetricFamily::get_metric) {
            let label = metric.get_label().iter().find(|label| label.name() == "coverage");
            let Some(label) = label else { continue };
            // The counter is an integer; its exposition is not.
            let count = format!("{:.0}", metric.get_counter().get_value()).parse().unwrap_or(0);
            let sum = sums.entry(label.value().to_owned()).or_default();
            *sum = sum.saturating_add(count);
        }
        sums
    }
}
