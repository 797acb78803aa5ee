//! The path of a request comes in; what is said about its begin, or about its end, goes out.

use sensor_common::gate::{RULE_PATH, RULE_PATH_TAIL, RuleKey, Verdict, value_at};
use sensor_common::limits::{PATH_SCAN_MAX, TAIL_SCAN_MAX};
use sensor_common::scan::{Head, MARK_PATH, MARK_PATH_END};
use sensor_common::state::NAME_HASH_START;

use crate::content::{byte, look_at, step};
use crate::maps::now;
use crate::name::anew;
use crate::rules::{refuses, rule};

/// First letters of the methods that make nothing: `DELETE`, `GET`, `HEAD`, `OPTIONS`, `TRACE`.
const READING: [u8; 5] = *b"DGHOT";

/// Looks a path up at each of its `/`: with its method, and for every method.
#[inline(always)]
pub fn begin(head: *mut Head, class: u32, leads: u32) -> Option<Verdict> {
    if !look_at(head, MARK_PATH, MARK_PATH_END) {
        return None;
    }
    // SAFETY: a live element that only this thread changes.
    let span = unsafe { &raw const (*head).span };
    let at_ns = now();
    let mut key = RuleKey { class, kind: RULE_PATH, value: [0, u64::from(leads)] };
    let (mut with_method, mut of_path) = (NAME_HASH_START, NAME_HASH_START);
    let mut at = 0u32;
    while at < PATH_SCAN_MAX {
        let next = byte(head, at);
        let is_end = at >= anew(span, 0) + anew(span, 1) || next == b'?';
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
        at += 1;
    }
    None
}

/// Looks the last segments of a path up, three of them first, then fewer, then what stands behind the last colon.
#[inline(always)]
pub fn end(head: *mut Head, class: u32, leads: u32) -> Option<Verdict> {
    let method = byte(head, 0);
    if READING.contains(&method) || !look_at(head, MARK_PATH, MARK_PATH_END) {
        return None;
    }
    // SAFETY: a live element that only this thread changes.
    let span = unsafe { &raw const (*head).span };
    let [mut three, mut two, mut one, mut verb] = [NAME_HASH_START; 4];
    // The span begins with the blank before the path.
    let mut at = 1u32;
    while at < TAIL_SCAN_MAX {
        let next = byte(head, anew(span, 0) + at);
        if at >= anew(span, 1) || next == b'?' {
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
        at += 1;
    }
    if at >= TAIL_SCAN_MAX {
        return None;
    }
    let at_ns = now();
    let about = |hash| {
        let value = value_at([hash, 0], leads);
        rule(&RuleKey { class, kind: RULE_PATH_TAIL, value }, at_ns)
    };
    about(three).or_else(|| about(two)).or_else(|| about(one)).or_else(|| about(verb))
}
