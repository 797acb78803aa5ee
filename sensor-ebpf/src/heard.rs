//! Arriving packets come by; which socket a record came by is remembered, for connections that seal and open with different objects.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::programs::SkBuffContext;
use sensor_common::limits::WIRE_KEY_LEN;

use crate::maps::{AEAD_UNTIL, BOUND, HEARD};
use crate::ring::now;
use crate::wire::{HELLO_MIN, Packet, RECORD_TYPE_APPLICATION, byte};

/// Type, version and length of a record.
pub const RECORD_HEAD_LEN: usize = 5;
/// Records of one packet that are looked at.
pub const RECORDS_MAX: u32 = 4;

/// Remembers which socket records came by whose connection seals and opens with different objects.
#[inline(always)]
pub fn arriving(ctx: &SkBuffContext, packet: Packet) -> Option<()> {
    if *AEAD_UNTIL.get(0)? <= now() || packet.length < packet.transport + 20 + HELLO_MIN {
        return None;
    }
    // SAFETY: the context is a socket buffer, which the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: only the presence of the key counts.
    unsafe { BOUND.get(&cookie) }?;
    let mut at = packet.transport + u32::from(byte(ctx, packet.transport + 12)? >> 4) * 4;
    let mut walked = 0;
    while walked < RECORDS_MAX {
        let head = ctx.load::<[u8; RECORD_HEAD_LEN]>(at as usize).ok()?;
        if head[1] != 3 {
            return None;
        }
        if head[0] == RECORD_TYPE_APPLICATION
            && let Ok(key) = ctx.load::<[u8; WIRE_KEY_LEN]>((at + RECORD_HEAD_LEN as u32) as usize)
        {
            let _ = HEARD.insert(&key, &cookie, 0);
        }
        // The mask keeps the verifier's range of `at` the same in every round, so that rounds can be compared.
        at = (at + RECORD_HEAD_LEN as u32 + u32::from(u16::from_be_bytes([head[3], head[4]])))
            & 0xffff;
        walked += 1;
    }
    None
}
