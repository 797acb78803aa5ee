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

impl Metrics {
    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.requests, other.requests),
            (&mut self.responses, other.responses),
            (&mut self.orphan_responses, other.orphan_responses),
            (&mut self.unanswered_requests, other.unanswered_requests),
            (&mut self.malformed_heads, other.malformed_heads),
            (&mut self.malformed_bodies, other.malformed_bodies),
            (&mut self.gap_bodies, other.gap_bodies),
            (&mut self.undecodable_bodies, other.undecodable_bodies),
            (&mut self.resyncs, other.resyncs),
            (&mut self.upgrades, other.upgrades),
            (&mut self.websocket_messages, other.websocket_messages),
            (&mut self.websocket_undecodable, other.websocket_undecodable),
            (&mut self.websocket_malformed, other.websocket_malformed),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
    }
}
