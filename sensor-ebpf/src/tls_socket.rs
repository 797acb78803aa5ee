//! Sends of the C library under a TLS call come by; their bytes tie the call's TLS object to its socket.
//!
//! For libraries that put their records out by themselves: these have no channel function that a probe could stand on.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;

use crate::maps::CALLS;
use crate::tls::{key_of, never_tail_call};
use crate::tls_bind::outgoing;

/// Where a message header has the address of its parts (`struct msghdr`, 64-bit).
const PARTS_AT: u64 = 16;

/// A pointer in the process's memory; 0 where there is none.
#[inline(always)]
fn pointer(at: u64) -> u64 {
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    unsafe { bpf_probe_read_user(at as *const u64) }.unwrap_or(0)
}

#[inline(always)]
fn sent(ctx: &ProbeContext, data: impl FnOnce(u64) -> u64) -> u32 {
    let (Some(call), Some(argument)) =
        (CALLS.get_ptr(&bpf_get_current_pid_tgid()), ctx.arg::<u64>(1))
    else {
        return 0;
    };
    // SAFETY: a live element that only this thread changes.
    let object = unsafe { (*call).object };
    outgoing(&key_of(object), data(argument));
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
