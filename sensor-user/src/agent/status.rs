//! Facts from all threads come in; one picture of how the agent fares goes out, for metrics and readiness.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::probes::Library;
use crate::probes::Why;
use crate::report::metrics::StageMetrics;

/// Name of the ring of plaintext in metrics.
pub(super) const DATA_RING: &str = "data";
/// Name of the ring of processes, sockets and names in metrics.
pub(super) const EVENT_RING: &str = "events";

/// Counters that only grow, and gauges that the threads set.
#[derive(Debug, Default)]
pub(super) struct Status {
    attached: Mutex<BTreeMap<&'static str, u64>>,
    counters: [AtomicU64; COUNTERS.len()],
    probes: Mutex<BTreeMap<&'static str, u64>>,
    processes: AtomicU64,
    connections: AtomicU64,
    data_records: AtomicU64,
    event_records: AtomicU64,
    stages: Mutex<StageMetrics>,
}

/// What is counted, in the order of `Count`.
const COUNTERS: [&str; 17] = [
    "attach_failed",
    "unattributed",
    "notice_dropped",
    "connection_dropped",
    "reporter_gone",
    "blind",
    "hello_before_probes",
    "hello_after_probes",
    "hello_held",
    "record_refused",
    "decision_not_told",
    "refused_cut",
    "probes_rejected",
    "hello_not_read",
    "killed",
    "answer_dropped",
    "memory_damaged",
];

#[derive(Clone, Copy)]
enum Count {
    AttachFailed,
    Unattributed,
    NoticeDropped,
    ConnectionDropped,
    ReporterGone,
    Blind,
    HelloBeforeProbes,
    HelloAfterProbes,
    HelloHeld,
    RecordRefused,
    DecisionNotTold,
    RefusedCut,
    ProbesRejected,
    HelloNotRead,
    Killed,
    AnswerDropped,
    MemoryDamaged,
}

impl Status {
    fn count(&self, what: Count) {
        if let Some(counter) = self.counters.get(what as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What the gate did could not be told because the reporter was behind.
    pub(super) fn decision_not_told(&self) {
        self.count(Count::DecisionNotTold);
    }

    /// Connections whose write the gate had refused were cut.
    pub(super) fn refused_cut(&self, connections: usize) {
        (0..connections).for_each(|_| self.count(Count::RefusedCut));
    }

    /// A process was killed, as a policy says.
    pub(super) fn killed(&self) {
        self.count(Count::Killed);
    }

    /// A process got probes.
    pub(super) fn attached(&self, why: Why, probes: usize) {
        if probes != 0 {
            let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
            let counter = attached.entry(why.as_str()).or_default();
            *counter = counter.saturating_add(1);
        }
    }

    /// A process could not be probed: it ended first, or the kernel refused.
    pub(super) fn attach_failed(&self) {
        self.count(Count::AttachFailed);
    }

    /// A call has no workload.
    pub(super) fn unattributed(&self) {
        self.count(Count::Unattributed);
    }

    /// A message between threads was dropped because the other was behind.
    pub(super) fn notice_dropped(&self) {
        self.count(Count::NoticeDropped);
    }

    /// A connection was not decoded because too many are open.
    pub(super) fn connection_dropped(&self) {
        self.count(Count::ConnectionDropped);
    }

    /// An event could not be reported because the reporter has ended.
    pub(super) fn reporter_gone(&self) {
        self.count(Count::ReporterGone);
    }

    /// A process talks to AI through a TLS library that is not supported.
    pub(super) fn blind(&self) {
        self.count(Count::Blind);
    }

    /// A ClientHello to an AI provider passed; before the probes stood, its first request may be missed.
    pub(super) fn hello_seen(&self, probed: bool, held: bool) {
        self.count(if probed { Count::HelloAfterProbes } else { Count::HelloBeforeProbes });
        if held {
            self.count(Count::HelloHeld);
        }
    }

    /// The ClientHello of a connection to AI is malformed, has a gap or is too long, or too many were under way.
    pub(super) fn hello_not_read(&self) {
        self.count(Count::HelloNotRead);
    }

    /// Too many connections to name servers had an answer under way.
    pub(super) fn answer_dropped(&self) {
        self.count(Count::AnswerDropped);
    }

    /// What was remembered of programs could not be read, and is begun anew.
    pub(super) fn memory_damaged(&self) {
        self.count(Count::MemoryDamaged);
    }

    /// A record of the kernel half was malformed.
    pub(super) fn record_refused(&self) {
        self.count(Count::RecordRefused);
    }

    /// The places of a file were wrong, and its processes lost their probes.
    pub(super) fn rejected(&self) {
        self.count(Count::ProbesRejected);
    }

    /// How many probes are set for each library, in how many processes.
    pub(super) fn set_probes(&self, probes: &BTreeMap<Library, usize>, processes: usize) {
        let mut shown = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        for count in shown.values_mut() {
            *count = 0;
        }
        for (library, count) in probes {
            shown.insert(library.as_str(), u64::try_from(*count).unwrap_or(u64::MAX));
        }
        drop(shown);
        self.processes.store(u64::try_from(processes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many connections are being decoded.
    pub(super) fn set_connections(&self, connections: usize) {
        self.connections.store(u64::try_from(connections).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Records were taken out of a ring.
    pub(super) fn records_taken(&self, ring: &'static str, taken: usize) {
        let counter = if ring == DATA_RING { &self.data_records } else { &self.event_records };
        counter.fetch_add(u64::try_from(taken).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Records taken so far, by ring.
    pub(super) fn records(&self) -> [(&'static str, u64); 2] {
        [(DATA_RING, &self.data_records), (EVENT_RING, &self.event_records)]
            .map(|(ring, counter)| (ring, counter.load(Ordering::Relaxed)))
    }

    /// What all stages have counted so far.
    pub(super) fn set_stages(&self, stages: &StageMetrics) {
        *self.stages.lock().unwrap_or_else(PoisonError::into_inner) = *stages;
    }

    /// What all stages had counted when they were last asked.
    pub(super) fn stages(&self) -> StageMetrics {
        *self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counters by name.
    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        let values = self.counters.iter().map(|counter| counter.load(Ordering::Relaxed));
        COUNTERS.into_iter().zip(values).collect()
    }

    /// Processes that could not be probed.
    pub(super) fn attach_failures(&self) -> u64 {
        self.counters.first().map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// ClientHellos to AI providers that passed before, and after, the probes stood.
    pub(super) fn hellos(&self) -> [u64; 2] {
        [Count::HelloBeforeProbes, Count::HelloAfterProbes].map(|what| {
            self.counters.get(what as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
        })
    }

    /// Processes attached to so far, by reason.
    pub(super) fn attached_by_reason(&self) -> Vec<(&'static str, u64)> {
        let attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached.iter().map(|(why, count)| (*why, *count)).collect()
    }

    /// Probes at this time, by library.
    pub(super) fn probes(&self) -> Vec<(&'static str, u64)> {
        let shown = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        shown.iter().map(|(library, count)| (*library, *count)).collect()
    }

    /// Probed processes and decoded connections at this time.
    pub(super) fn gauges(&self) -> [u64; 2] {
        [&self.processes, &self.connections].map(|gauge| gauge.load(Ordering::Relaxed))
    }
}
