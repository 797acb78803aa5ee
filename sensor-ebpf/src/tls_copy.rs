//! A noted TLS call comes in; its bytes go out as records in tiers, one chunk a run, by tail calls to itself.

use core::arch::asm;

use aya_ebpf::bindings::BPF_RB_AVAIL_DATA;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use sensor_common::limits::{
    CHUNKS_PER_CALL_MAX, PROBATION_BYTES_MAX, TIER_BATCH, TIER_CHUNK, TIER_HUGE, TIER_LARGE,
    TIER_MEDIUM, TIER_SMALL,
};
use sensor_common::names::TAIL_COPY;
use sensor_common::record::{
    FLAG_FRESH, FLAG_NO_ROOM, FLAG_PROBATION, FLAG_SENT, FLAG_UNREADABLE, Header, KIND_DATA, Record,
};
use sensor_common::state::{
    CALL_DETACHED, CALL_PROBATION, CALL_READ, COUNT_CHUNKS_OVER_LIMIT, COUNT_PAYLOAD_NO_ROOM,
    COUNT_PROBATION_PAYLOAD, COUNT_RECORD_NO_ROOM, COUNT_UNREADABLE, Call, VERDICT_IGNORE,
};

use crate::maps::{CALLS, CONNECTIONS, DATA, PAYLOAD_ROOM, TAILS, count_lost, setting};
use crate::ring::{READER_DATA, emit, header, wake_flag};
use crate::tls::key_of;

/// What one chunk looked like.
struct Copied {
    /// A record was written, with payload.
    written: bool,
    /// The chunk's first four bytes, where it has so many; none where it could not be read.
    first: Option<[u8; 4]>,
}

/// What there is of a chunk that found no room.
const NOTHING: Copied = Copied { written: false, first: None };

/// Clamps a length for the verifier; LLVM would drop a plain comparison it can prove needless.
#[inline(always)]
fn clamp<const N: usize>(length: u64) -> u64 {
    let mut clamped = length;
    // SAFETY: only the named register is changed, to at most `N`.
    unsafe {
        asm!("if {0} <= {1} goto +1", "{0} = {1}", inout(reg) clamped, const N, options(nomem, nostack));
    }
    clamped
}

/// Writes one record with up to `N` payload bytes.
#[inline(always)]
fn copy<const N: usize>(mut record: Header, from: u64, length: u64) -> Copied {
    let Some(mut entry) = DATA.reserve::<Record<N>>(0) else { return NOTHING };
    let length = clamp::<N>(length);
    let target = entry.as_mut_ptr();
    // SAFETY: `target` is reserved memory of a whole record; the helper writes at most `N` bytes into its payload.
    let failed = unsafe {
        bpf_probe_read_user((&raw mut (*target).payload).cast(), length as u32, from as *const _)
    };
    let mut first = None;
    if failed == 0 {
        record.captured = length as u32;
        // SAFETY: the payload has room for more than four bytes; those behind `length` are looked at by nobody.
        first = Some(unsafe { (&raw const (*target).payload).cast::<[u8; 4]>().read_unaligned() });
    } else {
        record.flags |= FLAG_UNREADABLE;
        count_lost(COUNT_UNREADABLE, length);
    }
    let at = record.at_ns;
    // SAFETY: `target` is reserved memory of a whole record.
    unsafe { (&raw mut (*target).header).write(record) };
    entry.submit(wake_flag(READER_DATA, at));
    Copied { written: true, first }
}

/// Chooses the smallest tier that holds the chunk.
#[inline(always)]
fn copy_tiered(record: Header, from: u64, length: u64) -> Copied {
    if length <= TIER_SMALL as u64 {
        copy::<TIER_SMALL>(record, from, length)
    } else if length <= TIER_CHUNK as u64 {
        copy::<TIER_CHUNK>(record, from, length)
    } else if length <= TIER_MEDIUM as u64 {
        copy::<TIER_MEDIUM>(record, from, length)
    } else if length <= TIER_BATCH as u64 {
        copy::<TIER_BATCH>(record, from, length)
    } else if length <= TIER_LARGE as u64 {
        copy::<TIER_LARGE>(record, from, length)
    } else {
        copy::<TIER_HUGE>(record, from, length)
    }
}

/// Whether these are the first bytes of a method (RFC 9110, 9.3; RFC 5789) or of HTTP/2's preface.
#[inline(always)]
fn begins_request(first: [u8; 4]) -> bool {
    const GET: u32 = u32::from_be_bytes(*b"GET ");
    const HEAD: u32 = u32::from_be_bytes(*b"HEAD");
    const POST: u32 = u32::from_be_bytes(*b"POST");
    const PUT: u32 = u32::from_be_bytes(*b"PUT ");
    const PATCH: u32 = u32::from_be_bytes(*b"PATC");
    const DELETE: u32 = u32::from_be_bytes(*b"DELE");
    const OPTIONS: u32 = u32::from_be_bytes(*b"OPTI");
    const PREFACE: u32 = u32::from_be_bytes(*b"PRI ");
    let first = u32::from_be_bytes(first);
    matches!(first, GET | HEAD | POST | PUT | PATCH | DELETE | OPTIONS | PREFACE)
}

/// Stops looking at a connection whose first bytes are not a client's HTTP.
///
/// A request that is read belongs to a server. What an object that is older than its probes reads first may be the
/// middle of an answer: the size of a chunk (`FA`) and base64 begin with capitals too, a method has a name.
#[inline(always)]
fn judge_first_bytes(call: &Call, first: [u8; 4]) {
    let key = key_of(call.object);
    let Some(connection) = CONNECTIONS.get_ptr_mut(&key) else { return };
    // SAFETY: a live element of the LRU map; the kernel defers its reuse until the program has ended.
    let sent_before = unsafe { (*connection).sent };
    let method = first[0].is_ascii_uppercase() && first[1].is_ascii_uppercase();
    let fresh = call.flags & FLAG_FRESH != 0;
    let foreign = if call.flags & FLAG_SENT != 0 {
        fresh && !method
    } else if fresh {
        // `HT` begins a response.
        sent_before == 0 && method && [first[0], first[1]] != *b"HT"
    } else {
        sent_before == 0 && call.length >= 4 && begins_request(first)
    };
    if foreign {
        // SAFETY: as above; all writers of this verdict store the same value.
        unsafe { (*connection).verdict = VERDICT_IGNORE };
    }
}

/// Accounts for bytes that were not copied, with a header alone: the gap is known to the byte, and each byte has one reason.
#[inline(always)]
fn account(mut record: Header, flag: u32, reason: u32) {
    record.flags |= flag;
    let reason = if emit(&DATA, READER_DATA, &record) { reason } else { COUNT_RECORD_NO_ROOM };
    count_lost(reason, u64::from(record.call_len));
}

/// Whether the ring may take payload: its last part is kept for headers, so that overload costs payload before metadata.
#[inline(always)]
fn has_room_for_payload() -> bool {
    DATA.query(u64::from(BPF_RB_AVAIL_DATA)) <= u64::from(setting(&PAYLOAD_ROOM))
}

/// Copies the next chunk of the call the thread is inside of.
/// proto: none (only ever tail-called)
#[uprobe]
pub fn tls_copy(ctx: ProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    let Some(call) = CALLS.get_ptr_mut(&thread) else { return 0 };
    // SAFETY: a live element that only this thread changes.
    let now = unsafe { *call };
    let left = now.length.wrapping_sub(now.done);
    let length = if left > TIER_HUGE as u64 { TIER_HUGE as u64 } else { left };
    let mut record = header(KIND_DATA, now.connection);
    record.flags = now.flags;
    record.start_ns = now.start_ns;
    record.offset = now.offset + now.done;
    record.call_len = length as u32;
    let mut last = length == left;
    if now.state & CALL_PROBATION != 0 && record.offset >= PROBATION_BYTES_MAX {
        record.call_len = left as u32;
        last = true;
        account(record, FLAG_PROBATION, COUNT_PROBATION_PAYLOAD);
    } else if now.chunks >= CHUNKS_PER_CALL_MAX {
        record.call_len = left as u32;
        last = true;
        account(record, FLAG_NO_ROOM, COUNT_CHUNKS_OVER_LIMIT);
    } else {
        let copied = if has_room_for_payload() {
            copy_tiered(record, now.buffer + now.done, length)
        } else {
            NOTHING
        };
        if !copied.written {
            account(record, FLAG_NO_ROOM, COUNT_PAYLOAD_NO_ROOM);
        } else if record.offset == 0
            && now.state & CALL_PROBATION != 0
            && length >= 2
            && let Some(first) = copied.first
        {
            judge_first_bytes(&now, first);
        }
    }
    if !last {
        // SAFETY: a live element that only this thread changes.
        unsafe {
            (*call).done = now.done + length;
            (*call).chunks = now.chunks + 1;
        }
        // SAFETY: the tail-called program is this one.
        unsafe { TAILS.tail_call(&ctx, TAIL_COPY) };
    }
    if now.state & (CALL_READ | CALL_DETACHED) != 0 {
        let _ = CALLS.remove(&thread);
    }
    0
}
