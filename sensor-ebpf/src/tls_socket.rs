//! Sends of the C library under a TLS call come by; their bytes tie the call's TLS object to its socket.
//!
//! For libraries that put their records out by themselves: these have no channel function that a probe could stand on.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use sensor_common::names::TAIL_COPY;
use sensor_common::state::CALL_CANDIDATE;

use crate::maps::{CALLS, TAILS};
use crate::tls::{key_of, never_tail_call};
use crate::tls_bind::{outgoing, record_at};
use crate::tls_nss::confirmed;

/// Where a message header has the address of its parts (`struct msghdr`, 64-bit).
const PARTS_AT: u64 = 16;
/// Lowest and highest type of a TLS record (RFC 8446, 5.1).
const RECORD_MIN: u8 = 0x14;
const RECORD_MAX: u8 = 0x17;

/// A pointer in the process's memory; 0 where there is none.
#[inline(always)]
fn pointer(at: u64) -> u64 {
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    unsafe { bpf_probe_read_user(at as *const u64) }.unwrap_or(0)
}

#[inline(always)]
fn sent(ctx: &ProbeContext, data: impl FnOnce(u64) -> u64) -> u32 {
    let (Some(call), Some(argument)) =
        (CALLS.get_ptr_mut(&bpf_get_current_pid_tgid()), ctx.arg::<u64>(1))
    else {
        return 0;
    };
    // SAFETY: a live element that only this thread changes.
    let seen = unsafe { *call };
    let data = data(argument);
    if seen.state & CALL_CANDIDATE == 0 {
        outgoing(&key_of(seen.object), data);
    } else if data != seen.buffer
        && let Some((head, _)) = record_at(data)
        && head[0] >= RECORD_MIN
        && head[0] <= RECORD_MAX
        && let Some(confirmed) = confirmed(&seen)
    {
        // SAFETY: as above.
        unsafe { *call = confirmed };
        outgoing(&key_of(seen.object), data);
        // SAFETY: the tail-called program has the same type and context.
        unsafe { TAILS.tail_call(ctx, TAIL_COPY) };
    }
    never_tail_call(ctx);
    0
}

/// proto: ssize_t write(int fd, const void *buf, size_t count);
#[uprobe]
pub fn socket_write(ctx: ProbeContext) -> u32 {
    sent(&ctx, |buffer| buffer)
}

/// proto: ssize_t send(int sockfd, const void *buf, size_t len, int flags);
#[uprobe]
pub fn socket_send(ctx: ProbeContext) -> u32 {
    sent(&ctx, |buffer| buffer)
}

/// proto: ssize_t writev(int fd, const struct iovec *iov, int iovcnt);
#[uprobe]
pub fn socket_writev(ctx: ProbeContext) -> u32 {
    sent(&ctx, pointer)
}

/// proto: ssize_t sendmsg(int sockfd, const struct msghdr *msg, int flags);
#[uprobe]
pub fn socket_sendmsg(ctx: ProbeContext) -> u32 {
    sent(&ctx, |message| pointer(pointer(message + PARTS_AT)))
}
