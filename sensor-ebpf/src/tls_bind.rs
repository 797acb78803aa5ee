//! What tells which name and socket a TLS object belongs to comes by; names, descriptors and wire keys are noted.

use aya_ebpf::helpers::generated::{bpf_probe_read_user, bpf_probe_read_user_str};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user_buf};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use sensor_common::limits::{NAME_MAX, TIER_SMALL, WIRE_KEY_LEN};
use sensor_common::record::{
    FLAG_AI_NAME, FLAG_FAMILY_MASK, FLAG_FRESH, Header, KIND_DESCRIPTOR, KIND_FREE, KIND_NAME,
    Record,
};
use sensor_common::state::{
    COUNT_RECORD_NO_ROOM, Connection, ConnectionKey, VERDICT_IGNORE, VERDICT_PROBATION,
    VERDICT_WATCH, WireOwner,
};

use crate::maps::{CALLS, CONNECTIONS, DATA, WIRE, WIRE_WANTED, count};
use crate::names;
use crate::ring::{READER_DATA, emit, header, now, wake_flag};
use crate::tls::{connection, key_of, never_tail_call};

/// `SSL_CTRL_SET_TLSEXT_HOSTNAME` (openssl/tls1.h).
const CTRL_SET_HOST_NAME: u64 = 55;
/// TLS record type of a handshake message (RFC 8446, 5.1).
const RECORD_HANDSHAKE: u8 = 0x16;
/// TLS record type of application data.
const RECORD_APPLICATION: u8 = 0x17;
/// Handshake type of a ClientHello.
const CLIENT_HELLO: u8 = 1;
/// Where the client random stands in a record that begins with a ClientHello.
const RANDOM_AT: usize = 11;
/// Where the encrypted content of a record begins.
const CONTENT_AT: usize = 5;
/// How long a TLS object's bytes may take to the wire.
const WIRE_WAIT_NS: u64 = 2_000_000_000;

/// proto: long SSL_ctrl(SSL *ssl, int cmd, long larg, void *parg);
#[uprobe]
pub fn tls_ctrl(ctx: ProbeContext) -> u32 {
    let (Some(object), Some(command), Some(name)) =
        (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<u64>(3))
    else {
        return 0;
    };
    if command & 0xffff_ffff == CTRL_SET_HOST_NAME && name != 0 {
        set_name(object, name, NAME_MAX as u64, 0);
    }
    never_tail_call(&ctx);
    0
}

/// proto: int SSL_set_tlsext_host_name(SSL *ssl, const char *name);
#[uprobe]
pub fn tls_set_host_name(ctx: ProbeContext) -> u32 {
    let (Some(object), Some(name)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    if name != 0 {
        set_name(object, name, NAME_MAX as u64, 0);
    }
    never_tail_call(&ctx);
    0
}

/// Reports the server name given to a TLS object, of at most `limit` bytes; `flags` are those of an object seen for the
/// first time.
#[inline(always)]
pub fn set_name(object: u64, name: u64, limit: u64, flags: u32) {
    let key = key_of(object);
    renew(&key);
    let Some(connection) = connection(&key, flags) else { return };
    // SAFETY: a live element of the LRU map; the kernel defers its reuse until the program has ended.
    let seen = unsafe { *connection };
    let Some(mut entry) = DATA.reserve::<Record<TIER_SMALL>>(0) else {
        count(COUNT_RECORD_NO_ROOM);
        return;
    };
    let target = entry.as_mut_ptr();
    // SAFETY: the payload is longer than a name; the helper writes at most `NAME_MAX` bytes, terminator included.
    let read = unsafe {
        bpf_probe_read_user_str(
            (&raw mut (*target).payload).cast(),
            NAME_MAX as u32,
            name as *const _,
        )
    };
    let length = if read > 1 && read <= NAME_MAX as i64 { (read - 1) as u32 } else { 0 };
    let length = if u64::from(length) > limit { limit as u32 } else { length };
    // Behind the room of the name, where it ends and begins.
    // SAFETY: the payload is longer than a name and two numbers, and eight-byte aligned.
    let (name, span) = unsafe {
        let name = (&raw mut (*target).payload).cast::<u8>();
        (name, name.add(NAME_MAX).cast::<u32>())
    };
    // SAFETY: as above.
    unsafe {
        core::ptr::write_volatile(span, length);
        core::ptr::write_volatile(span.add(1), 0);
    }
    // What may be an AI name stays on probation until the agent says so.
    let ai = names::kind(name, span.cast_const().cast()) == names::AI;
    if ai && seen.verdict == VERDICT_PROBATION {
        // SAFETY: as above.
        unsafe { (*connection).verdict = VERDICT_WATCH };
    }
    let record = Header {
        start_ns: seen.start_ns,
        captured: length,
        call_len: length,
        flags: if ai { seen.flags | FLAG_AI_NAME } else { seen.flags },
        ..header(KIND_NAME, seen.id)
    };
    // SAFETY: `target` is reserved memory of a whole record.
    unsafe { (&raw mut (*target).header).write(record) };
    entry.submit(wake_flag(READER_DATA, record.at_ns));
}

/// proto: int SSL_set_fd(SSL *ssl, int fd);
#[uprobe]
pub fn tls_set_fd(ctx: ProbeContext) -> u32 {
    let (Some(object), Some(descriptor)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    let key = key_of(object);
    if let Some(connection) = connection(&key, 0) {
        // SAFETY: a live element of the LRU map.
        let seen = unsafe { *connection };
        let record = Header {
            start_ns: seen.start_ns,
            aux: descriptor & 0xffff_ffff,
            ..header(KIND_DESCRIPTOR, seen.id)
        };
        if !emit(&DATA, READER_DATA, &record) {
            count(COUNT_RECORD_NO_ROOM);
        }
    }
    never_tail_call(&ctx);
    0
}

/// A TLS object gets its channels: what was known of an earlier use of the object no longer holds.
/// proto: void SSL_set_bio(SSL *ssl, BIO *rbio, BIO *wbio);
#[uprobe]
pub fn tls_set_bio(ctx: ProbeContext) -> u32 {
    let Some(object) = ctx.arg::<u64>(0) else { return 0 };
    renew(&key_of(object));
    never_tail_call(&ctx);
    0
}

/// Ends what was known of an object whose memory serves a new connection, where its end was not seen; gives back the
/// flags that say which library it is of.
#[inline(always)]
fn renew(key: &ConnectionKey) -> u32 {
    let Some(connection) = CONNECTIONS.get_ptr_mut(key) else { return 0 };
    // SAFETY: a live element of the LRU map.
    let seen = unsafe { *connection };
    if seen.sent != 0 || seen.received != 0 || seen.verdict == VERDICT_IGNORE {
        end(&seen);
        let _ = CONNECTIONS.remove(key);
    }
    seen.flags & FLAG_FAMILY_MASK
}

/// proto: void SSL_free(SSL *ssl);
#[uprobe]
pub fn tls_free(ctx: ProbeContext) -> u32 {
    let Some(object) = ctx.arg::<u64>(0) else { return 0 };
    forget(&key_of(object));
    never_tail_call(&ctx);
    0
}

/// Ends what is known of a TLS object.
#[inline(always)]
pub fn forget(key: &ConnectionKey) {
    if let Some(connection) = CONNECTIONS.get_ptr_mut(key) {
        // SAFETY: a live element of the LRU map, copied before it is removed.
        let seen = unsafe { *connection };
        let _ = CONNECTIONS.remove(key);
        end(&seen);
    }
}

/// Reports the end of a TLS object.
#[inline(always)]
pub fn end(seen: &Connection) {
    let record = Header { start_ns: seen.start_ns, aux: seen.cookie, ..header(KIND_FREE, seen.id) };
    if !emit(&DATA, READER_DATA, &record) {
        count(COUNT_RECORD_NO_ROOM);
    }
}

/// Under a TLS call, the bytes are a TLS record on its way out: its content identifies the object on the wire.
/// proto: int BIO_write(BIO *b, const void *data, int dlen);
#[uprobe]
pub fn bio_write(ctx: ProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    let Some(call) = CALLS.get_ptr(&thread) else { return 0 };
    let Some(data) = ctx.arg::<u64>(1) else { return 0 };
    // SAFETY: a live element that only this thread changes.
    let object = unsafe { (*call).object };
    outgoing(&key_of(object), data);
    never_tail_call(&ctx);
    0
}

/// First bytes of a TLS record, and whether it begins with a ClientHello; `None` where there is no record.
#[inline(always)]
pub fn record_at(data: u64) -> Option<([u8; 6], bool)> {
    let mut head = [0u8; 6];
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    if unsafe { bpf_probe_read_user_buf(data as *const u8, &mut head) }.is_err() || head[1] != 3 {
        return None;
    }
    Some((head, head[0] == RECORD_HANDSHAKE && head[5] == CLIENT_HELLO))
}

/// Notes bytes that a TLS object is about to put on the wire, where they tell it from all others.
#[inline(always)]
pub fn outgoing(key: &ConnectionKey, data: u64) {
    let Some((head, hello)) = record_at(data) else { return };
    let found = if hello { connection(key, renew(key)) } else { CONNECTIONS.get_ptr_mut(key) };
    let Some(connection) = found else { return };
    // SAFETY: a live element of the LRU map.
    let bound = unsafe { (*connection).cookie } != 0;
    if !hello && (bound || head[0] != RECORD_APPLICATION) {
        return;
    }
    if hello {
        // SAFETY: as above; only this thread is inside the object.
        unsafe { (*connection).flags |= FLAG_FRESH };
    }
    let from = data + if hello { RANDOM_AT } else { CONTENT_AT } as u64;
    let mut wire = [0u8; WIRE_KEY_LEN];
    // SAFETY: the helper writes exactly the array.
    if unsafe {
        bpf_probe_read_user(wire.as_mut_ptr().cast(), WIRE_KEY_LEN as u32, from as *const _)
    } != 0
    {
        return;
    }
    // SAFETY: a live element of the LRU map.
    let owner = WireOwner { key: *key, connection: unsafe { (*connection).id } };
    let _ = WIRE.insert(&wire, &owner, 0);
    if let Some(until) = WIRE_WANTED.get_ptr_mut(0) {
        // SAFETY: a live array element; all writers move it forward.
        unsafe { *until = now() + WIRE_WAIT_NS };
    }
}
