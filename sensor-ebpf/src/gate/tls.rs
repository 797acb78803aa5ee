//! TLS calls of processes under a content policy come by: what they write is judged while it is plaintext, and every record
//! on its way out is noted, so that the socket can tell seen records from others.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::bpf_probe_read_user_buf;
use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_probe_read_user};
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use sensor_common::gate::{
    GATE_COUNT_CALL_TABLE_FULL, GATE_COUNT_OBJECT_TABLE_FULL, HTTP_HEAD, Object, Owner,
    SCOPE_CONTENT,
};
use sensor_common::limits::WIRE_KEY_LEN;
use sensor_common::names::TAIL_SCAN;
use sensor_common::state::ConnectionKey;

use crate::content::hold;
use crate::maps::{GATE_TAILS, INSIDE, OBJECTS, RECORDS, count, now, setting};
use crate::rules::is_content_panic;
use crate::subject::{class_of_process, scope_of, tgid};

/// TLS record types (RFC 8446, 5.1).
const RECORD_HANDSHAKE: u8 = 0x16;
const RECORD_APPLICATION: u8 = 0x17;
/// Handshake type of a ClientHello.
const CLIENT_HELLO: u8 = 1;
/// Where the client random stands in a record that begins with a ClientHello.
const RANDOM_AT: u64 = 11;
/// Type, version and length of a record.
const RECORD_HEAD_LEN: u64 = 5;
/// Records that one call may hand on at once.
const RECORDS_MAX: u32 = 8;

/// Keeps the program off the per-CPU private stack that preemptible kernels share between threads.
#[inline(always)]
pub fn never_tail_call(ctx: &ProbeContext) {
    if setting(&crate::maps::GATE_ABI) == 0 {
        // SAFETY: the tail-called program has the same type and context; the condition never holds.
        unsafe { GATE_TAILS.tail_call(ctx, TAIL_SCAN) };
    }
}

/// Key of a TLS object of the current process.
#[inline(always)]
pub fn key_of(object: u64) -> ConnectionKey {
    ConnectionKey { tgid: u64::from(tgid()), object }
}

/// Class of the current process, where its content is judged.
#[inline(always)]
fn judged_class() -> Option<u32> {
    let class = class_of_process(tgid());
    (scope_of(class) & SCOPE_CONTENT != 0 || is_content_panic()).then_some(class)
}

/// An object of which nothing is known yet.
#[inline(always)]
fn fresh(class: u32) -> Object {
    // SAFETY: the helper takes no arguments and cannot fail.
    let processor = unsafe { bpf_get_smp_processor_id() };
    Object {
        id: (now() << 8) | u64::from(processor & 0xff),
        class,
        http: HTTP_HEAD,
        ..Object::default()
    }
}

#[inline(always)]
fn object_of(key: &ConnectionKey, class: u32) -> Option<*mut Object> {
    if let Some(found) = OBJECTS.get_ptr_mut(key) {
        return Some(found);
    }
    if OBJECTS.insert(key, &fresh(class), 0).is_err() {
        count(GATE_COUNT_OBJECT_TABLE_FULL);
        return None;
    }
    OBJECTS.get_ptr_mut(key)
}

/// Notes that the thread is inside a TLS call of an object.
#[inline(always)]
fn enter(object: u64) -> bool {
    let Some(class) = judged_class() else { return false };
    let Some(found) = object_of(&key_of(object), class) else { return false };
    // The process may be told something else by now than when the object began.
    // SAFETY: a live element of the LRU map, whose reuse the kernel defers until the program has ended.
    unsafe { (*found).class = class };
    if INSIDE.insert(&bpf_get_current_pid_tgid(), &object, 0).is_err() {
        count(GATE_COUNT_CALL_TABLE_FULL);
        return false;
    }
    true
}

#[inline(always)]
fn writing(ctx: &ProbeContext, length: u64) -> u32 {
    let (Some(object), Some(buffer)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    if enter(object) && hold(&key_of(object), buffer, length) {
        // SAFETY: the tail-called program has the same type and context.
        unsafe { GATE_TAILS.tail_call(ctx, TAIL_SCAN) };
    }
    0
}

/// proto: int SSL_write(SSL *ssl, const void *buf, int num);
#[uprobe]
pub fn gate_write(ctx: ProbeContext) -> u32 {
    let Some(num) = ctx.arg::<u64>(2) else { return 0 };
    // The argument is an int: the upper half of the register is undefined.
    let length = num & 0xffff_ffff;
    writing(&ctx, if length > 0x7fff_ffff { 0 } else { length })
}

/// proto: int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written);
#[uprobe]
pub fn gate_write_ex(ctx: ProbeContext) -> u32 {
    let Some(length) = ctx.arg::<u64>(2) else { return 0 };
    writing(&ctx, length)
}

/// Any other call under which records may go out.
/// proto: int SSL_do_handshake(SSL *ssl);
#[uprobe]
pub fn gate_enter(ctx: ProbeContext) -> u32 {
    if let Some(object) = ctx.arg::<u64>(0) {
        enter(object);
    }
    never_tail_call(&ctx);
    0
}

/// Return of any of these calls.
/// proto: int SSL_do_handshake(SSL *ssl);
#[uretprobe]
pub fn gate_leave(ctx: RetProbeContext) -> u32 {
    let _ = INSIDE.remove(&bpf_get_current_pid_tgid());
    never_tail_call(&ProbeContext::new(ctx.as_ptr()));
    0
}

/// proto: void SSL_free(SSL *ssl);
#[uprobe]
pub fn gate_free(ctx: ProbeContext) -> u32 {
    if let Some(object) = ctx.arg::<u64>(0) {
        let _ = OBJECTS.remove(&key_of(object));
    }
    never_tail_call(&ctx);
    0
}

/// Under a TLS call, the bytes are TLS records on their way out: each is noted with its object.
/// proto: int BIO_write(BIO *b, const void *data, int dlen);
#[uprobe]
pub fn gate_bio(ctx: ProbeContext) -> u32 {
    note(&ctx);
    never_tail_call(&ctx);
    0
}

#[inline(always)]
fn note(ctx: &ProbeContext) -> Option<()> {
    // SAFETY: the value is copied out at once.
    let object = *unsafe { INSIDE.get(&bpf_get_current_pid_tgid()) }?;
    let (data, length) = (ctx.arg::<u64>(1)?, ctx.arg::<u64>(2)? & 0x7fff_ffff);
    let key = key_of(object);
    // SAFETY: the value is copied out at once.
    let id = unsafe { OBJECTS.get(&key) }?.id;
    let mut owner = Owner { key, id };
    let mut at = 0u64;
    let mut walked = 0;
    while walked < RECORDS_MAX {
        if at + RECORD_HEAD_LEN >= length {
            break;
        }
        at += record(data + at, &mut owner)?;
        walked += 1;
    }
    Some(())
}

/// Notes one record; says how long it is.
#[inline(always)]
fn record(from: u64, owner: &mut Owner) -> Option<u64> {
    let mut head = [0u8; 6];
    // SAFETY: a probe read of any address is safe; a bad one gives an error.
    unsafe { bpf_probe_read_user_buf(from as *const u8, &mut head) }.ok()?;
    if head[1] != 3 {
        return None;
    }
    let content = u64::from(u16::from_be_bytes([head[3], head[4]]));
    let whole = RECORD_HEAD_LEN + content;
    let hello = head[0] == RECORD_HANDSHAKE && head[5] == CLIENT_HELLO;
    if !hello && head[0] != RECORD_APPLICATION {
        return Some(whole);
    }
    if hello && let Some(object) = OBJECTS.get_ptr_mut(&owner.key) {
        // A handshake in the clear begins a connection: the object, or one at its address, may have served another before.
        // What was written before the handshake is written again behind it, and judged then.
        // SAFETY: a live element of the LRU map; only this thread is inside the object.
        unsafe {
            let begun = fresh((*object).class);
            owner.id = begun.id;
            object.write(begun);
        }
    }
    let mut wire = [0u8; WIRE_KEY_LEN];
    let wanted = if content < WIRE_KEY_LEN as u64 { content } else { WIRE_KEY_LEN as u64 };
    let start = from + if hello { RANDOM_AT } else { RECORD_HEAD_LEN };
    // SAFETY: the helper writes at most the array; a probe read of any address is safe.
    let failed = unsafe {
        bpf_probe_read_user(wire.as_mut_ptr().cast(), (wanted & 0x3f) as u32, start as *const _)
    };
    if failed == 0 {
        let _ = RECORDS.insert(&wire, &*owner, 0);
    }
    Some(whole)
}
