//! Segments that a socket sends first come by; those with its ClientHello, whole or in parts, go out for the agent to read.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::programs::SkBuffContext;
use sensor_common::limits::{
    OPENING_LARGE, OPENING_SEGMENTS_MAX, OPENING_SMALL, OPENING_WAIT_NS, QUIC_INITIAL_MIN,
    QUIC_PER_SECOND_MAX,
};
use sensor_common::record::{
    FLAG_DATAGRAM, Header, KIND_OPENING, Record, SOCKET_OF_INTEREST, Socket,
};
use sensor_common::state::{COUNT_EVENT_NO_ROOM, COUNT_QUIC_OVER_LIMIT};

use crate::maps::{EVENTS, OPENING_UNTIL, OPENINGS, QUIC_SECOND, count};
use crate::process::{is_probed, sender};
use crate::ring::{READER_EVENTS, now, quiet_header, wake_flag};
use crate::sockets::SOCKET_LEN;
use crate::wire::{Packet, byte, load, socket_of};

/// Payload of a record with a usual segment.
const SMALL: usize = SOCKET_LEN + OPENING_SMALL;
/// Payload of a record with a longer one.
const LARGE: usize = SOCKET_LEN + OPENING_LARGE;
/// Type of a handshake record, which is the first byte of a connection of TLS.
const HANDSHAKE: u8 = 0x16;
/// A second of the kernel's clock.
const SECOND_NS: u64 = 1_000_000_000;

/// Whether the rest of some ClientHello is still to come.
#[inline(always)]
pub fn is_wanted() -> bool {
    let Some(until) = OPENING_UNTIL.get_ptr_mut(0) else { return false };
    // SAFETY: a live array element. A hello that begins at the moment of the reset is found by its next segment's begin.
    unsafe {
        if *until == 0 {
            return false;
        }
        if *until > now() {
            return true;
        }
        // From here on nobody asks for the time, until a hello is in parts again.
        *until = 0;
    }
    false
}

/// Hands up a segment that begins a ClientHello of a socket of interest, and has the rest of it follow.
#[inline(always)]
pub fn begin(ctx: &SkBuffContext, packet: Packet, payload: u32, socket: &Socket, flags: u32) {
    if socket.flags & SOCKET_OF_INTEREST == 0 && !is_probed(socket.tgid) {
        return;
    }
    if !is_whole(ctx, packet, payload) {
        let _ = OPENINGS.insert(&socket.cookie, &OPENING_SEGMENTS_MAX, 0);
        if let Some(until) = OPENING_UNTIL.get_ptr_mut(0) {
            // SAFETY: a live array element.
            unsafe { *until = now() + OPENING_WAIT_NS };
        }
    }
    hand_up(ctx, packet, payload, socket, flags);
}

/// Whether the segment holds a record with all of a handshake message.
#[inline(always)]
fn is_whole(ctx: &SkBuffContext, packet: Packet, payload: u32) -> bool {
    let Ok(head) = ctx.load::<[u8; 9]>(payload as usize) else { return false };
    let record = u32::from(u16::from_be_bytes([head[3], head[4]]));
    let message = u32::from_be_bytes([0, head[6], head[7], head[8]]);
    payload + 5 + record <= packet.length && message + 4 <= record
}

/// Takes a segment too short to be judged by itself.
#[inline(always)]
pub fn short(ctx: &SkBuffContext, packet: Packet, payload: u32) {
    if byte(ctx, payload) != Some(HANDSHAKE) {
        return;
    }
    // SAFETY: the context is a socket buffer, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: only the presence of the key counts.
    if unsafe { OPENINGS.get(&cookie) }.is_none() {
        begin(ctx, packet, payload, &socket_of(ctx, packet, cookie), 0);
    }
}

/// Hands up a segment of a socket whose ClientHello is under way.
#[inline(always)]
pub fn go_on(ctx: &SkBuffContext, packet: Packet, payload: u32) {
    // SAFETY: the context is a socket buffer, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let Some(left) = OPENINGS.get_ptr_mut(&cookie) else { return };
    // SAFETY: a live element of the LRU map; the kernel defers its reuse until the program has ended.
    let rest = unsafe { *left };
    if rest == 0 {
        return;
    }
    // SAFETY: as above.
    unsafe { *left = rest - 1 };
    hand_up(ctx, packet, payload, &socket_of(ctx, packet, cookie), 0);
}

/// Hands up a datagram that may be a client's first QUIC packet.
#[inline(always)]
pub fn datagram(ctx: &SkBuffContext, packet: Packet) {
    if packet.length < packet.transport + QUIC_INITIAL_MIN {
        return;
    }
    let payload = packet.transport + 8;
    let Ok(head) = ctx.load::<[u8; 5]>(payload as usize) else { return };
    // A long header with the fixed bit, and the type of an Initial packet (RFC 9000, 17.2; RFC 9369, 3.2).
    let initial = match u32::from_be_bytes([head[1], head[2], head[3], head[4]]) {
        1 => 0xc0,
        0x6b33_43cf => 0xd0,
        _ => return,
    };
    if head[0] & 0xf0 != initial || !is_within_second() {
        return;
    }
    // SAFETY: the context is a socket buffer, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let mut socket = socket_of(ctx, packet, cookie);
    if socket.tgid == 0 {
        // A socket that was never connected sends as whoever runs.
        socket.tgid = sender();
    }
    hand_up(ctx, packet, payload, &socket, FLAG_DATAGRAM);
}

/// Whether there is room for one more in this second; processors that race for the last places cost a few more.
#[inline(always)]
fn is_within_second() -> bool {
    let (Some(second), Some(counted)) = (QUIC_SECOND.get_ptr_mut(0), QUIC_SECOND.get_ptr_mut(1))
    else {
        return false;
    };
    let current = now() / SECOND_NS;
    // SAFETY: live array elements.
    unsafe {
        if *second != current {
            *second = current;
            *counted = 0;
        }
        *counted += 1;
        if *counted <= QUIC_PER_SECOND_MAX {
            return true;
        }
    }
    count(COUNT_QUIC_OVER_LIMIT);
    false
}

#[inline(always)]
fn hand_up(ctx: &SkBuffContext, packet: Packet, payload: u32, socket: &Socket, flags: u32) {
    let length = packet.length - payload;
    let mut record = quiet_header(KIND_OPENING, socket.cookie);
    record.tgid = socket.tgid;
    record.flags = flags;
    record.call_len = length;
    if flags & FLAG_DATAGRAM == 0
        && let Ok(sequence) = ctx.load::<[u8; 4]>((packet.transport + 4) as usize)
    {
        record.offset = u64::from(u32::from_be_bytes(sequence));
    }
    let is_handed = if length as usize <= OPENING_SMALL {
        put::<SMALL, OPENING_SMALL>(ctx, payload, record, socket)
    } else {
        put::<LARGE, OPENING_LARGE>(ctx, payload, record, socket)
    };
    if !is_handed {
        count(COUNT_EVENT_NO_ROOM);
    }
}

#[inline(always)]
fn put<const ROOM: usize, const BYTES: usize>(
    ctx: &SkBuffContext,
    payload: u32,
    record: Header,
    socket: &Socket,
) -> bool {
    let Some(mut entry) = EVENTS.reserve::<Record<ROOM>>(0) else { return false };
    let target = entry.as_mut_ptr();
    // SAFETY: the payload begins with a `Socket`, eight-byte aligned, and the bytes follow it.
    let body = unsafe { (&raw mut (*target).payload).cast::<Socket>() };
    // SAFETY: `ROOM` is a socket and `BYTES` bytes.
    let bytes = unsafe { body.add(1).cast::<u8>() };
    let loaded = load::<BYTES>(ctx, payload, record.call_len, bytes);
    if loaded == 0 {
        entry.discard(0);
        return true;
    }
    // SAFETY: `target` is reserved memory of a whole record.
    unsafe {
        body.write(*socket);
        (&raw mut (*target).header)
            .write(Header { captured: SOCKET_LEN as u32 + loaded, ..record });
    }
    entry.submit(wake_flag(READER_EVENTS, record.at_ns));
    true
}
