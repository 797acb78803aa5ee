//! Every bound that both halves share, with its unit and reason.

/// Payload bytes of the smallest record: most SSE chunks fit.
pub const TIER_SMALL: usize = 256;
/// Payload bytes of the second tier: heads of requests and responses.
pub const TIER_MEDIUM: usize = 1024;
/// Payload bytes of the third tier: short prompts.
pub const TIER_LARGE: usize = 8192;
/// Payload bytes of the largest tier: two full TLS records.
pub const TIER_HUGE: usize = 32768;

/// Chunks copied of one TLS call; the kernel allows 33 tail calls in a row. What lies beyond is a known gap.
pub const CHUNKS_PER_CALL_MAX: u32 = 32;

/// Payload bytes captured in each direction of a connection before the agent has decided whether it is AI traffic: a
/// whole call of usual size, because a fast answer is over before the decision reaches the kernel.
pub const PROBATION_BYTES_MAX: u64 = 256 * 1024;

/// Longest host name that is matched in the kernel, a power of two; RFC 1035 allows 253, no AI provider needs more.
pub const NAME_MAX: usize = 128;
/// Bytes of a name that are looked at, from its end; the verifiers of older kernels follow no longer loop.
pub const NAME_SCAN_MAX: u32 = 96;

/// Bytes of a ClientHello's client random (RFC 8446, 4.1.2), and of the part of a record that identifies it on the wire.
pub const WIRE_KEY_LEN: usize = 32;

/// TLS objects followed at once; the least recently used one gives way.
pub const CONNECTIONS_MAX: u32 = 16_384;
/// Sockets remembered at once; the least recently used one gives way.
pub const SOCKETS_MAX: u32 = 65_536;
/// Threads inside a TLS call at once.
pub const CALLS_MAX: u32 = 16_384;
/// Goroutines inside a TLS call at once; a panic may leave a call without its return, so the oldest gives way.
pub const GO_CALLS_MAX: u32 = 16_384;
/// Processes that carry probes at once.
pub const PROCESSES_MAX: u32 = 8_192;
/// Host names and patterns of AI providers.
pub const NAMES_MAX: u32 = 4_096;
/// Addresses learnt from DNS answers about AI names.
pub const ADDRESSES_MAX: u32 = 16_384;
/// Short names of programs that made AI calls before.
pub const PROGRAMS_MAX: u32 = 1_024;

/// Bytes of the ring that carries plaintext, unless configured.
pub const DATA_RING_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes of the ring that carries processes, sockets and names.
pub const EVENT_RING_BYTES: u32 = 1024 * 1024;
