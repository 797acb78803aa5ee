//! A ClientHello on the wire comes in; its server name goes out, where it may be an AI provider's or its process carries probes.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::programs::SkBuffContext;
use sensor_common::limits::{NAME_MAX, WIRE_KEY_LEN};
use sensor_common::record::{
    FLAG_AI_NAME, FLAG_HELD, FLAG_UNKNOWN_LIBRARY, Hello, KIND_HELLO, Record, SOCKET_AI,
    SOCKET_HELD, SOCKET_HELD_FOR_LIBRARY, SOCKET_HELLO_SEEN, SOCKET_OF_INTEREST, Socket,
};
use sensor_common::state::{
    COUNT_EVENT_NO_ROOM, COUNT_HELLO_HELD, PROCESS_PROBED, PROCESS_SHOWS_HELLOS,
};

use crate::maps::{EVENTS, HOLD_HELLO, WIRE, count, setting};
use crate::names;
use crate::opening;
use crate::process::marks_of;
use crate::ring::{READER_EVENTS, quiet_header, wake_flag};
use crate::sockets::keep;
use crate::wire::{DROP, HELLO_MIN, PASS, Packet, RANDOM_AT, byte, half, load, socket_of};

/// Extensions walked through in search of the server name.
const EXTENSIONS_MAX: u32 = 32;
/// Bytes of a [`Hello`], as a record's payload.
pub const HELLO_LEN: usize = size_of::<Hello>();

/// Where the server name stands in a ClientHello whose record begins at `payload`, and its length.
#[inline(always)]
fn server_name(ctx: &SkBuffContext, payload: u32) -> Option<(u32, u32)> {
    let mut at = payload + HELLO_MIN;
    at += 1 + u32::from(byte(ctx, at)?);
    at += 2 + u32::from(half(ctx, at)?);
    at += 1 + u32::from(byte(ctx, at)?);
    at = (at + 2) & 0xffff;
    let mut walked = 0;
    while walked < EXTENSIONS_MAX {
        let head = ctx.load::<[u8; 4]>(at as usize).ok()?;
        if head[0] == 0 && head[1] == 0 {
            return Some((at + 9, u32::from(half(ctx, at + 7)?)));
        }
        // The mask keeps the verifier's range of `at` the same in every round, so that rounds can be compared.
        at = (at + 4 + u32::from(u16::from_be_bytes([head[2], head[3]]))) & 0xffff;
        walked += 1;
    }
    None
}

/// Whether the ClientHello of a process whose TLS libraries show theirs was shown by none of them.
#[inline(always)]
fn is_of_unknown_library(ctx: &SkBuffContext, payload: u32, marks: u32) -> bool {
    if marks & PROCESS_SHOWS_HELLOS == 0 {
        return false;
    }
    let Ok(random) = ctx.load::<[u8; WIRE_KEY_LEN]>((payload + RANDOM_AT) as usize) else {
        return false;
    };
    // SAFETY: only the presence of the key counts.
    unsafe { WIRE.get(&random) }.is_none()
}

/// Where the name in a record ends and begins: two numbers beside each other, which the caller has written.
///
/// # Safety
///
/// `body` is live memory of a whole [`Hello`].
#[inline(always)]
pub unsafe fn span_of(body: *const Hello) -> *const [u32; 2] {
    // SAFETY: as the caller says; `reserved` follows `name_len`.
    unsafe { (&raw const (*body).name_len).cast() }
}

/// Whether a ClientHello of the socket may be held back, and has not been for this reason.
#[inline(always)]
fn waits(socket: &Socket, reason: u32) -> bool {
    socket.tgid != 0 && setting(&HOLD_HELLO) != 0 && socket.flags & reason == 0
}

/// Reports a ClientHello with an AI name, or of a probed process; may hold the first one back until probes stand.
#[inline(always)]
pub fn hello(ctx: &SkBuffContext, packet: Packet, payload: u32) -> i32 {
    // SAFETY: the context is a socket buffer, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let mut socket = socket_of(ctx, packet, cookie);
    if socket.flags & (SOCKET_HELLO_SEEN | SOCKET_HELD) == SOCKET_HELLO_SEEN {
        return PASS;
    }
    let marks = marks_of(socket.tgid);
    let probed = marks & PROCESS_PROBED != 0;
    let unknown = is_of_unknown_library(ctx, payload, marks);
    let library = if unknown { FLAG_UNKNOWN_LIBRARY } else { 0 };
    let (name_at, name_len) = match server_name(ctx, payload) {
        Some(found) if found.1 as usize <= NAME_MAX => found,
        // No name, or not in this segment: who goes to an AI address is read all the same.
        _ => {
            // What is sent again may be cut in another way: the name was seen before.
            let hold =
                unknown && socket.flags & SOCKET_AI != 0 && waits(&socket, SOCKET_HELD_FOR_LIBRARY);
            if hold {
                socket.flags |= SOCKET_HELD | SOCKET_HELD_FOR_LIBRARY;
                keep(&socket);
                count(COUNT_HELLO_HELD);
            }
            opening::begin(ctx, packet, payload, &socket, library);
            return if hold { DROP } else { PASS };
        }
    };
    let Some(mut entry) = EVENTS.reserve::<Record<HELLO_LEN>>(0) else {
        count(COUNT_EVENT_NO_ROOM);
        return PASS;
    };
    let target = entry.as_mut_ptr();
    // SAFETY: the payload is a `Hello`, eight-byte aligned.
    let body = unsafe { (&raw mut (*target).payload).cast::<Hello>() };
    // SAFETY: `body` is reserved memory of a whole `Hello`.
    let length =
        load::<NAME_MAX>(ctx, name_at, name_len, unsafe { (&raw mut (*body).name).cast() });
    // SAFETY: as above.
    unsafe {
        core::ptr::write_volatile(&raw mut (*body).name_len, length);
        core::ptr::write_volatile(&raw mut (*body).reserved, 0);
    }
    // SAFETY: as above; the name is filled as far as `length`.
    let (name, span) = unsafe { ((&raw const (*body).name).cast(), span_of(body)) };
    let kind = names::kind(name, span);
    let ai = kind == names::AI;
    if kind == names::OTHER && !probed {
        entry.discard(0);
        opening::begin(ctx, packet, payload, &socket, 0);
        return PASS;
    }
    // A process that got its probes while its first ClientHello waited may turn out to have sent it by another library.
    let reason = if unknown { SOCKET_HELD_FOR_LIBRARY } else { SOCKET_HELD };
    let hold = ai && (!probed || unknown) && waits(&socket, reason);
    socket.flags |= SOCKET_HELLO_SEEN;
    if ai {
        socket.flags |= SOCKET_OF_INTEREST | SOCKET_AI;
    }
    if hold {
        socket.flags |= SOCKET_HELD | reason;
        count(COUNT_HELLO_HELD);
    }
    let flags = socket.flags;
    if kind == names::MAYBE {
        // Whether it is AI, the agent says; it can do so at the end only of a socket of whose end it hears.
        socket.flags |= SOCKET_OF_INTEREST;
    }
    keep(&socket);
    socket.flags = flags;
    let mut record = quiet_header(KIND_HELLO, cookie);
    record.tgid = socket.tgid;
    let named = if kind == names::OTHER { 0 } else { FLAG_AI_NAME };
    record.flags = named | library | if hold { FLAG_HELD } else { 0 };
    record.captured = HELLO_LEN as u32;
    record.call_len = HELLO_LEN as u32;
    // SAFETY: `target` is reserved memory of a whole record.
    unsafe {
        (&raw mut (*body).socket).write(socket);
        (&raw mut (*target).header).write(record);
    }
    entry.submit(wake_flag(READER_EVENTS, record.at_ns));
    opening::begin(ctx, packet, payload, &socket, named | library);
    if hold { DROP } else { PASS }
}
