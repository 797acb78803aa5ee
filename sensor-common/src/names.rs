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
/// Sockets whose ClientHello is under way.
pub const MAP_OPENINGS: &str = "OPENINGS";
/// What was dropped in the kernel, by reason.
pub const MAP_COUNTERS: &str = "REASONS";
/// Plaintext bytes that were dropped in the kernel, by the same reasons.
pub const MAP_LOST_BYTES: &str = "LOST_BYTES";
/// Tail-called programs.
pub const MAP_TAILS: &str = "TAILS";

/// Copies the bytes of one TLS call, chunk by chunk.
pub const PROGRAM_COPY: &str = "tls_copy";
/// Index of [`PROGRAM_COPY`] in [`MAP_TAILS`].
pub const TAIL_COPY: u32 = 0;

/// Tail-called programs of the gate.
pub const MAP_GATE_TAILS: &str = "GATE_TAILS";
/// Runs the scanner over the begin of a request.
pub const PROGRAM_SCAN: &str = "gate_scan";
/// Judges the host.
pub const PROGRAM_JUDGE: &str = "gate_judge";
/// Judges the path.
pub const PROGRAM_PATH: &str = "gate_path";
/// Judges credential and model.
pub const PROGRAM_CREDENTIAL: &str = "gate_credential";
/// Index of [`PROGRAM_SCAN`] in [`MAP_GATE_TAILS`].
pub const TAIL_SCAN: u32 = 0;
/// Index of [`PROGRAM_JUDGE`].
pub const TAIL_JUDGE: u32 = 1;
/// Index of [`PROGRAM_CREDENTIAL`].
pub const TAIL_CREDENTIAL: u32 = 2;
/// Index of [`PROGRAM_PATH`].
pub const TAIL_PATH: u32 = 3;

/// Tail-called programs of messages.
pub const MAP_MESSAGE_TAILS: &str = "MESSAGE_TAILS";
/// Listens to the first messages of a socket.
pub const PROGRAM_HELLO: &str = "gate_hello";
/// Index of [`PROGRAM_HELLO`] in [`MAP_MESSAGE_TAILS`].
pub const TAIL_HELLO: u32 = 0;
/// Judges a ClientHello by its name.
pub const PROGRAM_NAME: &str = "gate_name";
/// Index of [`PROGRAM_NAME`].
pub const TAIL_NAME: u32 = 1;
