//! A credential in a request comes in; its fingerprint goes out: HMAC-SHA-256 under the fleet's key, never the credential.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use sensor_common::limits::{HEAD_BYTES_MAX, KEY_BLOCKS_MAX, KEY_BYTES_MAX};
use sensor_common::scan::Head;
use sensor_common::sha256::{ROUNDS, round, schedule};

use crate::maps::KEY_STATES;
use crate::name::{anew, masked};

/// Bytes of the blocks of a credential.
const BLOCKS_LEN: u32 = KEY_BLOCKS_MAX as u32 * 64;
/// Bytes of a block.
const BLOCK_LEN: u32 = 64;

/// Constants of the rounds, where a computed index may read them.
#[map]
pub static HASH_ROUNDS: Array<[u32; 64]> = Array::with_max_entries(1, 0);

/// Hashes the block whose words stand in `head.words`.
#[inline(always)]
fn compress(head: *mut Head, rounds: &[u32; 64], start: [u32; 8]) -> [u32; 8] {
    let mut state = start;
    let mut index = 0u32;
    while index < ROUNDS.len() as u32 {
        // SAFETY: every index is masked to below the length of its array; the head is a live element.
        unsafe {
            let words = &raw mut (*head).words;
            let at = |place: u32| words.cast::<u32>().add(masked::<16>(place));
            let word = core::ptr::read_volatile(at(index));
            let constant = core::ptr::read_volatile(rounds.as_ptr().add(masked::<64>(index)));
            state = round(state, word, constant);
            let next = schedule(
                word,
                core::ptr::read_volatile(at(index + 1)),
                core::ptr::read_volatile(at(index + 9)),
                core::ptr::read_volatile(at(index + 14)),
            );
            core::ptr::write_volatile(at(index), next);
        }
        index += 1;
    }
    let mut place = 0;
    while place < 8 {
        state[place] = state[place].wrapping_add(start[place]);
        place += 1;
    }
    state
}

/// Puts the credential into whole blocks: a one bit, zeros, and the length in bits, as FIPS 180-4, 5.1.1 says.
#[inline(always)]
fn pad(head: *mut Head, span: *const [u32; 2]) {
    let mut index = 0u32;
    while index < BLOCKS_LEN {
        let (at, length) = (anew(span, 0), anew(span, 1));
        // SAFETY: the index was masked to below the length of the array; the head is a live element.
        let byte = unsafe {
            core::ptr::read_volatile((&raw const (*head).bytes).cast::<u8>().add(masked::<
                HEAD_BYTES_MAX,
            >(
                at + index
            )))
        };
        // The block of the inner key came before.
        let bits = (length + BLOCK_LEN) * 8;
        let last = (length + 9).div_ceil(BLOCK_LEN) * BLOCK_LEN;
        let value = if index < length {
            byte
        } else if index == length {
            0x80
        } else if index + 2 == last {
            (bits >> 8) as u8
        } else if index + 1 == last {
            bits as u8
        } else {
            0
        };
        // SAFETY: the loop ends before the array does.
        unsafe {
            core::ptr::write_volatile(
                (&raw mut (*head).blocks).cast::<u8>().add(index as usize),
                value,
            );
        }
        index += 1;
    }
}

/// Fingerprint of the credential at the head's span; nothing where it is too long.
#[inline(always)]
pub fn fingerprint(head: *mut Head) -> Option<[u64; 2]> {
    // SAFETY: a live element that only this thread changes.
    let span = unsafe { &raw const (*head).span };
    if anew(span, 1) > KEY_BYTES_MAX {
        return None;
    }
    let states = KEY_STATES.get(0)?;
    let rounds = HASH_ROUNDS.get(0)?;
    pad(head, span);
    let mut state = states[0];
    let mut block = 0u32;
    while block < KEY_BLOCKS_MAX as u32 {
        if block >= (anew(span, 1) + 9).div_ceil(BLOCK_LEN) {
            break;
        }
        let mut word = 0u32;
        while word < 16 {
            // SAFETY: the loops end before the arrays do; four bytes are always aligned to four.
            unsafe {
                let from =
                    (&raw const (*head).blocks).cast::<u32>().add((block * 16 + word) as usize);
                let to = (&raw mut (*head).words).cast::<u32>().add(word as usize);
                core::ptr::write_volatile(to, u32::from_be(core::ptr::read_volatile(from)));
            }
            word += 1;
        }
        state = compress(head, rounds, state);
        block += 1;
    }
    let mut word = 0u32;
    while word < 16 {
        let value = match word {
            0..=7 => state[word as usize],
            8 => 0x8000_0000,
            15 => (BLOCK_LEN + 32) * 8,
            _ => 0,
        };
        // SAFETY: the loop ends before the array does.
        unsafe {
            core::ptr::write_volatile(
                (&raw mut (*head).words).cast::<u32>().add(word as usize),
                value,
            );
        }
        word += 1;
    }
    let state = compress(head, rounds, states[1]);
    let pair = |high: u32, low: u32| (u64::from(high) << 32) | u64::from(low);
    Some([pair(state[0], state[1]), pair(state[2], state[3])])
}
