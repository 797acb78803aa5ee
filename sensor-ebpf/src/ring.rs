//! Headers come in; records go into a ring, and its reader is woken at most every few milliseconds.

use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::maps::RingBuf;
use sensor_common::record::Header;

use crate::maps::WOKEN;

/// Reader of the plaintext ring.
pub const READER_DATA: u32 = 0;
/// Reader of the event ring: always woken, its records are rare and urgent.
pub const READER_EVENTS: u32 = 1;

/// Submit flag: do not wake the reader.
const NO_WAKEUP: u64 = 1;
/// Submit flag: wake the reader.
const FORCE_WAKEUP: u64 = 2;
/// A reader that was woken this recently still looks by itself.
const WAKE_INTERVAL_NS: u64 = 4_000_000;

/// Chooses the submit flag: the first record after a quiet time wakes the reader, which then polls until it is quiet again.
#[inline(always)]
pub fn wake_flag(reader: u32, now: u64) -> u64 {
    if reader == READER_EVENTS {
        return FORCE_WAKEUP;
    }
    let Some(woken) = WOKEN.get_ptr_mut(reader) else { return FORCE_WAKEUP };
    // SAFETY: a live array element; a lost race between two CPUs costs one extra wake-up.
    let last = unsafe { *woken };
    if now.wrapping_sub(last) < WAKE_INTERVAL_NS {
        return NO_WAKEUP;
    }
    // SAFETY: as above.
    unsafe { *woken = now };
    FORCE_WAKEUP
}

/// A header of `kind` with the current time and thread; everything else is zero.
#[inline(always)]
pub fn header(kind: u32, connection: u64) -> Header {
    let thread = bpf_get_current_pid_tgid();
    Header {
        kind,
        flags: 0,
        at_ns: now(),
        tgid: (thread >> 32) as u32,
        tid: thread as u32,
        start_ns: 0,
        connection,
        offset: 0,
        call_len: 0,
        captured: 0,
        aux: 0,
        cgroup: 0,
    }
}

/// A header without the current thread: packets are also sent on behalf of others.
#[inline(always)]
pub fn quiet_header(kind: u32, connection: u64) -> Header {
    Header {
        kind,
        flags: 0,
        at_ns: now(),
        tgid: 0,
        tid: 0,
        start_ns: 0,
        connection,
        offset: 0,
        call_len: 0,
        captured: 0,
        aux: 0,
        cgroup: 0,
    }
}

/// Kernel monotonic clock, nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper takes no arguments and cannot fail.
    unsafe { bpf_ktime_get_ns() }
}

/// cgroup v2 id of the current process (not in uprobes before 5.15).
#[inline(always)]
pub fn cgroup() -> u64 {
    // SAFETY: the helper takes no arguments and cannot fail.
    unsafe { bpf_get_current_cgroup_id() }
}

/// Writes a record that is only a header; says whether there was room.
#[inline(always)]
pub fn emit(ring: &'static RingBuf, reader: u32, header: &Header) -> bool {
    let Some(mut entry) = ring.reserve::<Header>(0) else { return false };
    let at = header.at_ns;
    entry.write(*header);
    entry.submit(wake_flag(reader, at));
    true
}
