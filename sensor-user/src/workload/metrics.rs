//! What this stage counts comes in, event by event; plain counters go out.

/// Counters of the process table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Processes read from `/proc`.
    pub resolved: u64,
    /// Processes that had ended, or changed on every try, before they could be read.
    pub unreadable: u64,
    /// Look-ups that found nobody, or more than one process that it could have been.
    pub unattributed: u64,
    /// Processes forgotten before their time because the table was full.
    pub evicted: u64,
}
