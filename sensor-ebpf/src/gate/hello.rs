//! Messages of a socket come in; its ClientHello, whole or in parts, gives the destination by name.
//!
//! Parts pass until the last: a hello without its end asks for nothing. So nothing is held back and nothing can stall; what
//! is refused is the part that completes a forbidden name. A hello that is longer than what is read has to say its name there.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use sensor_common::gate::{DESTINATION_NONE, GATE_COUNT_HELLO_TABLE_FULL, Gate, Owner};
use sensor_common::limits::{HELLO_BUFFER_BYTES, HELLO_BYTES_MAX, HELLO_WAIT_NS, WIRE_KEY_LEN};

use crate::maps::{HELLOS, NO_HELLO, RECORDS, count, now};
use crate::name::{anew, destination, masked};

/// TLS record type of a handshake message (RFC 8446, 5.1).
const RECORD_HANDSHAKE: u32 = 0x16;
/// Types of records (RFC 8446, 5.1).
const RECORD_TYPES: core::ops::RangeInclusive<u32> = 0x14..=0x17;
/// Lower half of the versions that records of TLS have.
const VERSIONS: core::ops::RangeInclusive<u32> = 1..=4;
/// Handshake type of a ClientHello (RFC 8446, 4).
const CLIENT_HELLO: u8 = 1;
/// Head of a record.
const RECORD_HEAD_LEN: u32 = 5;
/// Head of a record, and head of a handshake message.
const HEADS_LEN: u32 = 9;
/// Shortest ClientHello: version, random, no session, one cipher suite, one compression (RFC 5246, 7.4.1.2).
const HELLO_MIN: u32 = 41;
/// What the first byte of a ClientHello of SSL 2.0 has, and the bytes before its lists (RFC 5246, E.2).
const V2_BIT: u32 = 0x80;
const V2_HEAD_LEN: u32 = 11;
/// Where the client random stands.
const RANDOM_AT: usize = 11;
/// Where the session id stands.
const SESSION_AT: u32 = 43;
/// Extensions walked through.
const EXTENSIONS_MAX: u32 = 40;
/// Extension types: `server_name` (RFC 6066), `encrypted_client_hello` (RFC 9849).
const SERVER_NAME: u32 = 0;
const ENCRYPTED_HELLO: u32 = 0xfe0d;
/// What hides a name: an extension, or that not all extensions are read.
const HIDDEN: u32 = 1;
const CUT: u32 = 2;

/// What a message turned out to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// A hello that goes on in the next message.
    Part,
    /// A hello that cannot be read.
    Unreadable,
    /// No hello.
    Other,
    /// A whole hello: where its name stands is noted at the socket, its bytes stay until they are looked up.
    Hello,
}

type Buffer = [u8; HELLO_BUFFER_BYTES];

#[inline(always)]
fn byte(buffer: &Buffer, at: u32) -> u32 {
    // SAFETY: the index was masked to below the length of the array.
    u32::from(unsafe {
        core::ptr::read_volatile(buffer.get_unchecked(masked::<HELLO_BUFFER_BYTES>(at)))
    })
}

#[inline(always)]
fn half(buffer: &Buffer, at: u32) -> u32 {
    (byte(buffer, at) << 8) | byte(buffer, at + 1)
}

/// Takes a message that begins at `data` and has `length` readable bytes.
#[inline(always)]
pub fn listen(kept: *mut Gate, data: usize, length: u32) -> Said {
    // SAFETY: the storage of a live socket.
    let (cookie, have, began) = unsafe { ((*kept).cookie, (*kept).hello_len, (*kept).hello_ns) };
    if have == 0 {
        let Some(fresh) = NO_HELLO.get(0) else { return Said::Unreadable };
        if HELLOS.insert(&cookie, fresh, 0).is_err() {
            count(GATE_COUNT_HELLO_TABLE_FULL);
            return Said::Unreadable;
        }
        // SAFETY: as above.
        unsafe { (*kept).hello_ns = now() };
    }
    let Some(buffer) = HELLOS.get_ptr_mut(&cookie) else { return Said::Unreadable };
    // Of what may be one of SSL 2.0 only the head is kept, and two bytes of another protocol (a ping of MQTT) may be that: the
    // next message tells, whenever it comes.
    // SAFETY: a live element that only this socket's own program runs change.
    let may_wait = byte(unsafe { &*buffer }, 0) & V2_BIT != 0;
    if have != 0 && !may_wait && now() - began > HELLO_WAIT_NS {
        let _ = HELLOS.remove(&cookie);
        return Said::Unreadable;
    }
    let mut room = u64::from(length);
    // SAFETY: only the named register is changed, to at most what is read of a hello.
    unsafe {
        asm!("if {0} <= {1} goto +1", "{0} = {1}", inout(reg) room, const HELLO_BYTES_MAX, options(nomem, nostack));
    }
    let at = masked::<HELLO_BYTES_MAX>(have);
    // SAFETY: `at` is below half of the buffer, and at most the other half is written. A probe read of any address is safe.
    let failed = unsafe {
        bpf_probe_read_kernel(buffer.cast::<u8>().add(at).cast(), room as u32, data as *const _)
    };
    if failed != 0 {
        let _ = HELLOS.remove(&cookie);
        return Said::Unreadable;
    }
    let total = at as u32 + room as u32;
    // SAFETY: the element is removed only by this socket's own program runs.
    let mut said = read(unsafe { &*buffer }, kept, total);
    // SAFETY: as above.
    if said == Said::Other && at != 0 && may_hide(unsafe { &*buffer }, total) {
        said = Said::Unreadable;
    }
    // SAFETY: the storage of a live socket.
    unsafe { (*kept).hello_len = total };
    match said {
        Said::Hello => said,
        Said::Part if total < HELLO_BYTES_MAX as u32 => said,
        _ => {
            let _ = HELLOS.remove(&cookie);
            // SAFETY: as above.
            unsafe { (*kept).hello_len = 0 };
            if said == Said::Part { Said::Unreadable } else { said }
        }
    }
}

#[inline(always)]
fn read(buffer: &Buffer, kept: *mut Gate, total: u32) -> Said {
    let kind = byte(buffer, 0);
    if kind & V2_BIT != 0 {
        return read_v2(buffer, total);
    }
    // Some servers (s2n, Go) overlook the whole version of the first record, where it is a handshake's.
    let is_foreign = kind != RECORD_HANDSHAKE && total > 1 && byte(buffer, 1) != 3;
    if !RECORD_TYPES.contains(&kind) || is_foreign {
        return Said::Other;
    }
    if total < 3 {
        return Said::Part;
    }
    let is_usual = byte(buffer, 1) == 3 && VERSIONS.contains(&byte(buffer, 2));
    if kind != RECORD_HANDSHAKE && is_usual {
        // A record of TLS, and no hello before it: that left where nobody looks, as with Fast Open.
        return Said::Unreadable;
    }
    if total < HEADS_LEN {
        return Said::Part;
    }
    let record = half(buffer, 3) + RECORD_HEAD_LEN;
    let end = ((byte(buffer, 6) << 16) | half(buffer, 7)) + HEADS_LEN;
    let begins = kind == RECORD_HANDSHAKE && byte(buffer, 5) == u32::from(CLIENT_HELLO);
    let is_within = begins && end <= record;
    let is_hello = is_within && end >= HELLO_MIN + HEADS_LEN;
    if !is_usual && !is_hello {
        return unusual(buffer, record, total);
    }
    if !is_within {
        return Said::Unreadable;
    }
    let needed = if record > HELLO_BYTES_MAX as u32 { HELLO_BYTES_MAX as u32 } else { record };
    if total < needed {
        return Said::Part;
    }
    // SAFETY: the storage of a live socket.
    unsafe {
        (*kept).part = record - (*kept).hello_len;
        (*kept).span = [0; 2];
        (*kept).hidden = if end > total { CUT } else { 0 };
    }
    // No more than the buffer holds; the mask gives the verifier the same range however it came here.
    let end = masked::<HELLO_BUFFER_BYTES>(if end > total { total } else { end });
    walk(buffer, kept, end as u32)
}

/// What begins as a record does, in a version that no TLS has: so do other protocols, with the length of a message. As servers
/// overlook the version of some records, it is one where another record is behind it, or nothing.
#[inline(always)]
fn unusual(buffer: &Buffer, record: u32, total: u32) -> Said {
    let is_empty = record == RECORD_HEAD_LEN;
    if byte(buffer, 0) == RECORD_HANDSHAKE
        && !is_empty
        && byte(buffer, 5) != u32::from(CLIENT_HELLO)
    {
        return Said::Other;
    }
    if total < record {
        return Said::Part;
    }
    // The version of the next one is overlooked as well.
    let is_next = RECORD_TYPES.contains(&byte(buffer, record));
    if total == record || is_next { Said::Unreadable } else { Said::Other }
}

/// What begins as a ClientHello of SSL 2.0 does, which servers of today take where it offers TLS (RFC 5246, E.2). It has no
/// name; its lists make up its length, so that hardly anything else is taken for one.
#[inline(always)]
fn read_v2(buffer: &Buffer, total: u32) -> Said {
    let is_other = (total > 2 && byte(buffer, 2) != u32::from(CLIENT_HELLO))
        || (total > 3 && byte(buffer, 3) != 3);
    if is_other {
        return Said::Other;
    }
    if total < V2_HEAD_LEN {
        return Said::Part;
    }
    let lists = half(buffer, 5) + half(buffer, 7) + half(buffer, 9);
    let length = (half(buffer, 0) & 0x7fff) + 2;
    if length == V2_HEAD_LEN + lists { Said::Unreadable } else { Said::Other }
}

/// Whether a hello may begin within bytes that were kept for the begin of one and are none: such as the last byte of a
/// greeting, written by itself. Those before the hello are fewer than the longest head; bytes that did not come are zero.
#[inline(always)]
fn may_hide(buffer: &Buffer, total: u32) -> bool {
    let mut at = 1;
    while at <= V2_HEAD_LEN {
        let is_hello = total <= at + RECORD_HEAD_LEN
            || byte(buffer, at + RECORD_HEAD_LEN) == u32::from(CLIENT_HELLO);
        if is_hello && byte(buffer, at) == RECORD_HANDSHAKE {
            return true;
        }
        at += 1;
    }
    false
}

/// Walks through the extensions of a hello that is known up to `end`, and notes where its name stands.
#[inline(always)]
fn walk(buffer: &Buffer, kept: *mut Gate, end: u32) -> Said {
    let mut at = SESSION_AT;
    at += 1 + byte(buffer, at);
    at += 2 + half(buffer, at);
    at += 1 + byte(buffer, at);
    at += 2;
    let mut walked = 0;
    while walked < EXTENSIONS_MAX {
        if at + 4 > end {
            return ended(kept, end);
        }
        let kind = half(buffer, at);
        if kind == SERVER_NAME {
            // SAFETY: the storage of a live socket. A name longer than RFC 1035 allows leads nowhere.
            unsafe { (*kept).span = [at + 9, half(buffer, at + 7) & 0xff] };
        }
        if kind == ENCRYPTED_HELLO {
            // SAFETY: as above.
            unsafe { (*kept).hidden |= HIDDEN };
        }
        // The mask keeps the verifier's range of `at` the same in every round.
        at = (at + 4 + half(buffer, at + 2)) & 0xffff;
        walked += 1;
    }
    Said::Unreadable
}

/// A hello whose extensions are known up to `end`: where that is not all of them, its name has to be among them.
#[inline(always)]
fn ended(kept: *const Gate, end: u32) -> Said {
    // SAFETY: the storage of a live socket.
    let (span, hidden) = unsafe { (&raw const (*kept).span, (*kept).hidden) };
    let is_named = anew(span, 1) != 0 && anew(span, 0) + anew(span, 1) <= end;
    if hidden & CUT != 0 && !is_named { Said::Unreadable } else { Said::Hello }
}

/// Destination of the name that was noted, and the TLS object that has said the hello, where the probes saw it.
#[inline(always)]
pub fn look_up(kept: *mut Gate) -> (u32, Option<Owner>) {
    // SAFETY: the storage of a live socket.
    let (cookie, length) = unsafe { ((*kept).cookie, (*kept).span[1]) };
    let Some(buffer) = HELLOS.get_ptr_mut(&cookie) else { return (DESTINATION_NONE, None) };
    // SAFETY: the client random stands inside the buffer, and serves as the key where it is.
    let random = unsafe { &*buffer.cast::<u8>().add(RANDOM_AT).cast::<[u8; WIRE_KEY_LEN]>() };
    // SAFETY: the value is copied out at once.
    let owner = unsafe { RECORDS.get(random) }.copied();
    if owner.is_some() {
        let _ = RECORDS.remove(random);
    }
    let mut leads = DESTINATION_NONE;
    if length != 0 {
        // SAFETY: the storage of a live socket.
        let span = unsafe { &raw const (*kept).span };
        leads = destination::<HELLO_BUFFER_BYTES>(buffer.cast(), span);
    }
    let _ = HELLOS.remove(&cookie);
    (leads, owner)
}
