//! DNS messages of local processes come by; questions and answers about AI names go out.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::programs::SkBuffContext;
use sensor_common::limits::NAME_MAX;
use sensor_common::record::{
    FLAG_AI_NAME, FLAG_SEGMENT, Hello, KIND_ANSWER, KIND_QUESTION, Record, Socket,
};
use sensor_common::state::COUNT_EVENT_NO_ROOM;

use crate::hello;
use crate::hello::HELLO_LEN;
use crate::maps::{EVENTS, SOCKETS, count};
use crate::names;
use crate::process::sender;
use crate::ring::{READER_EVENTS, quiet_header, wake_flag};
use crate::wire::load;

/// Bytes before the question (RFC 1035, 4.1.1).
const DNS_HEADER_LEN: u32 = 12;

/// Turns the labels of a DNS name into dots; gives its length with a leading dot, 0 where it is not a plain name.
#[inline(always)]
fn dotted(name: &mut [u8; NAME_MAX], length: u32) -> u32 {
    let mut left = 0u8;
    let mut at = 0usize;
    while at < NAME_MAX {
        if at as u32 >= length {
            return 0;
        }
        // SAFETY: `at` is below the length of the array.
        let byte = unsafe { name.get_unchecked_mut(at) };
        if left == 0 {
            if *byte == 0 {
                return at as u32;
            }
            if *byte > 63 {
                return 0;
            }
            left = *byte;
            *byte = b'.';
        } else {
            // The mask keeps the verifier's range the same in every round.
            left = left.wrapping_sub(1) & 63;
        }
        at += 1;
    }
    0
}

/// Reports a DNS question about an AI name, with the process that asks.
#[inline(always)]
pub fn question(ctx: &SkBuffContext, message: u32) {
    // SAFETY: the context is a socket buffer, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let Some(mut entry) = EVENTS.reserve::<Record<HELLO_LEN>>(0) else {
        count(COUNT_EVENT_NO_ROOM);
        return;
    };
    let target = entry.as_mut_ptr();
    // SAFETY: the payload is a `Hello`, eight-byte aligned.
    let body = unsafe { (&raw mut (*target).payload).cast::<Hello>() };
    let at = message + DNS_HEADER_LEN;
    // SAFETY: `body` is reserved memory of a whole `Hello`.
    let loaded = load::<NAME_MAX>(ctx, at, ctx.len().wrapping_sub(at), unsafe {
        (&raw mut (*body).name).cast()
    });
    // SAFETY: the name is filled as far as `loaded`.
    let length = dotted(unsafe { &mut (*body).name }, loaded);
    // Through memory, the verifier forgets which of the many exits was taken.
    // SAFETY: as above.
    unsafe {
        core::ptr::write_volatile(&raw mut (*body).name_len, length);
        // The name begins behind its first dot.
        core::ptr::write_volatile(&raw mut (*body).reserved, 1);
    }
    // SAFETY: as above.
    let length = unsafe { core::ptr::read_volatile(&raw const (*body).name_len) };
    // SAFETY: as above; the two numbers stand side by side.
    let (name, span) = unsafe { ((&raw const (*body).name).cast(), hello::span_of(body)) };
    if length < 2 || names::kind(name, span) == names::OTHER {
        entry.discard(0);
        return;
    }
    // SAFETY: the value is copied out at once. A socket that was never connected sends as whoever runs.
    let tgid = unsafe { SOCKETS.get(&cookie) }.map_or_else(sender, |socket| socket.tgid);
    let mut record = quiet_header(KIND_QUESTION, cookie);
    record.tgid = tgid;
    record.flags = FLAG_AI_NAME;
    record.captured = HELLO_LEN as u32;
    record.call_len = HELLO_LEN as u32;
    // SAFETY: `target` is reserved memory of a whole record.
    unsafe {
        (&raw mut (*body).socket).write(Socket { cookie, tgid, ..Socket::default() });
        (&raw mut (*body).name_len).write(length);
        (&raw mut (*body).reserved).write(0);
        (&raw mut (*target).header).write(record);
    }
    entry.submit(wake_flag(READER_EVENTS, record.at_ns));
}

/// Hands a DNS answer to the agent, which keeps those about AI names: a datagram's message, or a segment of TCP.
#[inline(always)]
pub fn answer<const ROOM: usize>(
    ctx: &SkBuffContext,
    message: u32,
    length: u32,
    segment: Option<u32>,
) {
    let Some(mut entry) = EVENTS.reserve::<Record<ROOM>>(0) else {
        count(COUNT_EVENT_NO_ROOM);
        return;
    };
    let target = entry.as_mut_ptr();
    // SAFETY: the context is a socket buffer, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let mut record = quiet_header(KIND_ANSWER, cookie);
    // SAFETY: the value is copied out at once.
    record.tgid = unsafe { SOCKETS.get(&cookie) }.map_or(0, |socket| socket.tgid);
    // SAFETY: `target` is reserved memory of a whole record.
    let payload = unsafe { (&raw mut (*target).payload).cast() };
    record.call_len = length.wrapping_sub(message);
    if let Some(sequence) = segment {
        record.flags = FLAG_SEGMENT;
        record.offset = u64::from(sequence);
    }
    record.captured = load::<ROOM>(ctx, message, record.call_len, payload);
    if record.captured == 0 {
        entry.discard(0);
        return;
    }
    // SAFETY: as above.
    unsafe { (&raw mut (*target).header).write(record) };
    entry.submit(wake_flag(READER_EVENTS, record.at_ns));
}
