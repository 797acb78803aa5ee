//! Maps and load-time settings of the gate; all maps but the scratch are pinned, so that they outlive the agent.

use core::arch::asm;

use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, ProgramArray, RingBuf, SockHash};
use sensor_common::forms::{FORMS_LEN, Held};
use sensor_common::gate::{
    AiSocket, GATE_COUNTERS, Gate, Object, Owner, RuleKey, Subject, Switches, Verdict,
};
use sensor_common::limits::{
    ADDRESSES_MAX, CALLS_MAX, CLASSES_MAX, CONNECTIONS_MAX, DEDICATED_MAX, FORMS_MAX,
    GATE_RING_BYTES, HEADS_MAX, HELLO_BUFFER_BYTES, HELLOS_MAX, NAMES_MAX, REASON_BYTES_MAX,
    REASONS_MAX, RULES_MAX, SOCKETS_MAX, SUBJECTS_MAX, WIRE_KEY_LEN,
};
use sensor_common::scan::{Head, SCANNER_TABLE_LEN};
use sensor_common::state::ConnectionKey;

/// Switches of the whole gate: the agent's, then those of a panic, so that nobody writes over the other's.
#[map]
pub static SWITCHES: Array<Switches> = Array::with_max_entries(2, 0);
/// Classes by process.
#[map]
pub static SUBJECT_PROCESSES: HashMap<u32, Subject> = HashMap::with_max_entries(SUBJECTS_MAX, 0);
/// Classes by cgroup.
#[map]
pub static SUBJECT_CGROUPS: HashMap<u64, Subject> = HashMap::with_max_entries(SUBJECTS_MAX, 0);
/// What is in force for a class.
#[map]
pub static SCOPES: HashMap<u32, u32> = HashMap::with_max_entries(CLASSES_MAX, 0);
/// Verdicts.
#[map]
pub static RULES: HashMap<RuleKey, Verdict> = HashMap::with_max_entries(RULES_MAX, 0);
/// Destinations by name.
#[map]
pub static DESTINATION_NAMES: HashMap<u64, u32> = HashMap::with_max_entries(NAMES_MAX, 0);
/// Destinations by address, as far as DNS answers tell: a hint, as others may have the same address.
#[map]
pub static DESTINATION_ADDRESSES: LruHashMap<[u8; 16], u32> =
    LruHashMap::with_max_entries(ADDRESSES_MAX, 0);
/// Destinations by addresses that lead nowhere else: nothing but orders writes them, and nothing evicts them.
#[map]
pub static DEDICATED_ADDRESSES: HashMap<[u8; 16], u32> =
    HashMap::with_max_entries(DEDICATED_MAX, 0);
/// Verdicts on single sockets, by cookie.
#[map]
pub static MARKS: LruHashMap<u64, Verdict> = LruHashMap::with_max_entries(SOCKETS_MAX, 0);
/// Sockets that lead to AI providers, by cookie.
#[map]
pub static AI_SOCKETS: LruHashMap<u64, AiSocket> = LruHashMap::with_max_entries(SOCKETS_MAX, 0);
/// Watched sockets, by cookie.
#[map]
pub static WATCHED: SockHash<u64> = SockHash::with_max_entries(SOCKETS_MAX, 0);
/// Words of reasons, for whoever looks at the maps; the programs do not.
#[map]
pub static REASON_WORDS: HashMap<u32, [u8; REASON_BYTES_MAX]> =
    HashMap::with_max_entries(REASONS_MAX, 0);
/// What is known of a socket, kept in the socket.
#[btf_map]
pub static GATES: SkStorage<Gate> = SkStorage::new();
/// TLS objects.
#[map]
pub static OBJECTS: LruHashMap<ConnectionKey, Object> =
    LruHashMap::with_max_entries(CONNECTIONS_MAX, 0);
/// TLS objects that threads are inside of.
#[map]
pub static INSIDE: HashMap<u64, u64> = HashMap::with_max_entries(CALLS_MAX, 0);
/// Records that TLS objects are about to put on the wire.
#[map]
pub static RECORDS: LruHashMap<[u8; WIRE_KEY_LEN], Owner> =
    LruHashMap::with_max_entries(CONNECTIONS_MAX, 0);
/// ClientHellos that are being read.
#[map]
pub static HELLOS: HashMap<u64, [u8; HELLO_BUFFER_BYTES]> =
    HashMap::with_max_entries(HELLOS_MAX, 0);
/// What a new element of [`HELLOS`] is made of.
#[map]
pub static NO_HELLO: Array<[u8; HELLO_BUFFER_BYTES]> = Array::with_max_entries(1, 0);
/// Begins of requests that are being judged, by TLS object: no two threads are inside of one.
#[map]
pub static HEADS: LruHashMap<ConnectionKey, Head> = LruHashMap::with_max_entries(HEADS_MAX, 0);
/// What a new element of [`HEADS`] is made of.
#[map]
pub static NO_HEAD: Array<Head> = Array::with_max_entries(1, 0);
/// The scanner of requests.
#[map]
pub static SCANNER: Array<[u16; SCANNER_TABLE_LEN]> = Array::with_max_entries(1, 0);
/// Which automata of models' names stand in [`FORMS`].
#[map]
pub static FORMS_HELD: Array<Held> = Array::with_max_entries(FORMS_MAX, 0);
/// The automata.
#[map]
pub static FORMS: Array<[u16; FORMS_LEN]> = Array::with_max_entries(FORMS_MAX, 0);
/// States of the hash behind the inner and the outer key of fingerprints (RFC 2104, 4).
#[map]
pub static KEY_STATES: Array<[[u32; 8]; 2]> = Array::with_max_entries(1, 0);
/// What the gate did.
#[map]
pub static GATE_EVENTS: RingBuf = RingBuf::with_byte_size(GATE_RING_BYTES, 0);
/// What the gate counts.
#[map]
pub static GATE_COUNTS: Array<u64> = Array::with_max_entries(GATE_COUNTERS.len() as u32, 0);
/// Tail-called programs.
#[map]
pub static GATE_TAILS: ProgramArray = ProgramArray::with_max_entries(4, 0);
/// Tail-called programs of messages.
#[map]
pub static MESSAGE_TAILS: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// Version of the gate's ABI, checked by the agent.
#[unsafe(no_mangle)]
pub static GATE_ABI: u32 = sensor_common::gate::GATE_ABI_VERSION;
/// Whether a refused `connect` may choose its error.
#[unsafe(no_mangle)]
pub static HAS_SET_RETVAL: u32 = 0;

/// Reads a load-time setting; volatile, because the loader writes it after the compiler has looked.
#[inline(always)]
pub fn setting(value: &'static u32) -> u32 {
    // SAFETY: a reference to a static is valid and aligned.
    unsafe { core::ptr::read_volatile(value) }
}

/// Kernel monotonic clock, nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper takes no arguments and cannot fail.
    unsafe { bpf_ktime_get_ns() }
}

/// Counts one event under a reason of `sensor_common::gate`.
#[inline(always)]
pub fn count(reason: u32) {
    if let Some(counter) = GATE_COUNTS.get_ptr_mut(reason) {
        // SAFETY: the pointer is a live, aligned array element; `core` has no atomic addition for this target.
        unsafe {
            asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) 1u64, options(nostack))
        };
    }
}
