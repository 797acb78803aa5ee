//! Captured chunks of a TLS connection's plaintext come in, in any order; contiguous pieces with explicit gaps go out.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;

mod stream;
mod table;
#[cfg(test)]
mod tests;

pub use stream::{Start, Stream};
pub use table::{Evicted, Table};

/// Which way the plaintext went, seen from the traced process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Written by the process (`SSL_write*`).
    Sent,
    /// Read by the process (`SSL_read*`).
    Received,
}

/// One contiguous part of one direction of a connection. `Debug` shows how long it is, never what it says.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// Plaintext bytes, seen at `at_ns` (kernel monotonic clock).
    Data {
        /// When the bytes were written or read, in nanoseconds of the kernel's monotonic clock.
        at_ns: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// Bytes that are known to be missing.
    Gap {
        /// When the gap was noticed.
        at_ns: u64,
        /// How many bytes are missing; `None` where the connection was joined after its start.
        bytes: Option<u64>,
    },
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { at_ns, bytes } => write!(f, "Data({} bytes @{at_ns})", bytes.len()),
            Self::Gap { at_ns, bytes } => write!(f, "Gap({bytes:?} bytes @{at_ns})"),
        }
    }
}

/// Plaintext of one capture, with its place in its direction. `Debug` shows how long it is, never what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Offset of the first byte in its direction; wraps around after 2^64 bytes.
    pub offset: u64,
    /// When the bytes were written or read, in nanoseconds of the kernel's monotonic clock.
    pub at_ns: u64,
    /// The bytes.
    pub bytes: Bytes,
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes at {} @{})", self.bytes.len(), self.offset, self.at_ns)
    }
}

/// Bytes that were written or read but not captured (no room in the ring, a page not present, a call too long).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Offset of the first byte in its direction.
    pub offset: u64,
    /// When the bytes were written or read, in nanoseconds of the kernel's monotonic clock.
    pub at_ns: u64,
    /// How many bytes.
    pub len: u64,
}

/// Bounds on what is held back for order's sake.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Milliseconds a missing part is waited for; rings of different processors are read some milliseconds apart.
    pub gap_wait_ms: u64,
    /// Chunks one direction holds back; then the missing part is given up early.
    pub chunks_pending_max: usize,
    /// Bytes one direction holds back; then the missing part is given up early.
    pub bytes_pending_max: u64,
    /// Bytes all connections hold back; then the direction that asks for more gives its missing parts up.
    pub bytes_pending_total_max: u64,
    /// Connections followed at once; the one idle longest gives way. As many as the kernel half follows.
    pub connections_max: usize,
    /// Seconds without a byte after which a connection is forgotten; idle keep-alive ends within minutes.
    pub idle_secs_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            gap_wait_ms: 200,
            chunks_pending_max: 64,
            bytes_pending_max: 1024 * 1024,
            bytes_pending_total_max: 64 * 1024 * 1024,
            connections_max: 16_384,
            idle_secs_max: 900,
        }
    }
}

/// What was counted. Nothing is dropped without a reason that has its counter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Chunks taken.
    pub chunks: u64,
    /// Bytes taken.
    pub bytes: u64,
    /// Chunks that came before their turn.
    pub reordered_chunks: u64,
    /// Bytes dropped because they had been seen or given up before.
    pub duplicate_bytes: u64,
    /// Bytes known to be lost from the start.
    pub lost_bytes: u64,
    /// Bytes missing, for whatever reason.
    pub gap_bytes: u64,
    /// Missing parts given up after `gap_wait_ms`.
    pub gaps_waited: u64,
    /// Missing parts given up because of `chunks_pending_max`.
    pub gaps_over_chunks: u64,
    /// Missing parts given up because of `bytes_pending_max`.
    pub gaps_over_bytes: u64,
    /// Missing parts given up because of `bytes_pending_total_max`.
    pub gaps_over_total: u64,
    /// Missing parts given up because their connection ended.
    pub gaps_at_end: u64,
    /// Directions that were joined after their start.
    pub joined_streams: u64,
    /// Connections forgotten because of `connections_max`.
    pub evicted_over_connections: u64,
    /// Connections forgotten because of `idle_secs_max`.
    pub evicted_idle: u64,
    /// Bytes held back that were forgotten with their connection.
    pub evicted_bytes: u64,
}
