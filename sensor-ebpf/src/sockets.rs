//! Sockets come by as they connect, are established and close; their end points are kept and those of interest reported.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
    BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, BPF_TCP_FIN_WAIT1, BPF_TCP_LAST_ACK,
};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::macros::{cgroup_sock_addr, sock_ops};
use aya_ebpf::maps::RingBuf;
use aya_ebpf::programs::{SockAddrContext, SockOpsContext};
use sensor_common::record::{
    Header, KIND_CLOSED, KIND_CONNECT, Record, SOCKET_OF_INTEREST, Socket,
};
use sensor_common::state::COUNT_EVENT_NO_ROOM;

use crate::maps::{ADDRESSES, BOUND, CONNECTIONS, EVENTS, SOCKETS, WATCHED, count};
use crate::ring::{READER_EVENTS, header, now, quiet_header, wake_flag};

/// Address family of IPv4.
pub const FAMILY_V4: u32 = 2;
/// Address family of IPv6.
pub const FAMILY_V6: u32 = 10;

/// What a program of sockets gives back: with 0, the kernel would throw away what other programs reply.
const DONE: u32 = 1;

/// Bytes of a [`Socket`], as a record's payload.
pub const SOCKET_LEN: usize = size_of::<Socket>();

/// Writes a record whose payload is a socket.
#[inline(always)]
pub fn emit_socket(ring: &'static RingBuf, reader: u32, record: Header, socket: &Socket) -> bool {
    let Some(mut entry) = ring.reserve::<Record<SOCKET_LEN>>(0) else { return false };
    let target = entry.as_mut_ptr();
    let record = Header { captured: SOCKET_LEN as u32, call_len: SOCKET_LEN as u32, ..record };
    // SAFETY: `target` is reserved memory of a whole record; header and payload are both eight-byte aligned.
    unsafe { (&raw mut (*target).header).write(record) };
    // SAFETY: as above.
    unsafe { (&raw mut (*target).payload).cast::<Socket>().write(*socket) };
    entry.submit(wake_flag(reader, record.at_ns));
    true
}

/// What was noted of a socket, to be copied out at once.
#[inline(always)]
pub fn known(cookie: &u64) -> Option<&'static Socket> {
    // SAFETY: the caller copies the value out at once.
    let watched = unsafe { WATCHED.get(cookie) };
    if watched.is_some() {
        return watched;
    }
    // SAFETY: as above.
    unsafe { SOCKETS.get(cookie) }
}

/// Notes a socket of TCP, one of interest where no others push it out. The end of one whose connect was not seen (accepted, or
/// older) need not be told, so it would stay there.
#[inline(always)]
pub fn keep(socket: &Socket) {
    if socket.flags & SOCKET_OF_INTEREST == 0 || socket.connected_ns == 0 {
        let _ = SOCKETS.insert(&socket.cookie, socket, 0);
        return;
    }
    let _ = WATCHED.insert(&socket.cookie, socket, 0);
    let _ = SOCKETS.remove(&socket.cookie);
}

/// Whether an address of IPv6 is one of IPv4 in other clothes.
#[inline(always)]
fn is_mapped(words: [u32; 4]) -> bool {
    words[0] == 0 && words[1] == 0 && words[2] == 0xffff_u32.to_be()
}

/// Puts up to four 32-bit words in network order into an address.
#[inline(always)]
fn address(words: [u32; 4]) -> [u8; 16] {
    let words = if is_mapped(words) { [words[3], 0, 0, 0] } else { words };
    let mut bytes = [0u8; 16];
    let mut word = 0;
    while word < 4 {
        let quad = words[word].to_ne_bytes();
        bytes[word * 4] = quad[0];
        bytes[word * 4 + 1] = quad[1];
        bytes[word * 4 + 2] = quad[2];
        bytes[word * 4 + 3] = quad[3];
        word += 1;
    }
    bytes
}

#[inline(always)]
fn connecting(ctx: &SockAddrContext, family: u32, remote: [u8; 16]) -> i32 {
    // SAFETY: the context is a sock_addr, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the context is valid for the run of the program.
    let port = unsafe { (*ctx.sock_addr).user_port };
    let mut socket = Socket {
        cookie,
        connected_ns: now(),
        tgid: (thread >> 32) as u32,
        family,
        remote_port: u32::from(u16::from_be(port as u16)),
        remote_address: remote,
        ..Socket::default()
    };
    // SAFETY: only the presence of the key counts.
    let ai = unsafe { ADDRESSES.get(&remote) }.is_some();
    if ai {
        socket.flags = SOCKET_OF_INTEREST;
    }
    // Also what is of interest: it may be of datagrams, whose end nobody tells, or be refused.
    let _ = SOCKETS.insert(&cookie, &socket, 0);
    // A second `connect` on the same socket begins anew.
    let _ = WATCHED.remove(&cookie);
    if ai && !emit_socket(&EVENTS, READER_EVENTS, header(KIND_CONNECT, cookie), &socket) {
        count(COUNT_EVENT_NO_ROOM);
    }
    1
}

/// Notes who connects where (IPv4).
#[cgroup_sock_addr(connect4)]
pub fn socket_connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is valid for the run of the program.
    let remote = unsafe { (*ctx.sock_addr).user_ip4 };
    connecting(&ctx, FAMILY_V4, address([remote, 0, 0, 0]))
}

/// Notes who connects where (IPv6).
#[cgroup_sock_addr(connect6)]
pub fn socket_connect6(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is valid for the run of the program; each word is read by itself, as the verifier demands.
    let remote = unsafe {
        let words = &raw const (*ctx.sock_addr).user_ip6;
        [
            core::ptr::read_volatile(words.cast::<u32>()),
            core::ptr::read_volatile(words.cast::<u32>().add(1)),
            core::ptr::read_volatile(words.cast::<u32>().add(2)),
            core::ptr::read_volatile(words.cast::<u32>().add(3)),
        ]
    };
    let family = if is_mapped(remote) { FAMILY_V4 } else { FAMILY_V6 };
    connecting(&ctx, family, address(remote))
}

/// Notes when a connection is attempted, when it is established and when it closes.
#[sock_ops]
pub fn socket_state(ctx: SockOpsContext) -> u32 {
    let op = ctx.op();
    if op == BPF_SOCK_OPS_TCP_CONNECT_CB {
        attempted(&ctx);
    } else if op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB {
        established(&ctx);
    } else if op == BPF_SOCK_OPS_STATE_CB {
        let state = ctx.arg(1);
        if state == BPF_TCP_FIN_WAIT1 || state == BPF_TCP_LAST_ACK || state == BPF_TCP_CLOSE {
            part(&ctx);
        }
        if state == BPF_TCP_CLOSE {
            closed(&ctx);
        }
    }
    DONE
}

/// Has the kernel tell the states of the socket; what other programs have asked for stays, as the call replaces all of it.
#[inline(always)]
fn tell_states(ctx: &SockOpsContext) {
    let _ = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
}

/// The process has closed its end: the objects that sealed and opened for it may serve another connection at once.
#[inline(always)]
fn part(ctx: &SockOpsContext) {
    // SAFETY: the context is a sock_ops, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: the value is copied out at once.
    let Some(key) = (unsafe { BOUND.get(&cookie) }) else { return };
    let key = *key;
    let _ = BOUND.remove(&cookie);
    if let Some(connection) = CONNECTIONS.get_ptr(&key)
        // SAFETY: a live element of the LRU map.
        && unsafe { (*connection).cookie } == cookie
    {
        let _ = CONNECTIONS.remove(&key);
    }
}

/// A connection is attempted: from here on its end is told, also where it does not come about.
#[inline(always)]
fn attempted(ctx: &SockOpsContext) {
    tell_states(ctx);
    // SAFETY: the context is a sock_ops, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: the value is copied out at once.
    let Some(socket) = (unsafe { SOCKETS.get(&cookie) }) else { return };
    if socket.flags & SOCKET_OF_INTEREST != 0 {
        let socket = *socket;
        keep(&socket);
    }
}

#[inline(always)]
fn established(ctx: &SockOpsContext) {
    // SAFETY: the context is a sock_ops, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let found = WATCHED.get_ptr_mut(&cookie).or_else(|| SOCKETS.get_ptr_mut(&cookie));
    let Some(socket) = found else { return };
    let local_port = ctx.local_port();
    // Every word is read by itself and in any case: the verifier refuses a computed place in the context.
    // SAFETY: the context is valid for the run of the program.
    let (v4, v6) = unsafe {
        let ops = ctx.ops;
        let v4 = core::ptr::read_volatile(&raw const (*ops).local_ip4);
        let v6 = (&raw const (*ops).local_ip6).cast::<u32>();
        let words = [
            core::ptr::read_volatile(v6),
            core::ptr::read_volatile(v6.add(1)),
            core::ptr::read_volatile(v6.add(2)),
            core::ptr::read_volatile(v6.add(3)),
        ];
        (v4, words)
    };
    let local = if ctx.family() == FAMILY_V4 { [v4, 0, 0, 0] } else { v6 };
    // SAFETY: a live element of the LRU map; the kernel defers its reuse until the program has ended.
    unsafe {
        (*socket).established_ns = now();
        (*socket).local_port = local_port;
        (*socket).local_address = address(local);
    }
    tell_states(ctx);
}

#[inline(always)]
fn closed(ctx: &SockOpsContext) {
    // SAFETY: the context is a sock_ops, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let Some(socket) = known(&cookie) else { return };
    // A live element of an LRU map, copied before it is removed.
    let mut last = *socket;
    let _ = SOCKETS.remove(&cookie);
    let _ = WATCHED.remove(&cookie);
    if last.flags & SOCKET_OF_INTEREST == 0 {
        return;
    }
    // SAFETY: the context is valid for the run of the program.
    unsafe {
        last.bytes_sent = (*ctx.ops).bytes_acked;
        last.bytes_received = (*ctx.ops).bytes_received;
        last.packets_received = (*ctx.ops).data_segs_in;
    }
    if !emit_socket(&EVENTS, READER_EVENTS, quiet_header(KIND_CLOSED, cookie), &last) {
        count(COUNT_EVENT_NO_ROOM);
    }
}
