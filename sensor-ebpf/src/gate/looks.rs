//! A write that is longer than what is held comes in; its next bytes are held, until nothing is left to look for.
//!
//! Clients put the model where they like: behind a long prompt as well as before it.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use sensor_common::gate::Object;
use sensor_common::limits::{HEAD_BYTES_MAX, LOOK_OVERLAP, LOOKS_MAX};
use sensor_common::scan::{Head, MARK_UNCLEAR, MARKS_MAX, SCANNER_FLAT};

use crate::content::unreadable;

/// Bytes of a write that one more look sees for the first time.
const STEP: u64 = HEAD_BYTES_MAX as u64 - LOOK_OVERLAP as u64;

/// Holds the next bytes of the write in place of those held; says whether there were any.
#[inline(always)]
pub fn next(head: *mut Head, object: *mut Object) -> bool {
    // SAFETY: a live element that only this thread changes.
    let (buffer, rest, looks) = unsafe { ((*head).buffer, (*head).rest, (*head).looks) };
    if rest == 0 || looks >= LOOKS_MAX {
        return false;
    }
    let left = if looks + 1 == LOOKS_MAX && rest > STEP { STEP } else { rest };
    let from = buffer + (rest - left) - u64::from(LOOK_OVERLAP);
    let mut room = left + u64::from(LOOK_OVERLAP);
    // SAFETY: only the named register is changed, to at most the length of the array.
    unsafe {
        asm!("if {0} <= {1} goto +1", "{0} = {1}", inout(reg) room, const HEAD_BYTES_MAX, options(nomem, nostack));
    }
    // SAFETY: the helper writes at most the array; a probe read of any address is safe.
    let failed = unsafe {
        bpf_probe_read_user((&raw mut (*head).bytes).cast(), room as u32, from as *const _)
    };
    if failed != 0 {
        return unreadable(object);
    }
    // SAFETY: a live element that only this thread changes.
    unsafe {
        (*head).buffer = from + room;
        (*head).rest = left + u64::from(LOOK_OVERLAP) - room;
        (*head).looks = looks + 1;
        (*head).length = room as u32;
        // The last look may leave bytes out.
        (*head).state = if left == rest { (*head).resumed } else { SCANNER_FLAT };
        let unclear = (*head).counts[MARK_UNCLEAR];
        (*head).marks = [0; MARKS_MAX];
        (*head).counts = [0; MARKS_MAX];
        (*head).counts[MARK_UNCLEAR] = unclear;
    }
    true
}
