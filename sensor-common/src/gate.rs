//! The agreement about enforcement comes in one place: keys and values of the gate's pinned maps, its records, its words.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::state::ConnectionKey;

pub use crate::kinds::{
    HTTP_2, HTTP_BODY, HTTP_BODY_BEGUN, HTTP_BODY_NAMED, HTTP_HEAD, HTTP_UPGRADE, RULE_CLASS,
    RULE_CREDENTIAL, RULE_DESTINATION, RULE_FORMS, RULE_KEY_PREFIX, RULE_MODEL, RULE_MODEL_FORM,
    RULE_MODEL_IN_PATH, RULE_OPAQUE, RULE_OTHER_CREDENTIAL, RULE_OTHER_MODEL, RULE_PART, RULE_PATH,
    RULE_PATH_TAIL,
};

/// Version of everything in this file; pinned maps of another version are never read, they are replaced.
pub const GATE_ABI_VERSION: u32 = 5;

/// Class of a process nobody has told the gate about.
pub const CLASS_UNKNOWN: u32 = 0;
/// Stands for every class in the rules of a panic.
pub const CLASS_EVERY: u32 = u32::MAX;
/// Stands for no class: what is said of it is how a destination is called.
pub const CLASS_NONE: u32 = u32::MAX - 1;

/// Destination that is no AI provider.
pub const DESTINATION_NONE: u32 = 0;
/// Any AI provider; in a rule, all that have no rule of their own.
pub const DESTINATION_ANY: u32 = 1;
/// The first provider of the catalogue.
pub const DESTINATION_FIRST: u32 = 2;

/// Who a process or a cgroup is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Subject {
    /// Class of the subject; rules are looked up by it.
    pub class: u32,
    /// Padding.
    pub reserved: u32,
    /// Start of the process, boot clock nanoseconds; 0 for a cgroup.
    pub start_ns: u64,
}

/// Sockets of the class are looked at: only this makes anything cost anything.
pub const SCOPE_ENFORCED: u32 = 1;
/// Requests of the class are judged by their content, so its connections have to be seen.
pub const SCOPE_CONTENT: u32 = 2;
/// An AI connection of the class that cannot be seen is refused.
pub const SCOPE_REFUSE_OPAQUE: u32 = 4;
/// Every QUIC datagram of the class is refused, not only those to known AI addresses.
pub const SCOPE_REFUSE_QUIC: u32 = 8;
/// The class has rules about paths.
pub const SCOPE_PATHS: u32 = 16;
/// The class has rules about credentials.
pub const SCOPE_KEYS: u32 = 32;
/// The class has rules about models.
pub const SCOPE_MODELS: u32 = 64;

/// Something is refused to the class by name, so a name that cannot be read is refused as well.
pub const SCOPE_NAMES: u32 = 128;
/// The class has rules about the last segments of paths.
pub const SCOPE_PATH_TAILS: u32 = 512;

/// The class has rules about what credentials begin with.
pub const SCOPE_KEY_PREFIXES: u32 = 1024;

/// The value of a rule that holds at one destination; at `DESTINATION_NONE` that of one that holds at all.
#[expect(clippy::inline_always, reason = "the kernel half calls no functions")]
#[inline(always)]
pub const fn value_at(value: [u64; 2], destination: u32) -> [u64; 2] {
    [value[0], value[1] ^ destination as u64]
}

/// What a verdict is found under: a fixed number of look-ups, however many rules there are.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RuleKey {
    /// Class of the subject.
    pub class: u32,
    /// One of the `RULE_` constants.
    pub kind: u32,
    /// Depends on the kind.
    pub value: [u64; 2],
}

/// The request passes, although a more general rule says otherwise.
pub const ACTION_ALLOW: u32 = 1;
/// The request is refused.
pub const ACTION_DENY: u32 = 2;
/// The request is refused and its process killed; only where an operator wrote `kill`.
pub const ACTION_KILL: u32 = 3;

/// Of a key: the request passes as far as the key goes, and its model is judged in the group whose number is the reason.
pub const ACTION_GROUP: u32 = 4;

/// What happens, why, and until when.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Verdict {
    /// One of the `ACTION_` constants.
    pub action: u32,
    /// Error that a refused `connect` gives, where the kernel lets the program choose; 0 for `EPERM`.
    pub errno: u32,
    /// Number of the reason; the agent knows its words.
    pub reason: u32,
    /// One of the `LAYER_` constants, where a verdict on a socket is not of the agent; else 0.
    pub layer: u32,
    /// Monotonic nanoseconds after which this is no verdict; 0 for never.
    pub expires_ns: u64,
}

/// The hash is of a whole name.
pub const NAME_WHOLE: u64 = 1;
/// The hash is of what a name ends in.
pub const NAME_TAIL: u64 = 2;
/// The hash is of what a name ends in, together with that of its first label.
pub const NAME_HEAD_AND_TAIL: u64 = 3;

/// Makes the key of a name out of its hash (last byte to first), of what that is, and of the hash of its first label.
#[expect(clippy::inline_always, reason = "it stands inside a loop that older verifiers follow")]
#[inline(always)]
pub const fn name_key(hash: u64, what: u64, head: u64) -> u64 {
    hash.rotate_left(17) ^ head.wrapping_mul(crate::state::NAME_HASH_PRIME) ^ what
}

/// Switches and figures that hold for the whole gate.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Switches {
    /// Whether any class is in force: without it every hook ends at once.
    pub active: u32,
    /// Whether cgroups above a process's own are asked for its class.
    pub ancestors: u32,
    /// Until when every connection's name is looked at, for a panic; monotonic nanoseconds.
    pub panic_until_ns: u64,
    /// Until when every probed process's keys and models are looked at, for a panic about one; monotonic nanoseconds.
    pub content_until_ns: u64,
}

/// Nothing was said on the socket yet.
pub const STATE_AWAIT: u32 = 0;
/// The socket leads to an AI provider.
pub const STATE_AI: u32 = 1;
/// The socket leads elsewhere.
pub const STATE_OTHER: u32 = 2;

/// The socket was older than the gate: what it said before is not known.
pub const GATE_OLDER: u32 = 1;
/// The socket is in the map that `gate_message` watches.
pub const GATE_MAPPED: u32 = 2;
/// A write on the socket was refused.
pub const GATE_REFUSED: u32 = 4;
/// A record on the socket could not be seen, and passed because the class lets it.
pub const GATE_OPAQUE: u32 = 8;
/// A ClientHello was said on the socket: what follows are TLS records.
pub const GATE_TLS: u32 = 16;

/// What the gate keeps of a socket, in the socket itself.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Gate {
    /// Socket cookie.
    pub cookie: u64,
    /// cgroup v2 id of the process that connected.
    pub cgroup: u64,
    /// Bytes that passed.
    pub sent: u64,
    /// When the first part of a ClientHello came; 0 before.
    pub hello_ns: u64,
    /// Process that connected.
    pub tgid: u32,
    /// Its class.
    pub class: u32,
    /// Where the socket leads, as far as is known.
    pub destination: u32,
    /// One of the `STATE_` constants.
    pub state: u32,
    /// `GATE_` bits.
    pub flags: u32,
    /// Bytes of a ClientHello that came so far.
    pub hello_len: u32,
    /// Messages seen before anything was known.
    pub messages: u32,
    /// 2 (IPv4) or 10 (IPv6).
    pub family: u32,
    /// Remote port, host order.
    pub remote_port: u32,
    /// Padding.
    pub reserved: u32,
    /// Remote address, network order; IPv4 in the first four bytes.
    pub remote_address: [u8; 16],
    /// The TLS object that writes on the socket.
    pub object: ConnectionKey,
    /// Begin and length of the name in its ClientHello.
    pub span: [u32; 2],
    /// Bytes of the message that belong to the ClientHello.
    pub part: u32,
    /// Why the ClientHello may hide a name; 0 where it does not.
    pub hidden: u32,
}

/// What the gate keeps of a TLS object.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Object {
    /// Tells this generation of the object from others at the same address.
    pub id: u64,
    /// Socket cookie, once bound; 0 before.
    pub cookie: u64,
    /// Class of the process.
    pub class: u32,
    /// One of the `HTTP_` constants.
    pub http: u32,
    /// Destination of the last request, by its `Host`.
    pub destination: u32,
    /// Reason why what is written now cannot be judged; 0 where it was.
    pub unjudged: u32,
    /// What was decided of the last request; `action` 0 where nothing was.
    pub verdict: Verdict,
    /// Group of the last request's key.
    pub group: u32,
    /// Padding.
    pub reserved: u32,
}

/// A socket that leads to an AI provider, for whoever has to cut it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct AiSocket {
    /// Process that connected.
    pub tgid: u32,
    /// Its class.
    pub class: u32,
    /// Where the socket leads.
    pub destination: u32,
    /// 2 (IPv4) or 10 (IPv6).
    pub family: u32,
    /// cgroup v2 id of the process.
    pub cgroup: u64,
}

/// Refused at `connect`, by the address.
pub const LAYER_ADDRESS: u32 = 1;
/// Refused at the ClientHello, by its name.
pub const LAYER_NAME: u32 = 2;
/// Refused at a write, by what is in it.
pub const LAYER_CONTENT: u32 = 3;
/// Refused at a write, because the rules have changed or a panic is on.
pub const LAYER_CHANGE: u32 = 4;
/// Refused because what is sent cannot be seen.
pub const LAYER_OPAQUE: u32 = 5;
/// Refused at `socket`: a kind of socket that cannot be watched.
pub const LAYER_SOCKET: u32 = 6;
/// Refused datagram.
pub const LAYER_QUIC: u32 = 7;

/// Reasons that the gate itself gives; smaller numbers are the agent's.
pub const REASON_OWN: u32 = 0x8000_0000;
/// The ClientHello was in several TLS records, or its name behind what is looked at, or it took too long.
pub const REASON_HELLO_UNREADABLE: u32 = REASON_OWN;
/// The ClientHello hides its name (ECH).
pub const REASON_HELLO_HIDDEN: u32 = REASON_OWN + 1;
/// A record was sent that no probe has seen.
pub const REASON_RECORD_UNSEEN: u32 = REASON_OWN + 2;
/// An MPTCP socket cannot be watched.
pub const REASON_MPTCP: u32 = REASON_OWN + 3;
/// A QUIC datagram of a class that has to use TCP.
pub const REASON_QUIC: u32 = REASON_OWN + 4;
/// The socket could not be put under watch.
pub const REASON_UNMAPPED: u32 = REASON_OWN + 5;
/// The head of a request was too long, or said a thing twice.
pub const REASON_HEAD_UNREADABLE: u32 = REASON_OWN + 6;
/// The connection speaks HTTP/2: requests share it, and their heads are compressed.
pub const REASON_HTTP_2: u32 = REASON_OWN + 7;
/// What is written is no HTTP/1 request.
pub const REASON_NOT_HTTP: u32 = REASON_OWN + 8;
/// What is written could not be read.
pub const REASON_UNREADABLE: u32 = REASON_OWN + 9;
/// The judging did not come to its end.
pub const REASON_UNFINISHED: u32 = REASON_OWN + 10;
/// A raw socket, from which anything may be sent.
pub const REASON_RAW: u32 = REASON_OWN + 11;
/// A socket whose records the kernel is to make itself (`TCP_ULP`): they would not come by.
pub const REASON_ULP: u32 = REASON_OWN + 12;

/// The record tells of a refusal; otherwise of something that passed and should be known.
pub const EVENT_REFUSED: u32 = 1;
/// The process is to be killed.
pub const EVENT_KILL: u32 = 2;
/// Something passed unseen because the class lets it.
pub const EVENT_UNSEEN: u32 = 4;

/// What the gate did, as it stands in its ring.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GateEvent {
    /// Monotonic nanoseconds.
    pub at_ns: u64,
    /// Socket cookie; 0 where there is none.
    pub cookie: u64,
    /// cgroup v2 id of the process.
    pub cgroup: u64,
    /// Bytes of the socket that had passed before.
    pub sent: u64,
    /// `EVENT_` bits.
    pub flags: u32,
    /// One of the `LAYER_` constants.
    pub layer: u32,
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Class of the subject.
    pub class: u32,
    /// Destination.
    pub destination: u32,
    /// Number of the reason.
    pub reason: u32,
    /// Error that the application sees.
    pub errno: u32,
    /// 2 (IPv4) or 10 (IPv6).
    pub family: u32,
    /// Remote port, host order.
    pub remote_port: u32,
    /// Remote address, network order.
    pub remote_address: [u8; 16],
}

/// Who is about to put these bytes on the wire.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Owner {
    /// The TLS object.
    pub key: ConnectionKey,
    /// Its generation.
    pub id: u64,
}

/// What the gate counts, as index into its counter map.
pub const GATE_COUNTERS: [&str; 12] = [
    "refused",
    "event_no_room",
    "enrolled",
    "enrol_failed",
    "map_failed",
    "hello_table_full",
    "object_table_full",
    "unseen_passed",
    "unreadable",
    "judged",
    "bound",
    "call_table_full",
];

/// A connect, write, datagram or socket was refused.
pub const GATE_COUNT_REFUSED: u32 = 0;
/// The event ring had no room.
pub const GATE_COUNT_EVENT_NO_ROOM: u32 = 1;
/// A socket came under watch.
pub const GATE_COUNT_ENROLLED: u32 = 2;
/// A socket could not be noted.
pub const GATE_COUNT_ENROL_FAILED: u32 = 3;
/// A socket could not be put into the map of watched sockets.
pub const GATE_COUNT_MAP_FAILED: u32 = 4;
/// No room for another ClientHello in parts.
pub const GATE_COUNT_HELLO_TABLE_FULL: u32 = 5;
/// No room for another TLS object.
pub const GATE_COUNT_OBJECT_TABLE_FULL: u32 = 6;
/// A record passed unseen because the class lets it.
pub const GATE_COUNT_UNSEEN_PASSED: u32 = 7;
/// A buffer of a process could not be read.
pub const GATE_COUNT_UNREADABLE: u32 = 8;
/// A request was judged by its content.
pub const GATE_COUNT_JUDGED: u32 = 9;
/// A TLS object was bound to its socket.
pub const GATE_COUNT_BOUND: u32 = 10;
/// The table of calls was full.
pub const GATE_COUNT_CALL_TABLE_FULL: u32 = 11;
