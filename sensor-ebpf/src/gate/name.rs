//! A host name in a buffer comes in; the destination it leads to goes out.

use core::arch::asm;

use sensor_common::gate::{DESTINATION_NONE, NAME_HEAD_AND_TAIL, NAME_TAIL, NAME_WHOLE, name_key};
use sensor_common::limits::NAME_SCAN_MAX;
use sensor_common::state::{NAME_HASH_START, name_hash_step};

use crate::maps::DESTINATION_NAMES;

/// Longest first label of a name (RFC 1035, 2.3.4), with its dot.
const LABEL_MAX: u32 = 64;

/// An index into a buffer of `N` bytes, a power of two; in assembly, because LLVM drops a mask that it can prove needless
/// and the verifier cannot.
#[inline(always)]
pub fn masked<const N: usize>(index: u32) -> usize {
    let mut masked = u64::from(index);
    // SAFETY: only the named register is changed.
    unsafe { asm!("{0} &= {1}", inout(reg) masked, const N - 1, options(nomem, nostack)) };
    masked as usize
}

/// Reads a number in memory anew: what the verifier has learnt of an earlier reading, it need not carry along.
#[inline(always)]
pub fn anew(span: *const [u32; 2], place: usize) -> u32 {
    // SAFETY: the caller's memory is live; the place is 0 or 1.
    unsafe { core::ptr::read_volatile(span.cast::<u32>().add(place)) }
}

/// Hash of the first label, with its dot.
#[inline(always)]
fn first_label<const N: usize>(text: *const u8, span: *const [u32; 2]) -> u64 {
    let mut hash = NAME_HASH_START;
    let mut step = 0;
    while step < LABEL_MAX {
        if step >= anew(span, 1) {
            break;
        }
        // SAFETY: the index was masked to below the length of the array.
        let byte = unsafe { core::ptr::read_volatile(text.add(masked::<N>(anew(span, 0) + step))) };
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
    unsafe { DESTINATION_NAMES.get(&key) }.map_or(DESTINATION_NONE, |found| *found)
}

/// Looks up the tails of the name at `span` of a text of `N` bytes, last byte first: each that begins with a dot or hyphen,
/// then the whole. The longest that leads somewhere decides.
#[inline(always)]
pub fn destination<const N: usize>(text: *const u8, span: *const [u32; 2]) -> u32 {
    let head = first_label::<N>(text, span);
    let mut hash = NAME_HASH_START;
    let mut longest = DESTINATION_NONE;
    let mut step = 0u32;
    while step < NAME_SCAN_MAX {
        if step >= anew(span, 1) {
            let whole = look_up(name_key(hash, NAME_WHOLE, 0));
            return if whole == DESTINATION_NONE { longest } else { whole };
        }
        let place = anew(span, 0) + anew(span, 1) - 1 - step;
        // SAFETY: the index was masked to below the length of the array.
        let byte = unsafe { core::ptr::read_volatile(text.add(masked::<N>(place))) };
        // The dot of the root at the end is no part of the name (RFC 1034, 3.1).
        if step == 0 && byte == b'.' {
            step += 1;
            continue;
        }
        hash = name_hash_step(hash, byte);
        if byte == b'.' || byte == b'-' {
            let mut found = look_up(name_key(hash, NAME_TAIL, 0));
            if found == DESTINATION_NONE {
                found = look_up(name_key(hash, NAME_HEAD_AND_TAIL, head));
            }
            if found != DESTINATION_NONE {
                longest = found;
            }
        }
        step += 1;
    }
    longest
}
