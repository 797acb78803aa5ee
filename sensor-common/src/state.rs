//! Keys and values of the maps that both halves touch.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A TLS object: one process, one address.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ConnectionKey {
    /// Process id (thread group).
    pub tgid: u64,
    /// Address of the TLS object.
    pub object: u64,
}

/// Nothing is known yet: some bytes are captured for the agent to judge.
pub const VERDICT_PROBATION: u32 = 0;
/// AI traffic: everything is captured.
pub const VERDICT_WATCH: u32 = 1;
/// Not AI traffic: costs a map look-up and nothing more.
pub const VERDICT_IGNORE: u32 = 2;

/// What the kernel half keeps of a TLS object.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Connection {
    /// Identifies this generation of the TLS object: its first sight (kernel monotonic nanoseconds) and the processor.
    pub id: u64,
    /// Start of the process, boot clock nanoseconds.
    pub start_ns: u64,
    /// Bytes accepted by writes so far.
    pub sent: u64,
    /// Bytes returned by reads so far.
    pub received: u64,
    /// Socket cookie, once bound.
    pub cookie: u64,
    /// One of the `VERDICT_` constants.
    pub verdict: u32,
    /// `FLAG_` bits that hold for all records of the connection.
    pub flags: u32,
}

/// A TLS call that a thread is inside of.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Call {
    /// The TLS object's address.
    pub object: u64,
    /// The caller's buffer.
    pub buffer: u64,
    /// Where the call writes the number of bytes (`_ex` forms); 0 for the `int` forms.
    pub written: u64,
    /// Bytes to copy.
    pub length: u64,
    /// Bytes copied so far.
    pub done: u64,
    /// Stream offset of the buffer's first byte.
    pub offset: u64,
    /// Connection id.
    pub connection: u64,
    /// Start of the process.
    pub start_ns: u64,
    /// `FLAG_` bits of the records to write.
    pub flags: u32,
    /// `CALL_` bits.
    pub state: u32,
    /// Chunks copied so far.
    pub chunks: u32,
    /// What the program at the return has to know, by its kind.
    pub reserved: u32,
    /// Part of the nonce that is sent with a record, where a record is sealed.
    pub nonce: u64,
}

/// The call is a write.
pub const CALL_WRITE: u32 = 1;
/// The call is a read.
pub const CALL_READ: u32 = 2;
/// The call only brackets a handshake.
pub const CALL_HANDSHAKE: u32 = 4;
/// The agent has not yet decided about the connection: only its first bytes are copied.
pub const CALL_PROBATION: u32 = 8;
/// The thread leaves the call once its bytes are copied: the return is found by goroutine, not by thread.
pub const CALL_DETACHED: u32 = 16;

/// A call of a goroutine: one frame of its stack, wherever that stack has been moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GoCallKey {
    /// Address of the goroutine.
    pub goroutine: u64,
    /// Process id (thread group).
    pub tgid: u32,
    /// Bytes between the frame and the upper end of the goroutine's stack.
    pub depth: u32,
}

/// A process that carries probes.
pub const PROCESS_PROBED: u32 = 1;
/// Every TLS library that is known in the process shows a ClientHello before it is sent: one that none of them has shown
/// comes from a library that nobody knows yet.
pub const PROCESS_SHOWS_HELLOS: u32 = 2;

/// The name itself is an AI provider's.
pub const NAME_EXACT: u32 = 1;
/// Names that end in this (which begins with a dot or hyphen), or that do and have that first label, are an AI provider's.
/// The key is the hash of the tail, or `gate::name_key` of it and of the first label.
pub const NAME_SUFFIX: u32 = 2;
/// Such names may be an AI provider's; the agent checks the whole pattern.
pub const NAME_MAYBE: u32 = 4;

/// Start value of the hash under which names are looked up (FNV-1a, from the last byte to the first).
pub const NAME_HASH_START: u64 = 0xcbf2_9ce4_8422_2325;
/// Multiplier of that hash.
pub const NAME_HASH_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Adds one byte of a name to its hash; upper case counts as lower case.
///
/// The bit that tells the cases apart is set in every other character of a host name too, so no branch is needed, which
/// the verifiers of older kernels thank for.
#[expect(
    clippy::inline_always,
    reason = "the verifier of older kernels refuses calls with such loops around them"
)]
#[inline(always)]
pub const fn name_hash_step(hash: u64, byte: u8) -> u64 {
    (hash ^ (byte | 0x20) as u64).wrapping_mul(NAME_HASH_PRIME)
}

/// Where on the wire a TLS object's bytes were last written: the value found under a wire key.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WireOwner {
    /// The TLS object.
    pub key: ConnectionKey,
    /// Its generation.
    pub connection: u64,
}

/// The sealing object of a connection whose records are opened by another one.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Alias {
    /// The object that seals, by which the connection is known.
    pub key: ConnectionKey,
    /// Its generation.
    pub connection: u64,
}

/// Why something was dropped or done, as index into the counter map.
pub const COUNTERS: [&str; 14] = [
    "payload_no_room",
    "record_no_room",
    "event_no_room",
    "unreadable",
    "call_table_full",
    "connection_table_full",
    "return_without_entry",
    "chunks_over_limit",
    "probation_payload",
    "bound_on_wire",
    "hello_held",
    "ignored_calls",
    "record_unpaired",
    "quic_over_limit",
];

/// The ring had no room for the payload; the header was written.
pub const COUNT_PAYLOAD_NO_ROOM: u32 = 0;
/// The ring had no room even for the header.
pub const COUNT_RECORD_NO_ROOM: u32 = 1;
/// The event ring had no room.
pub const COUNT_EVENT_NO_ROOM: u32 = 2;
/// A buffer of the process could not be read.
pub const COUNT_UNREADABLE: u32 = 3;
/// The table of calls was full.
pub const COUNT_CALL_TABLE_FULL: u32 = 4;
/// The table of connections was full.
pub const COUNT_CONNECTION_TABLE_FULL: u32 = 5;
/// A return was seen whose entry was not.
pub const COUNT_RETURN_WITHOUT_ENTRY: u32 = 6;
/// A call had more chunks than are copied.
pub const COUNT_CHUNKS_OVER_LIMIT: u32 = 7;
/// Payload was left out on probation.
pub const COUNT_PROBATION_PAYLOAD: u32 = 8;
/// A TLS object was bound to its socket on the wire.
pub const COUNT_BOUND_ON_WIRE: u32 = 9;
/// A ClientHello was held back.
pub const COUNT_HELLO_HELD: u32 = 10;
/// A call of an ignored connection.
pub const COUNT_IGNORED_CALLS: u32 = 11;
/// A record was opened by an object whose socket is not known: handshakes, and what could not be paired.
pub const COUNT_RECORD_UNPAIRED: u32 = 12;
/// A client's first QUIC packet was not handed up: there were too many in this second.
pub const COUNT_QUIC_OVER_LIMIT: u32 = 13;
