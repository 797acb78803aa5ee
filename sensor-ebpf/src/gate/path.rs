//! The path of a request comes in; what is said about its begin, or about its end, goes out.

use core::arch::asm;

use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use sensor_common::gate::{
    DESTINATION_NONE, Object, RULE_PATH, RULE_PATH_TAIL, RuleKey, SCOPE_KEYS, SCOPE_MODELS,
    SCOPE_PATH_TAILS, SCOPE_PATHS, Verdict, value_at,
};
use sensor_common::limits::{PATH_SCAN_MAX, TAIL_SCAN_MAX};
use sensor_common::names::TAIL_CREDENTIAL;
use sensor_common::scan::{Head, MARK_PATH, MARK_PATH_END};
use sensor_common::state::NAME_HASH_START;

use crate::content::{byte, held, judged_by, leave, look_at, step};
use crate::maps::{GATE_TAILS, HEADS, OBJECTS, now};
use crate::name::anew;
use crate::rules::{refuses, rule};
use crate::tls::never_tail_call;

/// What begins an escape in a path; no byte of a model's name in a body does.
pub const ESCAPE: u8 = b'%';
/// First letters of the methods that make nothing: `DELETE`, `GET`, `HEAD`, `OPTIONS`, `TRACE`.
const READING: [u8; 5] = *b"DGHOT";

/// Judges the path.
/// proto: none (only ever tail-called)
#[uprobe]
pub fn gate_path(ctx: ProbeContext) -> u32 {
    if judge() == Some(true) {
        // SAFETY: the tail-called program has the same type and context.
        unsafe { GATE_TAILS.tail_call(&ctx, TAIL_CREDENTIAL) };
    }
    never_tail_call(&ctx);
    0
}

/// Says whether credential and model are still to be judged.
#[inline(always)]
fn judge() -> Option<bool> {
    let key = held()?;
    let head = HEADS.get_ptr_mut(&key)?;
    let object = OBJECTS.get_ptr_mut(&key)?;
    // SAFETY: a live element of the LRU map; only this thread is inside the object.
    let Object { class, destination: leads, .. } = unsafe { *object };
    let scope = judged_by(class);
    if scope & SCOPE_PATHS != 0
        && let Some(verdict) = begin(head, class, leads)
    {
        leave(object, &verdict, leads);
        return None;
    }
    if scope & SCOPE_PATH_TAILS != 0
        && let Some(verdict) = end(head, class, leads)
        && refuses(&verdict)
    {
        leave(object, &verdict, leads);
        return None;
    }
    Some(scope & (SCOPE_KEYS | SCOPE_MODELS) != 0 && leads != DESTINATION_NONE)
}

/// Looks a path up at each of its `/`: with its method, and for every method.
#[inline(always)]
fn begin(head: *mut Head, class: u32, leads: u32) -> Option<Verdict> {
    if !look_at(head, MARK_PATH, MARK_PATH_END) {
        return None;
    }
    // SAFETY: a live element that only this thread changes.
    let span = unsafe { &raw const (*head).span };
    let at_ns = now();
    let mut key = RuleKey { class, kind: RULE_PATH, value: [0, u64::from(leads)] };
    let (mut with_method, mut of_path) = (NAME_HASH_START, NAME_HASH_START);
    let (mut at, mut walked) = (0u32, 0);
    while walked < PATH_SCAN_MAX {
        let (raw, next, length) = unescaped(head, at, ESCAPE, 0);
        let is_end = at >= anew(span, 0) + anew(span, 1) || raw == b'?';
        if at > anew(span, 0) + 1 && (is_end || next == b'/') {
            key.value[0] = with_method;
            if let Some(verdict) = rule(&key, at_ns)
                && refuses(&verdict)
            {
                return Some(verdict);
            }
            key.value[0] = of_path;
            if let Some(verdict) = rule(&key, at_ns)
                && refuses(&verdict)
            {
                return Some(verdict);
            }
        }
        if is_end {
            return None;
        }
        with_method = step(with_method, next);
        if at > anew(span, 0) {
            of_path = step(of_path, next);
        }
        at += length;
        walked += 1;
    }
    None
}

/// Looks the last segments of a path up, three of them first, then fewer, then what stands behind the last colon.
#[inline(always)]
fn end(head: *mut Head, class: u32, leads: u32) -> Option<Verdict> {
    let method = byte(head, 0);
    if READING.contains(&method) || !look_at(head, MARK_PATH, MARK_PATH_END) {
        return None;
    }
    // SAFETY: a live element that only this thread changes.
    let span = unsafe { &raw const (*head).span };
    let [mut three, mut two, mut one, mut verb] = [NAME_HASH_START; 4];
    // The span begins with the blank before the path.
    let (mut at, mut walked) = (1u32, 0);
    while walked < TAIL_SCAN_MAX {
        // Servers look for their route in the path without its escapes.
        let (raw, next, length) = unescaped(head, anew(span, 0) + at, ESCAPE, 0);
        if at >= anew(span, 1) || raw == b'?' {
            break;
        }
        if next == b'/' {
            three = step(two, next);
            two = step(one, next);
            one = NAME_HASH_START;
            verb = NAME_HASH_START;
        } else {
            if next == b':' {
                verb = NAME_HASH_START;
            }
            three = step(three, next);
            two = step(two, next);
            one = step(one, next);
            verb = step(verb, next);
        }
        at += length;
        walked += 1;
    }
    if walked >= TAIL_SCAN_MAX {
        return None;
    }
    let at_ns = now();
    let about = |hash| {
        let value = value_at([hash, 0], leads);
        rule(&RuleKey { class, kind: RULE_PATH_TAIL, value }, at_ns)
    };
    about(three).or_else(|| about(two)).or_else(|| about(one)).or_else(|| about(verb))
}

/// A byte of a path, as it is written and as it is meant, and how many bytes were read for it: an escape is meant as what
/// it stands for (RFC 3986, 2.1), unless that is the byte that is kept. Nothing here branches: the verifier would follow
/// each of both ways through all that comes.
#[inline(always)]
pub fn unescaped(head: *const Head, at: u32, escape: u8, kept: u8) -> (u8, u8, u32) {
    let raw = byte(head, at);
    let value = ((half(byte(head, at + 1)) << 4) | half(byte(head, at + 2))) & 0xff;
    let is_escape = equal(raw, escape) & (1 - equal(value as u8, kept));
    let meant = value * is_escape + u32::from(raw) * (1 - is_escape);
    (raw, meant as u8, 1 + 2 * is_escape)
}

/// Half a byte from its digit; what is no digit gives anything.
#[inline(always)]
fn half(digit: u8) -> u32 {
    u32::from(digit & 0xf) + 9 * u32::from(digit >> 6)
}

/// 1 where two bytes are equal, else 0; in assembly, because LLVM would make a branch of it.
#[inline(always)]
fn equal(one: u8, other: u8) -> u32 {
    let mut differs = u64::from(one ^ other);
    // SAFETY: only the named register is changed.
    unsafe {
        asm!("{0} += -1", "{0} >>= 63", inout(reg) differs, options(nomem, nostack));
    }
    differs as u32
}
