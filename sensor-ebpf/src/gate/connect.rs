//! Connects, datagrams and new sockets of enforced processes come by; those to forbidden addresses are refused, the other
//! connects are noted for their ClientHello.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_SK_STORAGE_GET_F_CREATE;
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_set_retval, bpf_sk_storage_get};
use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use sensor_common::gate::{
    ACTION_DENY, AiSocket, DESTINATION_NONE, GATE_COUNT_ENROL_FAILED, GATE_COUNT_ENROLLED, Gate,
    LAYER_ADDRESS, LAYER_QUIC, LAYER_SOCKET, REASON_MPTCP, REASON_QUIC, REASON_RAW,
    SCOPE_REFUSE_QUIC, STATE_AWAIT, Verdict,
};

use crate::maps::{
    AI_SOCKETS, DEDICATED_ADDRESSES, DESTINATION_ADDRESSES, GATES, HAS_SET_RETVAL, count, setting,
};
use crate::rules::{EPERM, refusal, refused, report};
use crate::subject::{Current, SCOPE_REFUSING, current};

/// Address family of IPv4.
const FAMILY_V4: u32 = 2;
/// Address family of IPv6.
const FAMILY_V6: u32 = 10;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_RAW: u32 = 3;
const PROTOCOL_ICMP: u32 = 1;
const PROTOCOL_ICMPV6: u32 = 58;
/// `IPPROTO_MPTCP` (linux/in.h).
const PROTOCOL_MPTCP: u32 = 262;
const PORT_HTTPS: u32 = 443;
const PORT_HTTP: u32 = 80;
/// Bits of an error number (`MAX_ERRNO`, linux/err.h).
const ERRNO_MASK: u32 = 0xfff;
/// The call goes on.
const PASS: i32 = 1;
/// The call fails.
const REFUSE: i32 = 0;

#[inline(always)]
fn address_of(words: [u32; 4]) -> [u8; 16] {
    let mut bytes = [0u8; 16];
    // An IPv4 address in IPv6 clothes is the IPv4 address.
    let mapped = words[0] == 0 && words[1] == 0 && words[2] == 0xffff_u32.to_be();
    let words = if mapped { [words[3], 0, 0, 0] } else { words };
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
fn words_v6(ctx: &SockAddrContext) -> [u32; 4] {
    // SAFETY: the context is valid for the run of the program; each word is read by itself, as the verifier demands.
    unsafe {
        let words = &raw const (*ctx.sock_addr).user_ip6;
        [
            core::ptr::read_volatile(words.cast::<u32>()),
            core::ptr::read_volatile(words.cast::<u32>().add(1)),
            core::ptr::read_volatile(words.cast::<u32>().add(2)),
            core::ptr::read_volatile(words.cast::<u32>().add(3)),
        ]
    }
}

/// What is known of the socket before anything is said on it.
#[inline(always)]
fn gate_of(ctx: &SockAddrContext, who: &Current, family: u32, remote: [u8; 16]) -> Gate {
    // SAFETY: the context is a sock_addr, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: the context is valid for the run of the program.
    let port = unsafe { (*ctx.sock_addr).user_port };
    Gate {
        cookie,
        cgroup: who.cgroup,
        tgid: who.tgid,
        class: who.class,
        destination: DESTINATION_NONE,
        state: STATE_AWAIT,
        family,
        remote_port: u32::from(u16::from_be(port as u16)),
        remote_address: remote,
        ..Gate::default()
    }
}

/// Refuses the call with the verdict's error, where the kernel lets a program choose one.
#[inline(always)]
fn refuse(gate: &Gate, layer: u32, verdict: &Verdict) -> i32 {
    let mut errno = EPERM;
    if verdict.errno != 0 && setting(&HAS_SET_RETVAL) != 0 {
        // Linux 7.2 takes no program whose error may be out of range.
        errno = verdict.errno & ERRNO_MASK;
        // SAFETY: the helper takes a negative error number; the kernel checks its range.
        unsafe { bpf_set_retval(-(errno as i32)) };
    }
    report(&raw const *gate, &refusal(layer, verdict, errno, gate.class));
    REFUSE
}

/// Where an address leads, and whether to nothing else.
#[inline(always)]
fn leads(remote: &[u8; 16]) -> (u32, bool) {
    // SAFETY: the value is copied out at once.
    if let Some(destination) = unsafe { DEDICATED_ADDRESSES.get(remote) } {
        return (*destination, true);
    }
    // SAFETY: as above.
    (unsafe { DESTINATION_ADDRESSES.get(remote) }.copied().unwrap_or(DESTINATION_NONE), false)
}

/// Whether the address of a socket tells by itself where it leads: others may have the same one, and what is said on another
/// port than those of HTTPS and HTTP is theirs.
#[inline(always)]
pub fn tells(gate: *const Gate) -> bool {
    // SAFETY: the caller's socket is live.
    let (port, remote) = unsafe { ((*gate).remote_port, (*gate).remote_address) };
    // SAFETY: only whether there is a value is looked at.
    port == PORT_HTTPS || port == PORT_HTTP || unsafe { DEDICATED_ADDRESSES.get(&remote) }.is_some()
}

#[inline(always)]
fn connecting(ctx: &SockAddrContext, family: u32, remote: [u8; 16]) -> i32 {
    let Some(who) = current() else { return PASS };
    // SAFETY: the context is valid for the run of the program.
    let kind = unsafe { (*ctx.sock_addr).type_ };
    let mut gate = gate_of(ctx, &who, family, remote);
    let (destination, is_dedicated) = leads(&remote);
    gate.destination = destination;
    if kind == SOCK_DGRAM {
        return datagram(&gate, &who);
    }
    if kind != SOCK_STREAM {
        return PASS;
    }
    if is_dedicated && let Some(verdict) = refused(who.class, gate.destination) {
        return refuse(&gate, LAYER_ADDRESS, &verdict);
    }
    // SAFETY: the context is valid for the run of the program.
    let socket = unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk };
    // SAFETY: the socket comes from the context; the value is a whole `Gate`.
    let kept = unsafe {
        bpf_sk_storage_get(
            (&raw const GATES).cast_mut().cast(),
            socket.cast(),
            (&raw mut gate).cast(),
            u64::from(BPF_SK_STORAGE_GET_F_CREATE),
        )
    };
    if kept.is_null() {
        count(GATE_COUNT_ENROL_FAILED);
        return PASS;
    }
    // A second `connect` on the same socket begins anew.
    // SAFETY: the helper gave a pointer to this socket's `Gate`.
    unsafe { kept.cast::<Gate>().write(gate) };
    count(GATE_COUNT_ENROLLED);
    if gate.destination != DESTINATION_NONE {
        note(&raw const gate);
    }
    PASS
}

/// Notes a socket that leads to an AI provider.
#[inline(always)]
pub fn note(gate: *const Gate) {
    // SAFETY: the caller's socket is live.
    let (socket, cookie) = unsafe {
        let socket = AiSocket {
            tgid: (*gate).tgid,
            class: (*gate).class,
            destination: (*gate).destination,
            family: (*gate).family,
            cgroup: (*gate).cgroup,
        };
        (socket, (*gate).cookie)
    };
    let _ = AI_SOCKETS.insert(&cookie, &socket, 0);
}

#[inline(always)]
fn datagram(gate: &Gate, who: &Current) -> i32 {
    if gate.remote_port != PORT_HTTPS {
        return PASS;
    }
    if let Some(verdict) = refused(who.class, gate.destination) {
        return refuse(gate, LAYER_QUIC, &verdict);
    }
    if who.scope & SCOPE_REFUSE_QUIC != 0 {
        let verdict = Verdict { action: ACTION_DENY, reason: REASON_QUIC, ..Verdict::default() };
        return refuse(gate, LAYER_QUIC, &verdict);
    }
    PASS
}

/// Judges a connect by its address (IPv4).
#[cgroup_sock_addr(connect4)]
pub fn gate_connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is valid for the run of the program.
    let remote = unsafe { (*ctx.sock_addr).user_ip4 };
    connecting(&ctx, FAMILY_V4, address_of([remote, 0, 0, 0]))
}

/// Judges a connect by its address (IPv6).
#[cgroup_sock_addr(connect6)]
pub fn gate_connect6(ctx: SockAddrContext) -> i32 {
    let words = words_v6(&ctx);
    connecting(&ctx, FAMILY_V6, address_of(words))
}

#[inline(always)]
fn sending(ctx: &SockAddrContext, family: u32, remote: [u8; 16]) -> i32 {
    let Some(who) = current() else { return PASS };
    let mut gate = gate_of(ctx, &who, family, remote);
    gate.destination = leads(&remote).0;
    datagram(&gate, &who)
}

/// Judges a datagram of an unconnected socket (IPv4).
#[cgroup_sock_addr(sendmsg4)]
pub fn gate_sendmsg4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is valid for the run of the program.
    let remote = unsafe { (*ctx.sock_addr).user_ip4 };
    sending(&ctx, FAMILY_V4, address_of([remote, 0, 0, 0]))
}

/// Judges a datagram of an unconnected socket (IPv6).
#[cgroup_sock_addr(sendmsg6)]
pub fn gate_sendmsg6(ctx: SockAddrContext) -> i32 {
    let words = words_v6(&ctx);
    sending(&ctx, FAMILY_V6, address_of(words))
}

/// Refuses sockets that cannot be watched: an MPTCP socket enters no map of sockets, and what a raw one sends has no
/// connection. Raw ICMP, which `ping` uses, is let be.
#[cgroup_sock(sock_create)]
pub fn gate_socket(ctx: SockContext) -> i32 {
    // SAFETY: the context is valid for the run of the program.
    let (protocol, family) = unsafe { ((*ctx.sock).protocol, (*ctx.sock).family) };
    // SAFETY: as above.
    let is_raw = unsafe { (*ctx.sock).type_ } == SOCK_RAW
        && protocol != PROTOCOL_ICMP
        && protocol != PROTOCOL_ICMPV6;
    if protocol != PROTOCOL_MPTCP && !is_raw {
        return PASS;
    }
    let Some(who) = current() else { return PASS };
    if is_raw && who.scope & SCOPE_REFUSING == 0 {
        return PASS;
    }
    let reason = if is_raw { REASON_RAW } else { REASON_MPTCP };
    let gate =
        Gate { tgid: who.tgid, class: who.class, cgroup: who.cgroup, family, ..Gate::default() };
    let verdict = Verdict { action: ACTION_DENY, reason, ..Verdict::default() };
    report(&raw const gate, &refusal(LAYER_SOCKET, &verdict, EPERM, who.class));
    REFUSE
}
