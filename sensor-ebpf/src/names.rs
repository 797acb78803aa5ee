//! A host name in memory comes in; whether it may be an AI provider's goes out.

use core::arch::asm;

use sensor_common::limits::NAME_MAX;
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

/// Looks up the suffixes of `name[start..len]`, last byte first: each that begins with a dot, and the whole name.
#[inline(always)]
pub fn is_ai(name: &[u8; NAME_MAX], start: u32, len: u32) -> bool {
    let mut hash = NAME_HASH_START;
    let mut step = 0u32;
    while step < NAME_MAX as u32 {
        if step + start >= len {
            break;
        }
        let index = masked(len - 1 - step);
        // SAFETY: `index` was masked to below the length of the array.
        let byte = unsafe { *name.get_unchecked(index) };
        hash = name_hash_step(hash, byte);
        let wanted = if index == start as usize { NAME_EXACT } else { NAME_SUFFIX };
        if byte == b'.' || index == start as usize {
            // SAFETY: the value is copied out at once.
            if let Some(flags) = unsafe { NAMES.get(&hash) } {
                if *flags & wanted != 0 {
                    return true;
                }
            }
        }
        step += 1;
    }
    false
}
