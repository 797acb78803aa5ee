//! What this stage counts comes in, event by event; plain counters go out.

/// Counters of one connection; the agent adds them up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Requests seen.
    pub requests: u64,
    /// Final responses seen.
    pub responses: u64,
    /// Responses whose request was not seen.
    pub orphan_responses: u64,
    /// Exchanges that ended without the response that belongs to them.
    pub unanswered_requests: u64,
    /// Heads that break the format or are over their bound.
    pub malformed_heads: u64,
    /// Bodies whose chunks break the format.
    pub malformed_bodies: u64,
    /// Bodies with missing bytes.
    pub gap_bodies: u64,
    /// Bodies whose content coding could not be undone.
    pub undecodable_bodies: u64,
    /// How often a side had to search for the next start line.
    pub resyncs: u64,
    /// Connections that went over to another protocol.
    pub upgrades: u64,
    /// Messages of `WebSocket`s whose last frame was seen.
    pub websocket_messages: u64,
    /// Messages whose compression could not be undone, among `websocket_messages`.
    pub websocket_undecodable: u64,
    /// Frames that break the format.
    pub websocket_malformed: u64,
}
