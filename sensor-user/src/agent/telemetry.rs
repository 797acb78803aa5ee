//! Counters of all stages come in; metrics, loss events and readiness go out, once a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::SyncSender;

use sensor_common::state::COUNTERS;

use crate::bpf::{Counters, Dropped};
use crate::report::control::Picture;
use crate::report::event::Loss;
use crate::report::server::Readiness;
use crate::report::{Event, Metrics};

use super::clock::Clock;
use super::policies::Policies;
use super::proofs::Proofs;
use super::runtimes::Runtimes;
use super::status::Status;

/// Counters of the kernel half that tell of something lost; the others tell of work done.
const LOSSES: [&str; 8] = [
    "payload_no_room",
    "record_no_room",
    "event_no_room",
    "unreadable",
    "call_table_full",
    "connection_table_full",
    "return_without_entry",
    "chunks_over_limit",
];

/// Counters of the agent that tell of something lost.
const AGENT_LOSSES: [&str; 3] = ["connection_dropped", "reporter_gone", "record_refused"];

const _: () = assert!(LOSSES.len() < COUNTERS.len());

/// Publishes what the threads count.
pub(super) struct Telemetry {
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) status: Arc<Status>,
    pub(super) counters: Counters,
    /// Hands what the kernel half says of itself on to the log.
    pub(super) diagnostics: Box<dyn FnMut()>,
    /// Proves what the gate does.
    pub(super) proofs: Proofs,
    /// Say what is in force, and what is wrong with what is not.
    pub(super) policies: Arc<Policies>,
    /// Say which containers there are.
    pub(super) runtimes: Runtimes,
    pub(super) events: SyncSender<Event>,
    pub(super) clock: Clock,
    /// Losses reported so far.
    pub(super) lost: HashMap<&'static str, Dropped>,
    /// What the control socket shows.
    pub(super) picture: Arc<Mutex<Picture>>,
}

impl Telemetry {
    /// Reads all counters and hands them on.
    pub(super) fn publish(&mut self) {
        (self.diagnostics)();
        let mut counters = std::collections::BTreeMap::new();
        for (reason, dropped) in self.counters.read() {
            counters.insert(format!("kernel.{reason}"), dropped.records);
            self.metrics.set_stage_event("kernel", reason, dropped.records);
            if LOSSES.contains(&reason) {
                self.report_loss(reason, dropped.records, Some(dropped.bytes));
            }
        }
        for (name, count) in self.status.counters() {
            counters.insert(format!("agent.{name}"), count);
            self.metrics.set_stage_event("agent", name, count);
            if AGENT_LOSSES.contains(&name) {
                self.report_loss(name, count, None);
            }
        }
        for (name, count) in self.metrics.counted_by("store") {
            counters.insert(format!("store.{name}"), count);
        }
        let reassembly = self.status.stages().reassembly;
        let evicted = reassembly.evicted_over_connections.saturating_add(reassembly.evicted_idle);
        if reassembly.evicted_bytes != 0 {
            self.report_loss("reassembly_evicted", evicted, Some(reassembly.evicted_bytes));
        }
        self.prove();
        let containers = self.runtimes.publish(&self.metrics, &mut counters);
        for (why, count) in self.status.attached_by_reason() {
            self.metrics.set_attachments(why, "attached", count);
        }
        self.metrics.set_attachments("any", "failed", self.status.attach_failures());
        for (ring, count) in self.status.records() {
            self.metrics.set_records(ring, count);
        }
        self.metrics.set_stages(&self.status.stages());
        let [before, after] = self.status.hellos();
        self.metrics.set_hellos(false, before);
        self.metrics.set_hellos(true, after);
        let [processes, connections] = self.status.gauges();
        let mut probes = 0_u64;
        for (library, count) in self.status.probes() {
            probes = probes.saturating_add(count);
            self.metrics.set_probes(library, count);
        }
        self.metrics.set_processes(processes);
        self.metrics.set_connections_open(connections);
        let mut picture = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        picture.missing = self.readiness.missing();
        (picture.probes, picture.processes, picture.connections) = (probes, processes, connections);
        picture.coverage = self.metrics.covered();
        (picture.counters, picture.runtimes) = (counters, containers);
    }

    /// Says whether what is to be enforced is, and which policies judge.
    fn prove(&mut self) {
        let mut faults = self.proofs.round(&self.metrics).to_vec();
        let standing = self.policies.standing();
        self.metrics.set_stage_event("catalogue", "refused", standing.rows_refused);
        if self.policies.folder().is_some() {
            self.metrics.set_stage_event("policy", "accepted", standing.accepted);
            self.metrics.set_stage_event("policy", "refused", standing.refused);
            self.metrics.set_policies(standing.policies, standing.problem.is_none());
        }
        faults.extend(self.policies.fault(self.proofs.enforces()));
        if self.proofs.enforces() || self.policies.folder().is_some() {
            self.metrics.set_ready(faults.is_empty());
            self.readiness.set_missing(faults);
        }
        let mut picture = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        picture.policies = standing.text();
    }

    /// Says that the agent sees what it should.
    pub(super) fn ready(&self) {
        if self.proofs.enforces() || self.policies.folder().is_some() {
            // A node that enforces is ready when its proofs say so.
            return;
        }
        self.readiness.set_missing(Vec::new());
        self.metrics.set_ready(true);
    }

    /// Says that the agent stops.
    pub(super) fn stopping(&self) {
        self.readiness.set_missing(vec!["stopping".to_owned()]);
        self.metrics.set_ready(false);
    }

    fn report_loss(&mut self, reason: &'static str, records: u64, bytes: Option<u64>) {
        let before = self.lost.get(reason).copied().unwrap_or_default();
        let now = Dropped { records, bytes: bytes.unwrap_or_default() };
        if now == before {
            return;
        }
        let time = self.clock.now();
        let records = now.records.saturating_sub(before.records);
        let bytes = bytes.map(|bytes| bytes.saturating_sub(before.bytes));
        // With the queue full, the loss is said again a second later.
        if self.events.try_send(Event::Loss(Loss { time, reason, records, bytes })).is_ok() {
            self.lost.insert(reason, now);
        }
    }
}
