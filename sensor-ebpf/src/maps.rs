//! Maps and load-time settings of the kernel half.

use core::arch::asm;

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, ProgramArray, RingBuf};
use sensor_common::limits::{
    ADDRESSES_MAX, CALLS_MAX, CONNECTIONS_MAX, DATA_RING_BYTES, EVENT_RING_BYTES, GO_CALLS_MAX,
    HEARD_MAX, NAMES_MAX, OPENINGS_MAX, PROCESSES_MAX, PROGRAMS_MAX, SOCKETS_MAX, WIRE_KEY_LEN,
};
use sensor_common::record::Socket;
use sensor_common::state::{
    Alias, COUNTERS, Call, Connection, ConnectionKey, GoCallKey, WireOwner,
};

/// Plaintext records.
#[map]
pub static DATA: RingBuf = RingBuf::with_byte_size(DATA_RING_BYTES, 0);
/// Process, socket and name records.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_RING_BYTES, 0);
/// TLS objects.
#[map]
pub static CONNECTIONS: LruHashMap<ConnectionKey, Connection> =
    LruHashMap::with_max_entries(CONNECTIONS_MAX, 0);
/// What the agent decided about a connection on probation, by connection id.
#[map]
pub static VERDICTS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(CONNECTIONS_MAX, 0);
/// TLS calls that threads are inside of, by thread.
#[map]
pub static CALLS: HashMap<u64, Call> = HashMap::with_max_entries(CALLS_MAX, 0);
/// TLS calls that goroutines are inside of.
#[map]
pub static GO_CALLS: LruHashMap<GoCallKey, Call> = LruHashMap::with_max_entries(GO_CALLS_MAX, 0);
/// Bytes that a TLS object is about to put on the wire.
#[map]
pub static WIRE: LruHashMap<[u8; WIRE_KEY_LEN], WireOwner> =
    LruHashMap::with_max_entries(CONNECTIONS_MAX, 0);
/// Until when some TLS object waits to be found on the wire (kernel monotonic nanoseconds).
#[map]
pub static WIRE_WANTED: Array<u64> = Array::with_max_entries(1, 0);
/// Sockets by the first bytes of a record that has just arrived on them.
#[map]
pub static HEARD: LruHashMap<[u8; WIRE_KEY_LEN], u64> = LruHashMap::with_max_entries(HEARD_MAX, 0);
/// Sealing objects by the cookie of the socket that their records leave by.
#[map]
pub static BOUND: LruHashMap<u64, ConnectionKey> = LruHashMap::with_max_entries(CONNECTIONS_MAX, 0);
/// Sealing objects by the opening object of the same connection.
#[map]
pub static ALIASES: LruHashMap<ConnectionKey, Alias> =
    LruHashMap::with_max_entries(CONNECTIONS_MAX, 0);
/// Until when arriving records are looked at (kernel monotonic nanoseconds).
#[map]
pub static AEAD_UNTIL: Array<u64> = Array::with_max_entries(1, 0);
/// Sockets of TCP that are of interest, by cookie: apart from the others, which would push them out. They leave as they close.
#[map]
pub static WATCHED: LruHashMap<u64, Socket> = LruHashMap::with_max_entries(CONNECTIONS_MAX, 0);
/// Other sockets by cookie.
#[map]
pub static SOCKETS: LruHashMap<u64, Socket> = LruHashMap::with_max_entries(SOCKETS_MAX, 0);
/// Sockets whose ClientHello is under way, with the segments that may still be handed up.
#[map]
pub static OPENINGS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(OPENINGS_MAX, 0);
/// Until when the rest of some ClientHello is looked for (kernel monotonic nanoseconds).
#[map]
pub static OPENING_UNTIL: Array<u64> = Array::with_max_entries(1, 0);
/// The current second (kernel monotonic clock), and QUIC packets handed up in it.
#[map]
pub static QUIC_SECOND: Array<u64> = Array::with_max_entries(2, 0);
/// Processes that carry probes.
#[map]
pub static PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(PROCESSES_MAX, 0);
/// Names of AI providers by hash.
#[map]
pub static NAMES: HashMap<u64, u32> = HashMap::with_max_entries(NAMES_MAX, 0);
/// Addresses of AI providers, from DNS answers.
#[map]
pub static ADDRESSES: LruHashMap<[u8; 16], u32> = LruHashMap::with_max_entries(ADDRESSES_MAX, 0);
/// Short names of programs that made AI calls before.
#[map]
pub static PROGRAMS: HashMap<[u8; 16], u32> = HashMap::with_max_entries(PROGRAMS_MAX, 0);
/// What was dropped, by reason.
#[map]
pub static REASONS: Array<u64> = Array::with_max_entries(COUNTERS.len() as u32, 0);
/// Plaintext bytes that were dropped, by the same reasons.
#[map]
pub static LOST_BYTES: Array<u64> = Array::with_max_entries(COUNTERS.len() as u32, 0);
/// When each ring's reader was last woken.
#[map]
pub static WOKEN: Array<u64> = Array::with_max_entries(2, 0);
/// Tail-called programs.
#[map]
pub static TAILS: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Version of the ABI, checked by the agent.
#[unsafe(no_mangle)]
pub static ABI: u32 = sensor_common::ABI_VERSION;
/// Bytes of the plaintext ring that payload may fill; what is above is kept for headers.
#[unsafe(no_mangle)]
pub static PAYLOAD_ROOM: u32 = 0;
/// Whether a first ClientHello waits for the probes.
#[unsafe(no_mangle)]
pub static HOLD_HELLO: u32 = 0;
/// Offset of `task_struct.group_leader`, from the running kernel's BTF; 0 where unknown.
#[unsafe(no_mangle)]
pub static TASK_GROUP_LEADER: u32 = 0;
/// Offset of `task_struct.start_boottime`.
#[unsafe(no_mangle)]
pub static TASK_START_BOOTTIME: u32 = 0;
/// Offset of `task_struct.pid`.
#[unsafe(no_mangle)]
pub static TASK_PID: u32 = 0;
/// Offset of `task_struct.tgid`.
#[unsafe(no_mangle)]
pub static TASK_TGID: u32 = 0;
/// Offset of `task_struct.signal`; 0 where unknown.
#[unsafe(no_mangle)]
pub static TASK_SIGNAL: u32 = 0;
/// Offset of `signal_struct.live`.
#[unsafe(no_mangle)]
pub static SIGNAL_LIVE: u32 = 0;

/// Reads a load-time setting; volatile, because the loader writes it after the compiler has looked.
#[inline(always)]
pub fn setting(value: &'static u32) -> u32 {
    // SAFETY: a reference to a static is valid and aligned.
    unsafe { core::ptr::read_volatile(value) }
}

/// Counts one event under a reason of `sensor_common::state`.
#[inline(always)]
pub fn count(reason: u32) {
    add(&REASONS, reason, 1);
}

/// Counts plaintext bytes that are lost, and the record that would have held them.
#[inline(always)]
pub fn count_lost(reason: u32, bytes: u64) {
    count(reason);
    if bytes != 0 {
        add(&LOST_BYTES, reason, bytes);
    }
}

#[inline(always)]
fn add(counters: &'static Array<u64>, reason: u32, more: u64) {
    if let Some(counter) = counters.get_ptr_mut(reason) {
        // SAFETY: the pointer is a live, aligned array element; `core` has no atomic addition for this target.
        unsafe {
            asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) more, options(nostack))
        };
    }
}
