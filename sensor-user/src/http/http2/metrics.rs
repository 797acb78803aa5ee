//! What happens on a connection comes in; plain counters go out.

/// Counters of one HTTP/2 connection; the agent adds them up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Requests whose header block was seen.
    pub requests: u64,
    /// Final responses whose header block was seen.
    pub responses: u64,
    /// Exchanges joined after their request's header block.
    pub requests_unseen: u64,
    /// Exchanges ended because too many were open.
    pub streams_evicted: u64,
    /// Searches for a frame boundary.
    pub resyncs: u64,
    /// Directions no longer followed, because too much in them was no frame.
    pub directions_given_up: u64,
    /// Header blocks over `head_bytes_max`, of which only the front was read.
    pub header_blocks_over: u64,
    /// Header blocks that break HPACK, or of which bytes are missing.
    pub header_blocks_broken: u64,
    /// Header fields whose name, or all of them, is unknown because earlier header blocks were not seen.
    pub header_fields_unknown: u64,
    /// Entries of dynamic tables let go because of `header_table_bytes_max`.
    pub header_table_cuts: u64,
}

impl Metrics {
    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.requests, other.requests),
            (&mut self.responses, other.responses),
            (&mut self.requests_unseen, other.requests_unseen),
            (&mut self.streams_evicted, other.streams_evicted),
            (&mut self.resyncs, other.resyncs),
            (&mut self.directions_given_up, other.directions_given_up),
            (&mut self.header_blocks_over, other.header_blocks_over),
            (&mut self.header_blocks_broken, other.header_blocks_broken),
            (&mut self.header_fields_unknown, other.header_fields_unknown),
            (&mut self.header_table_cuts, other.header_table_cuts),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
    }
}
