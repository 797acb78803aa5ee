//! Events and counters of all stages come in; Prometheus metrics with bounded label sets go out.

mod calls;
mod coverage;
mod labels;
mod registry;
mod stages;

use std::collections::HashMap;
use std::fs;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use prometheus::IntCounterVec;
use prometheus::IntGaugeVec;
use prometheus::TextEncoder;

use crate::report::Error;
use crate::report::Event;
use calls::CallMetrics;
use coverage::CoverageMetrics;
use registry::Registrar;
use stages::StageCounters;

pub use coverage::Covered;
pub use stages::Protocols;
pub use stages::StageMetrics;

/// All metrics of the agent. Shared: each method locks only what it changes.
#[derive(Debug)]
pub struct Metrics {
    registrar: Registrar,
    calls: Mutex<CallMetrics>,
    stages: Mutex<StageCounters>,
    coverage: Mutex<CoverageMetrics>,
    findings: IntCounterVec,
    connections_open: IntGaugeVec,
    lost_records: IntCounterVec,
    lost_bytes: IntCounterVec,
    records: IntCounterVec,
    ring_bytes: IntGaugeVec,
    stage_events: IntCounterVec,
    probes: IntGaugeVec,
    processes: IntGaugeVec,
    attachments: IntCounterVec,
    hellos: IntCounterVec,
    layers: IntGaugeVec,
    policies: IntGaugeVec,
    policies_current: IntGaugeVec,
    runtimes: IntGaugeVec,
    containers: IntGaugeVec,
    memory: IntGaugeVec,
    ready: IntGaugeVec,
    absolutes: Mutex<Absolutes>,
}

/// Last values of counters that are kept elsewhere, by metric, and by what they count.
type Absolutes = HashMap<(&'static str, &'static str, &'static str), u64>;

impl Metrics {
    /// Registers all metrics. A label whose values come from outside takes `label_values_max` of them; what comes
    /// later is counted under `other`.
    pub fn new(label_values_max: usize) -> Result<Self, Error> {
        let mut r = Registrar::default();
        let info =
            r.gauge("tollgate_agent_info", "Version of the agent; always 1.", &["version"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            calls: Mutex::new(CallMetrics::new(&mut r, label_values_max)?),
            stages: Mutex::new(StageCounters::new(&mut r)?),
            coverage: Mutex::new(CoverageMetrics::new(&mut r, label_values_max)?),
            findings: r.counter(
                "tollgate_destination_findings_total",
                "Connections to AI whose names contradict each other, imitate a provider's or are hidden, by kind.",
                &["kind"],
            )?,
            connections_open: r.gauge("tollgate_capture_connections_open", "Connections followed now.", &[])?,
            lost_records: r.counter(
                "tollgate_capture_lost_records_total",
                "Records that were lost, by reason.",
                &["reason"],
            )?,
            lost_bytes: r.counter(
                "tollgate_capture_lost_bytes_total",
                "Plaintext bytes that were lost, by reason.",
                &["reason"],
            )?,
            records: r.counter("tollgate_capture_records_total", "Records taken out of a ring buffer.", &["ring"])?,
            ring_bytes: r.gauge("tollgate_capture_ring_bytes", "Size of a ring buffer.", &["ring"])?,
            stage_events: r.counter(
                "tollgate_agent_stage_events_total",
                "What the stages of the agent and the kernel half count, by stage and event.",
                &["stage", "event"],
            )?,
            probes: r.gauge("tollgate_probes_attached", "Probes set now, by TLS library.", &["library"])?,
            processes: r.gauge("tollgate_probes_processes", "Processes that carry probes now.", &[])?,
            attachments: r.counter(
                "tollgate_probes_attachments_total",
                "Processes that were given probes, by what they showed and by result.",
                &["why", "result"],
            )?,
            hellos: r.counter(
                "tollgate_probes_hellos_total",
                "ClientHellos with an AI name; where the probes did not stand yet, the first request may be missed.",
                &["probed"],
            )?,
            layers: r.gauge(
                "tollgate_enforcement_layer_proven",
                "1 where the last proof saw the layer refuse, 0 where it did not; absent where nothing is enforced.",
                &["layer"],
            )?,
            policies: r.gauge("tollgate_policy_policies", "Policies in force.", &[])?,
            policies_current: r.gauge(
                "tollgate_policy_current",
                "1 while the documents in the folder are those in force, 0 while they are refused.",
                &[],
            )?,
            runtimes: r.gauge(
                "tollgate_workload_runtimes_connected",
                "Container runtimes that answer, by the language they are asked in.",
                &["kind"],
            )?,
            containers: r.gauge("tollgate_workload_containers_known", "Containers whose facts are known.", &[])?,
            memory: r.gauge("tollgate_agent_resident_memory_bytes", "Resident memory of the agent.", &[])?,
            ready: r.gauge("tollgate_agent_ready", "1 while the agent sees all it should see.", &[])?,
            absolutes: Mutex::default(),
            registrar: r,
        })
    }

    /// Counts one event.
    pub fn observe(&self, event: &Event) {
        match event {
            Event::Call(call) => locked(&self.calls).observe(call),
            Event::Connection(one) => locked(&self.coverage).connection(one),
            Event::Coverage(one) => locked(&self.coverage).verdict(one),
            Event::Finding(finding) => {
                self.findings.with_label_values(&[finding.kind]).inc();
            }
            Event::Loss(loss) => {
                self.lost_records.with_label_values(&[loss.reason]).inc_by(loss.records);
                self.lost_bytes
                    .with_label_values(&[loss.reason])
                    .inc_by(loss.bytes.unwrap_or_default());
            }
            // The gate keeps its own counts.
            Event::Agent(_) | Event::Decision(_) => {}
        }
    }

    /// Says whether the last proof saw a layer of the gate refuse.
    pub fn set_layer(&self, layer: &'static str, refuses: bool) {
        self.layers.with_label_values(&[layer]).set(i64::from(refuses));
    }

    /// Says how many policies are in force, and whether they are those of the folder.
    pub fn set_policies(&self, policies: usize, current: bool) {
        let policies = i64::try_from(policies).unwrap_or(i64::MAX);
        self.policies.with_label_values::<&str>(&[]).set(policies);
        self.policies_current.with_label_values::<&str>(&[]).set(i64::from(current));
    }

    /// Says how many runtimes of a kind answer.
    pub fn set_runtimes(&self, kind: &'static str, connected: u64) {
        self.runtimes.with_label_values(&[kind]).set(signed(connected));
    }

    /// Says of how many containers the facts are known.
    pub fn set_containers(&self, known: u64) {
        self.containers.with_label_values::<&str>(&[]).set(signed(known));
    }

    /// Brings a counter that a stage, or the kernel half, keeps up to its absolute value.
    pub fn set_stage_event(&self, stage: &'static str, event: &'static str, absolute: u64) {
        let more = self.more(("stage", stage, event), absolute);
        self.stage_events.with_label_values(&[stage, event]).inc_by(more);
    }

    /// What a stage, or the kernel half, has counted so far, by event.
    pub fn counted_by(&self, stage: &str) -> Vec<(&'static str, u64)> {
        let absolutes = locked(&self.absolutes);
        let own = absolutes.iter().filter(|((kind, of, _), _)| (*kind, *of) == ("stage", stage));
        own.map(|((_, _, event), absolute)| (*event, *absolute)).collect()
    }

    /// Brings what the stages count up to its absolute values.
    pub fn set_stages(&self, stages: &StageMetrics) {
        locked(&self.stages).set(stages);
    }

    /// Brings the number of processes that were given probes up to its absolute value.
    pub fn set_attachments(&self, why: &'static str, result: &'static str, absolute: u64) {
        let more = self.more(("attachments", why, result), absolute);
        self.attachments.with_label_values(&[why, result]).inc_by(more);
    }

    /// Brings the number of `ClientHello`s with an AI name, before or after the probes stood, up to its absolute value.
    pub fn set_hellos(&self, is_probed: bool, absolute: u64) {
        let probed = if is_probed { "yes" } else { "no" };
        let more = self.more(("hellos", probed, ""), absolute);
        self.hellos.with_label_values(&[probed]).inc_by(more);
    }

    /// Brings the number of records taken out of a ring buffer up to its absolute value.
    pub fn set_records(&self, ring: &'static str, absolute: u64) {
        let more = self.more(("records", ring, ""), absolute);
        self.records.with_label_values(&[ring]).inc_by(more);
    }

    /// Says how large a ring buffer is.
    pub fn set_ring_bytes(&self, ring: &'static str, bytes: u64) {
        self.ring_bytes.with_label_values(&[ring]).set(signed(bytes));
    }

    /// Says how many connections are followed.
    pub fn set_connections_open(&self, count: u64) {
        self.connections_open.with_label_values::<&str>(&[]).set(signed(count));
    }

    /// Says how many probes are set in one library.
    pub fn set_probes(&self, library: &'static str, count: u64) {
        self.probes.with_label_values(&[library]).set(signed(count));
    }

    /// Says how many processes carry probes.
    pub fn set_processes(&self, count: u64) {
        self.processes.with_label_values::<&str>(&[]).set(signed(count));
    }

    /// Says whether the agent is ready.
    pub fn set_ready(&self, is_ready: bool) {
        self.ready.with_label_values::<&str>(&[]).set(i64::from(is_ready));
    }

    /// All metrics in the text format of Prometheus.
    pub fn text(&self) -> Result<String, Error> {
        if let Some(bytes) = resident_bytes() {
            self.memory.with_label_values::<&str>(&[]).set(signed(bytes));
        }
        Ok(TextEncoder::new().encode_to_string(&self.registrar.registry.gather())?)
    }

    /// One line a metric: name, kind, labels, help.
    pub fn description(&self) -> String {
        self.registrar.description()
    }

    /// What came to a counter since it was last set. One that went back was begun anew.
    fn more(&self, counter: (&'static str, &'static str, &'static str), absolute: u64) -> u64 {
        let before = locked(&self.absolutes).insert(counter, absolute).unwrap_or_default();
        absolute.checked_sub(before).unwrap_or(absolute)
    }
}

/// A panic elsewhere leaves counters that are still right.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Second number of `/proc/self/statm`, in pages.
fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

#[cfg(test)]
mod tests;
