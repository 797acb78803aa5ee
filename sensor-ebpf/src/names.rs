//! A host name in memory comes in; whether it is an AI provider's, or may be, goes out.

use core::arch::asm;

use sensor_common::gate::{NAME_HEAD_AND_TAIL, name_key};
use sensor_common::limits::{NAME_MAX, NAME_SCAN_MAX};
use sensor_common::state::{NAME_EXACT, NAME_HASH_START, NAME_MAYBE, NAME_SUFFIX, name_hash_step};

use crate::maps::NAMES;

/// The name is none of an AI provider.
pub const OTHER: u32 = 0;
/// The name may be an AI provider's: the agent, who knows the whole pattern, decides.
pub const MAYBE: u32 = 1;
/// The name is an AI provider's.
pub const AI: u32 = 2;

/// Longest first label of a name (RFC 1035, 2.3.4), with its dot.
const LABEL_MAX: u32 = 64;
/// Place of a span's end.
const END: usize = 0;
/// Place of a span's begin.
const START: usize = 1;
/// A begin has no more bits.
const START_BITS: u32 = 8;

/// An index into a name; in assembly, because LLVM drops a mask that it can prove needless and the verifier cannot.
#[inline(always)]
fn masked(index: u32) -> usize {
    let mut masked = u64::from(index);
    // SAFETY: only the named register is changed.
    unsafe { asm!("{0} &= {1}", inout(reg) masked, const NAME_MAX - 1, options(nomem, nostack)) };
    masked as usize
}

/// Reads a number in memory anew: what the verifier has learnt of an earlier reading, it need not carry along.
#[inline(always)]
fn anew(span: *const [u32; 2], place: usize) -> u32 {
    // SAFETY: the caller's memory is live; the place is 0 or 1.
    unsafe { core::ptr::read_volatile(span.cast::<u32>().add(place)) }
}

#[inline(always)]
fn byte_at(name: *const u8, at: u32) -> u8 {
    // SAFETY: the index was masked to below the length of the name.
    unsafe { core::ptr::read_volatile(name.add(masked(at))) }
}

/// Hash of the first label, with its dot.
#[inline(always)]
fn first_label(name: *const u8, span: *const [u32; 2]) -> u64 {
    let mut hash = NAME_HASH_START;
    let mut step = 0u32;
    while step < LABEL_MAX {
        let at = anew(span, START) + step;
        if at >= anew(span, END) {
            break;
        }
        let byte = byte_at(name, at);
        hash = name_hash_step(hash, byte);
        if byte == b'.' {
            break;
        }
        step += 1;
    }
    hash
}

#[inline(always)]
fn look_up(key: u64) -> u32 {
    // SAFETY: the value is copied out at once.
    unsafe { NAMES.get(&key) }.map_or(0, |flags| *flags)
}

/// Looks up the tails of a name of `NAME_MAX` bytes of room, last byte first: each that begins with a dot or hyphen, by itself
/// and with the first label, then the whole. The span says where the name ends and where it begins.
#[inline(always)]
pub fn kind(name: *const u8, span: *const [u32; 2]) -> u32 {
    let head = first_label(name, span);
    let mut hash = NAME_HASH_START;
    // Nothing, which the verifier does not know: what is found adds to it, and no two rounds differ for what they found.
    let mut seen = anew(span, START) >> START_BITS;
    let mut step = 0u32;
    while step < NAME_SCAN_MAX {
        if step + anew(span, START) >= anew(span, END) {
            if look_up(hash) & NAME_EXACT != 0 {
                return AI;
            }
            break;
        }
        let byte = byte_at(name, anew(span, END) - 1 - step);
        hash = name_hash_step(hash, byte);
        if byte == b'.' || byte == b'-' {
            seen |= look_up(hash) | look_up(name_key(hash, NAME_HEAD_AND_TAIL, head));
        }
        step += 1;
    }
    if seen & NAME_SUFFIX != 0 {
        AI
    } else if seen & NAME_MAYBE != 0 {
        MAYBE
    } else {
        OTHER
    }
}
