//! Names of programs and maps, typed once and checked against the object file by the loader.

/// Ring buffer with plaintext records.
pub const MAP_DATA: &str = "DATA";
/// Ring buffer with process, socket and name records.
pub const MAP_EVENTS: &str = "EVENTS";
/// TLS objects by process and address.
pub const MAP_CONNECTIONS: &str = "CONNECTIONS";
/// The agent's verdict on a connection that was on probation.
pub const MAP_VERDICTS: &str = "VERDICTS";
/// Processes that carry probes.
pub const MAP_PROCESSES: &str = "PROCESSES";
/// Host names of AI providers, by hash.
pub const MAP_NAMES: &str = "NAMES";
/// Addresses of AI providers.
pub const MAP_ADDRESSES: &str = "ADDRESSES";
/// Short names of programs that made AI calls before.
pub const MAP_PROGRAMS: &str = "PROGRAMS";
/// Sockets by cookie.
pub const MAP_SOCKETS: &str = "SOCKETS";
/// What was dropped in the kernel, by reason.
pub const MAP_COUNTERS: &str = "REASONS";
/// Tail-called programs.
pub const MAP_TAILS: &str = "TAILS";

/// Copies the bytes of one TLS call, chunk by chunk.
pub const PROGRAM_COPY: &str = "tls_copy";
/// Index of [`PROGRAM_COPY`] in [`MAP_TAILS`].
pub const TAIL_COPY: u32 = 0;
