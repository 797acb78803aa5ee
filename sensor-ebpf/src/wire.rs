//! Packets of local processes come by; ClientHellos, DNS questions and answers about AI names, and bindings go out.

use core::arch::asm;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_skb_load_bytes, bpf_tcp_sock};
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use sensor_common::limits::{DNS_SEGMENT, TIER_MEDIUM, WIRE_KEY_LEN};
use sensor_common::record::{
    FAMILY_AEAD, FLAG_FAMILY_MASK, FLAG_FAMILY_SHIFT, FLAG_FRESH, Header, KIND_BOUND, SOCKET_AI,
    SOCKET_BOUND, SOCKET_OF_INTEREST, Socket,
};
use sensor_common::state::{COUNT_BOUND_ON_WIRE, COUNT_RECORD_NO_ROOM, VERDICT_WATCH};

use crate::dns;
use crate::heard::{self, RECORD_HEAD_LEN, RECORDS_MAX};
use crate::hello::hello;
use crate::maps::{BOUND, CONNECTIONS, DATA, OPENING_UNTIL, WIRE, WIRE_WANTED, count};
use crate::opening;
use crate::ring::{READER_DATA, now, quiet_header};
use crate::sockets::{FAMILY_V4, FAMILY_V6, emit_socket, keep, known};

/// Verdict: the packet passes.
pub const PASS: i32 = 1;
/// Verdict: the packet is dropped; TCP sends it again.
pub const DROP: i32 = 0;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PORT_DNS: u16 = 53;
const PORT_HTTPS: u16 = 443;
/// A record head, a handshake head, the version and the random: shorter payloads are of no interest.
pub const HELLO_MIN: u32 = 43;
/// Where the client random stands in a record that begins with a ClientHello.
pub const RANDOM_AT: u32 = 11;
/// Lowest type of a TLS record (RFC 8446, 5.1).
const RECORD_TYPE_MIN: u8 = 0x14;
/// Type of a record with application data.
pub const RECORD_TYPE_APPLICATION: u8 = 0x17;
/// Segments with data among which a ClientHello is: a proxy's greeting may come before it.
const HELLO_SEGMENTS_MAX: u32 = 32;

/// Where a packet's parts begin.
#[derive(Clone, Copy)]
pub struct Packet {
    family: u32,
    protocol: u8,
    /// Where the head of TCP or UDP begins.
    pub transport: u32,
    /// Bytes of the whole packet.
    pub length: u32,
}

/// One byte of a packet.
#[inline(always)]
pub fn byte(ctx: &SkBuffContext, at: u32) -> Option<u8> {
    ctx.load::<u8>(at as usize).ok()
}

#[inline(always)]
pub fn half(ctx: &SkBuffContext, at: u32) -> Option<u16> {
    ctx.load::<[u8; 2]>(at as usize).ok().map(u16::from_be_bytes)
}

/// Where the parts of a packet stand, read in place: a helper call for each byte would cost more than all else here.
/// The stack keeps the heads of IP, TCP and UDP in the linear part of a buffer; a packet without is of no interest.
#[inline(always)]
fn packet(ctx: &SkBuffContext) -> Option<Packet> {
    let length = ctx.len();
    let head = linear::<10>(ctx, 0)?;
    match head[0] >> 4 {
        4 => Some(Packet {
            family: FAMILY_V4,
            protocol: head[9],
            transport: u32::from(head[0] & 15) * 4,
            length,
        }),
        6 => Some(Packet { family: FAMILY_V6, protocol: head[6], transport: 40, length }),
        _ => None,
    }
}

/// Bytes of a packet's heads, read in place.
#[inline(always)]
fn linear<const N: usize>(ctx: &SkBuffContext, at: u32) -> Option<[u8; N]> {
    // SAFETY: the context is valid for the run of the program.
    let (data, end) = unsafe { ((*ctx.skb.skb).data as usize, (*ctx.skb.skb).data_end as usize) };
    let from = data + at as usize;
    if from + N > end {
        return None;
    }
    // SAFETY: the comparison above covers the bytes.
    Some(unsafe { *(from as *const [u8; N]) })
}

/// Looks at what local processes send.
#[cgroup_skb(egress)]
pub fn wire_egress(ctx: SkBuffContext) -> i32 {
    if is_settled(&ctx) {
        return PASS;
    }
    let Some(packet) = packet(&ctx) else { return PASS };
    if packet.protocol != PROTOCOL_TCP && packet.protocol != PROTOCOL_UDP {
        return PASS;
    }
    let port = linear(&ctx, packet.transport + 2).map(u16::from_be_bytes);
    if port == Some(PORT_DNS) {
        if let Some(message) = question_in(&ctx, packet) {
            dns::question(&ctx, message);
        }
        return PASS;
    }
    if packet.protocol == PROTOCOL_TCP {
        return tcp(&ctx, packet).unwrap_or(PASS);
    }
    if port == Some(PORT_HTTPS) {
        opening::datagram(&ctx, packet);
    }
    PASS
}

/// Where the payload of a segment begins; nothing for one without.
#[inline(always)]
fn payload_of(ctx: &SkBuffContext, packet: Packet) -> Option<u32> {
    // An acknowledgement without payload ends here.
    if packet.length <= packet.transport + 20 {
        return None;
    }
    let [words] = linear(ctx, packet.transport + 12)?;
    let payload = packet.transport + u32::from(words >> 4) * 4;
    (packet.length > payload).then_some(payload)
}

/// Where the first message to a name server begins. In TCP its length stands before it, in the same segment or in one of its
/// own (RFC 1035, 4.2.2): a question has one question, which is the third number of its head, and no answer, the fourth.
#[inline(always)]
fn question_in(ctx: &SkBuffContext, packet: Packet) -> Option<u32> {
    if packet.protocol == PROTOCOL_UDP {
        return Some(packet.transport + 8);
    }
    let payload = payload_of(ctx, packet)?;
    Some(if half(ctx, payload + 6) == Some(1) { payload + 2 } else { payload })
}

/// Whether a packet belongs to a TCP connection that has long begun, while no TLS object waits to be found and no
/// ClientHello is under way: the packets
/// of a busy server end here.
#[inline(always)]
fn is_settled(ctx: &SkBuffContext) -> bool {
    let (Some(until), Some(opening)) = (WIRE_WANTED.get(0), OPENING_UNTIL.get(0)) else {
        return false;
    };
    if *until != 0 || *opening != 0 {
        return false;
    }
    // SAFETY: the context is valid for the run of the program; every use of the union is the socket.
    let socket = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the socket is not null, as the helper demands; it answers null for one that is not TCP.
    let tcp = unsafe { bpf_tcp_sock(socket) };
    // SAFETY: checked; the kernel holds the socket while the program runs.
    !tcp.is_null() && unsafe { (*tcp).data_segs_out } > HELLO_SEGMENTS_MAX
}

/// Looks at DNS answers, and at records where sealing and opening objects are to be paired.
#[cgroup_skb(ingress)]
pub fn wire_ingress(ctx: SkBuffContext) -> i32 {
    let Some(packet) = packet(&ctx) else { return PASS };
    let is_tcp = packet.protocol == PROTOCOL_TCP;
    if !is_tcp && packet.protocol != PROTOCOL_UDP {
        return PASS;
    }
    if linear(&ctx, packet.transport).map(u16::from_be_bytes) != Some(PORT_DNS) {
        if is_tcp {
            heard::arriving(&ctx, packet);
        }
        return PASS;
    }
    if !is_tcp {
        dns::answer::<TIER_MEDIUM>(&ctx, packet.transport + 8, packet.length, None);
    } else if let Some(payload) = payload_of(&ctx, packet) {
        // Not in place: the compiler takes the check of a later byte for that of an earlier one, and the verifier does not.
        let sequence = ctx.load::<[u8; 4]>((packet.transport + 4) as usize);
        let sequence = sequence.ok().map(u32::from_be_bytes);
        dns::answer::<DNS_SEGMENT>(&ctx, payload, packet.length, sequence);
    }
    PASS
}

#[inline(always)]
fn tcp(ctx: &SkBuffContext, packet: Packet) -> Option<i32> {
    let payload = payload_of(ctx, packet)?;
    if opening::is_wanted() {
        opening::go_on(ctx, packet, payload);
    }
    if packet.length < payload + HELLO_MIN {
        opening::short(ctx, packet, payload);
        return None;
    }
    let head = ctx.load::<[u8; 6]>(payload as usize).ok()?;
    if head[1] != 3 {
        return None;
    }
    if head[0] == 0x16 && head[5] == 1 {
        let verdict = hello(ctx, packet, payload);
        bind(ctx, packet, payload + RANDOM_AT, FLAG_FRESH);
        return Some(verdict);
    }
    if head[0] >= RECORD_TYPE_MIN && head[0] <= RECORD_TYPE_APPLICATION {
        let until = WIRE_WANTED.get_ptr_mut(0)?;
        // SAFETY: a live array element. An object that begins to wait at the moment of the reset is found at its next write.
        unsafe {
            if *until == 0 {
                return None;
            }
            if *until > now() {
                records(ctx, packet, payload);
            } else {
                // From here on nobody asks for the time, until somebody waits again.
                *until = 0;
            }
        }
    }
    None
}

/// Looks for a TLS object's bytes in the records of a packet: writes that wait for the window leave together.
#[inline(always)]
fn records(ctx: &SkBuffContext, packet: Packet, payload: u32) {
    let mut at = payload;
    let mut walked = 0;
    while walked < RECORDS_MAX {
        let Ok(head) = ctx.load::<[u8; RECORD_HEAD_LEN]>(at as usize) else { return };
        if head[1] != 3 {
            return;
        }
        if head[0] == RECORD_TYPE_APPLICATION {
            bind(ctx, packet, at + RECORD_HEAD_LEN as u32, 0);
        }
        // The mask keeps the verifier's range of `at` the same in every round, so that rounds can be compared.
        at = (at + RECORD_HEAD_LEN as u32 + u32::from(u16::from_be_bytes([head[3], head[4]])))
            & 0xffff;
        walked += 1;
    }
}

/// The socket of a packet: as noted at `connect`, or as far as the packet tells.
#[inline(always)]
pub fn socket_of(ctx: &SkBuffContext, packet: Packet, cookie: u64) -> Socket {
    if let Some(socket) = known(&cookie) {
        return *socket;
    }
    let mut socket = Socket { cookie, family: packet.family, ..Socket::default() };
    let mut ports = [0u8; 4];
    fill(ctx, packet.transport, &mut ports);
    socket.local_port = u32::from(u16::from_be_bytes([ports[0], ports[1]]));
    socket.remote_port = u32::from(u16::from_be_bytes([ports[2], ports[3]]));
    if packet.family == FAMILY_V4 {
        let (mut local, mut remote) = ([0u8; 4], [0u8; 4]);
        fill(ctx, 12, &mut local);
        fill(ctx, 16, &mut remote);
        let mut at = 0;
        while at < 4 {
            socket.local_address[at] = local[at];
            socket.remote_address[at] = remote[at];
            at += 1;
        }
    } else {
        fill(ctx, 8, &mut socket.local_address);
        fill(ctx, 24, &mut socket.remote_address);
    }
    socket
}

/// Loads bytes of a packet over zeros: they stay where the packet is too short, and nothing is left undefined.
#[inline(always)]
fn fill<const N: usize>(ctx: &SkBuffContext, at: u32, target: &mut [u8; N]) {
    // SAFETY: the helper writes exactly the array, or clears it.
    unsafe { bpf_skb_load_bytes(ctx.as_ptr(), at, target.as_mut_ptr().cast(), N as u32) };
}

/// Ties the TLS object that is about to write these bytes to the socket that sends them.
#[inline(always)]
fn bind(ctx: &SkBuffContext, packet: Packet, at: u32, flags: u32) {
    let Ok(key) = ctx.load::<[u8; WIRE_KEY_LEN]>(at as usize) else { return };
    // SAFETY: the value is copied out at once.
    let Some(owner) = (unsafe { WIRE.get(&key) }) else { return };
    let owner = *owner;
    let Some(connection) = CONNECTIONS.get_ptr_mut(&owner.key) else { return };
    // SAFETY: a live element of the LRU map; the kernel defers its reuse until the program has ended.
    let (id, start_ns, bound, own_flags) = unsafe {
        ((*connection).id, (*connection).start_ns, (*connection).cookie, (*connection).flags)
    };
    if id != owner.connection || bound != 0 {
        return;
    }
    // SAFETY: the context is a socket buffer, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: as above.
    unsafe { (*connection).cookie = cookie };
    if own_flags & FLAG_FAMILY_MASK == FAMILY_AEAD << FLAG_FAMILY_SHIFT {
        let _ = BOUND.insert(&cookie, &owner.key, 0);
    }
    let mut socket = socket_of(ctx, packet, cookie);
    if socket.tgid == 0 {
        socket.tgid = owner.key.tgid as u32;
    }
    if socket.flags & SOCKET_AI != 0 {
        // SAFETY: as above; the name has decided, the agent need not.
        unsafe { (*connection).verdict = VERDICT_WATCH };
    }
    socket.flags |= SOCKET_BOUND | SOCKET_OF_INTEREST;
    keep(&socket);
    let _ = WIRE.remove(&key);
    count(COUNT_BOUND_ON_WIRE);
    let record = Header {
        tgid: owner.key.tgid as u32,
        tid: 0,
        start_ns,
        flags,
        aux: cookie,
        ..quiet_header(KIND_BOUND, id)
    };
    if !emit_socket(&DATA, READER_DATA, record, &socket) {
        count(COUNT_RECORD_NO_ROOM);
    }
}

/// Loads up to `N` bytes of a packet into reserved memory; says how many.
#[inline(always)]
pub fn load<const N: usize>(ctx: &SkBuffContext, at: u32, length: u32, target: *mut u8) -> u32 {
    if length == 0 {
        return 0;
    }
    let mut clamped = u64::from(length);
    // SAFETY: only the named register is changed, to at least one and at most `N`; LLVM would drop comparisons that it
    // can prove needless, and the verifiers of older kernels cannot.
    unsafe {
        asm!(
            "if {0} <= {1} goto +1",
            "{0} = {1}",
            "if {0} > 0 goto +1",
            "{0} = 1",
            inout(reg) clamped,
            const N,
            options(nomem, nostack)
        );
    }
    // SAFETY: `target` has room for `N` bytes.
    let failed = unsafe { bpf_skb_load_bytes(ctx.as_ptr(), at, target.cast(), clamped as u32) };
    if failed == 0 { clamped as u32 } else { 0 }
}
