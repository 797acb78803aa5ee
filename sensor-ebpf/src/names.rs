//! A host name in memory comes in; whether it may be an AI provider's goes out.

use core::arch::asm;

use sensor_common::limits::{NAME_MAX, NAME_SCAN_MAX};
use sensor_common::state::{NAME_EXACT, NAME_HASH_START, NAME_SUFFIX, name_hash_step};

use crate::maps::NAMES;

/// An index into a name; in assembly, because LLVM drops a mask that it can prove needless and the verifier cannot.
#[inline(always)]
pub fn masked(index: u32) -> usize {
    let mut masked = u64::from(index);
    // SAFETY: only the named register is changed.
    unsafe { asm!("{0} &= {1}", inout(reg) masked, const NAME_MAX - 1, options(nomem, nostack)) };
    masked as usize
}

/// Looks up the suffixes of `name[start..len]`, last byte first: each that begins with a dot, then the whole name.
#[inline(always)]
pub fn is_ai(name: &[u8; NAME_MAX], start: u32, len: u32) -> bool {
    let mut hash = NAME_HASH_START;
    let mut step = 0u32;
    while step < NAME_SCAN_MAX {
        if step + start >= len {
            // SAFETY: the value is copied out at once.
            let whole = unsafe { NAMES.get(&hash) };
            return whole.is_some_and(|flags| *flags & NAME_EXACT != 0);
        }
        // SAFETY: the index was masked to below the length of the array.
        let byte = unsafe { *name.get_unchecked(masked(len - 1 - step)) };
        hash = name_hash_step(hash, byte);
        if byte == b'.' {
            // SAFETY: the value is copied out at once.
            let suffix = unsafe { NAMES.get(&hash) };
            if suffix.is_some_and(|flags| *flags & NAME_SUFFIX != 0) {
                return true;
            }
        }
        step += 1;
    }
    false
}
