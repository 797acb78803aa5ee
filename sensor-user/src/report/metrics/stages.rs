//! What the stages count comes in as absolute values; one counter family for each kind of it goes out.

use std::collections::HashMap;

use prometheus::Error;
use prometheus::IntCounterVec;

use crate::http;
use crate::http::http2;
use crate::provider;
use crate::reassembly;
use crate::report::metrics::registry::Registrar;
use crate::workload;

/// What the stages have counted since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageMetrics {
    /// Of the reassembly table.
    pub reassembly: reassembly::Metrics,
    /// Of all HTTP/1 connections.
    pub http1: http::Metrics,
    /// Of all HTTP/2 connections.
    pub http2: http2::Metrics,
    /// Connections by what they spoke.
    pub protocols: Protocols,
    /// Of all trackers.
    pub provider: provider::Metrics,
    /// Of the table of processes.
    pub workload: workload::Metrics,
}

/// Connections of which plaintext was seen, by what they spoke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protocols {
    /// HTTP/1.
    pub http1: u64,
    /// HTTP/2.
    pub http2: u64,
    /// Neither.
    pub other: u64,
    /// Too little was seen to tell.
    pub undecided: u64,
}

/// Name of a family, its help text, its labels.
type Family = (&'static str, &'static str, &'static [&'static str]);

const CHUNKS: Family =
    ("tollgate_reassembly_chunks_total", "Pieces of plaintext taken, by order.", &["order"]);
const BYTES: Family = (
    "tollgate_reassembly_bytes_total",
    "Plaintext bytes taken, seen twice, missing, or forgotten with their connection.",
    &["fate"],
);
const GAPS: Family = (
    "tollgate_reassembly_gaps_total",
    "Missing parts of plaintext that were given up, by reason.",
    &["reason"],
);
const JOINED: Family = (
    "tollgate_reassembly_joined_directions_total",
    "Directions of connections that were joined after their start.",
    &[],
);
const EVICTED: Family = (
    "tollgate_reassembly_evicted_connections_total",
    "Connections forgotten before their end, by reason.",
    &["reason"],
);
const PROTOCOLS: Family = (
    "tollgate_http_connections_total",
    "Connections of which plaintext was seen and that are over, by what they spoke.",
    &["protocol"],
);
const MESSAGES: Family =
    ("tollgate_http_messages_total", "Messages whose head was seen.", &["protocol", "message"]);
const FAULTS: Family = (
    "tollgate_http_faults_total",
    "What could not be read as it should, by protocol and fault.",
    &["protocol", "fault"],
);
const UPGRADES: Family = (
    "tollgate_http_upgrades_total",
    "Connections that went over to another protocol.",
    &["protocol"],
);
const UNLISTED: Family = (
    "tollgate_provider_unlisted_calls_total",
    "Calls to hosts that are in no row, known by their form.",
    &[],
);
const BROKEN: Family = (
    "tollgate_provider_broken_bodies_total",
    "Bodies of calls that were not the JSON they should be.",
    &[],
);
const DROPPED: Family = (
    "tollgate_provider_dropped_calls_total",
    "Calls that were not followed or not taken, because there were too many.",
    &["reason"],
);
const PROCESSES: Family =
    ("tollgate_workload_processes_total", "Processes looked at, by how that ended.", &["result"]);
const LOOKUPS: Family = (
    "tollgate_workload_failed_lookups_total",
    "Look-ups that found nobody, or more than one process that it could have been.",
    &[],
);

const FAMILIES: [Family; 14] = [
    CHUNKS, BYTES, GAPS, JOINED, EVICTED, PROTOCOLS, MESSAGES, FAULTS, UPGRADES, UNLISTED, BROKEN,
    DROPPED, PROCESSES, LOOKUPS,
];

/// One series: its family, the values of its labels (empty beyond their number), its absolute value.
type Series = (Family, [&'static str; 2], u64);

/// The counters of all families.
#[derive(Debug)]
pub(super) struct StageCounters {
    families: HashMap<&'static str, IntCounterVec>,
    before: HashMap<(&'static str, [&'static str; 2]), u64>,
}

impl StageCounters {
    pub(super) fn new(r: &mut Registrar) -> Result<Self, Error> {
        let registered = FAMILIES.map(|(name, help, labels)| {
            let counter = r.counter(name, help, labels)?;
            Ok((name, counter))
        });
        let families = registered.into_iter().collect::<Result<_, Error>>()?;
        Ok(Self { families, before: HashMap::new() })
    }

    /// Brings every counter up to its absolute value.
    pub(super) fn set(&mut self, stages: &StageMetrics) {
        let all = reassembly(&stages.reassembly).into_iter().chain(http(stages));
        for ((name, _, labels), values, absolute) in all.chain(calls(stages)) {
            let before = self.before.insert((name, values), absolute).unwrap_or_default();
            let Some(family) = self.families.get(name) else { continue };
            let values = values.get(..labels.len()).unwrap_or_default();
            family.with_label_values(values).inc_by(absolute.saturating_sub(before));
        }
    }
}

fn reassembly(counted: &reassembly::Metrics) -> Vec<Series> {
    let in_order = counted.chunks.saturating_sub(counted.reordered_chunks);
    vec![
        (CHUNKS, ["in_order", ""], in_order),
        (CHUNKS, ["reordered", ""], counted.reordered_chunks),
        (BYTES, ["taken", ""], counted.bytes),
        (BYTES, ["duplicate", ""], counted.duplicate_bytes),
        (BYTES, ["missing", ""], counted.gap_bytes),
        (BYTES, ["evicted", ""], counted.evicted_bytes),
        (GAPS, ["waited", ""], counted.gaps_waited),
        (GAPS, ["too_many_chunks", ""], counted.gaps_over_chunks),
        (GAPS, ["too_many_bytes", ""], counted.gaps_over_bytes),
        (GAPS, ["too_many_bytes_in_total", ""], counted.gaps_over_total),
        (GAPS, ["connection_ended", ""], counted.gaps_at_end),
        (JOINED, ["", ""], counted.joined_streams),
        (EVICTED, ["too_many", ""], counted.evicted_over_connections),
        (EVICTED, ["idle", ""], counted.evicted_idle),
    ]
}

fn http(stages: &StageMetrics) -> Vec<Series> {
    let StageMetrics { http1, http2, protocols, .. } = stages;
    let (one, two) = ("http1", "http2");
    vec![
        (PROTOCOLS, [one, ""], protocols.http1),
        (PROTOCOLS, [two, ""], protocols.http2),
        (PROTOCOLS, ["other", ""], protocols.other),
        (PROTOCOLS, ["undecided", ""], protocols.undecided),
        (MESSAGES, [one, "request"], http1.requests),
        (MESSAGES, [one, "response"], http1.responses),
        (MESSAGES, [two, "request"], http2.requests),
        (MESSAGES, [two, "response"], http2.responses),
        (FAULTS, [one, "request_unseen"], http1.orphan_responses),
        (FAULTS, [one, "unanswered"], http1.unanswered_requests),
        (FAULTS, [one, "malformed_head"], http1.malformed_heads),
        (FAULTS, [one, "malformed_body"], http1.malformed_bodies),
        (FAULTS, [one, "gap_in_body"], http1.gap_bodies),
        (FAULTS, [one, "undecodable_body"], http1.undecodable_bodies),
        (FAULTS, [one, "resync"], http1.resyncs),
        (UPGRADES, [one, ""], http1.upgrades),
        (MESSAGES, ["websocket", "message"], http1.websocket_messages),
        (FAULTS, ["websocket", "undecodable_message"], http1.websocket_undecodable),
        (FAULTS, ["websocket", "malformed_frame"], http1.websocket_malformed),
        (FAULTS, [two, "request_unseen"], http2.requests_unseen),
        (FAULTS, [two, "too_many_streams"], http2.streams_evicted),
        (FAULTS, [two, "resync"], http2.resyncs),
        (FAULTS, [two, "given_up"], http2.directions_given_up),
        (FAULTS, [two, "header_block_too_long"], http2.header_blocks_over),
        (FAULTS, [two, "header_block_broken"], http2.header_blocks_broken),
        (FAULTS, [two, "header_field_unknown"], http2.header_fields_unknown),
        (FAULTS, [two, "header_table_cut"], http2.header_table_cuts),
    ]
}

fn calls(stages: &StageMetrics) -> Vec<Series> {
    let StageMetrics { provider, workload, .. } = stages;
    vec![
        (UNLISTED, ["", ""], provider.calls_unlisted),
        (BROKEN, ["", ""], provider.bodies_broken),
        (DROPPED, ["too_many_open", ""], provider.exchanges_dropped),
        (DROPPED, ["not_taken", ""], provider.calls_dropped),
        (PROCESSES, ["resolved", ""], workload.resolved),
        (PROCESSES, ["unreadable", ""], workload.unreadable),
        (PROCESSES, ["evicted", ""], workload.evicted),
        (LOOKUPS, ["", ""], workload.unattributed),
    ]
}
