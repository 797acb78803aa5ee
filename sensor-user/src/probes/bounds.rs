//! An address of code comes in; the function around it goes out, by the unwind index or by walking the instructions.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

use super::segments::{Machine, Segments};

/// Longest function that is told from its neighbours, in bytes.
pub(super) const FUNCTION_MAX: u64 = 16 << 10;
/// Alignment of functions.
const ALIGNMENT: u64 = 16;
/// Longest instruction of x86-64, in bytes.
const INSTRUCTION_MAX: usize = 15;
/// What linkers fill gaps between functions with.
pub(super) const PADDING: u8 = 0xcc;
/// Head of the unwind index: pointers of four bytes, entries relative to the index (LSB, `.eh_frame_hdr`).
const INDEX_HEAD: [u8; 2] = [0x03, 0x3b];

/// The function that holds an address.
pub(super) fn around(image: &Segments<'_>, site: u64) -> Option<Range<u64>> {
    indexed(image, site).or_else(|| match image.machine {
        Machine::X86 => walked(image, site),
        Machine::Arm => framed(image, site),
    })
}

/// Whether a function begins at an address.
pub(super) fn is_start(image: &Segments<'_>, address: u64) -> bool {
    around(image, address).is_some_and(|range| range.start == address)
}

/// Whether an instruction begins at an address.
pub(super) fn is_instruction(image: &Segments<'_>, address: u64) -> bool {
    if image.machine == Machine::Arm {
        return address.is_multiple_of(4);
    }
    let Some(range) = around(image, address) else { return false };
    let before = usize::try_from(address.saturating_sub(range.start)).unwrap_or(usize::MAX);
    let code = image.bytes(range.start, before.saturating_add(INSTRUCTION_MAX));
    let decoder = Decoder::with_ip(64, &code, range.start, DecoderOptions::NONE);
    let mut starts = decoder.into_iter().take_while(|instruction| !instruction.is_invalid());
    starts.any(|instruction| instruction.ip() == address)
}

/// By the unwind index, where it covers the address.
fn indexed(image: &Segments<'_>, site: u64) -> Option<Range<u64>> {
    let index = image.frame_index?;
    let [1, _, count_form, table_form] = image.array::<4>(index)? else { return None };
    if [count_form, table_form] != INDEX_HEAD {
        return None;
    }
    let count = u64::from(u32::from_le_bytes(image.array(index.checked_add(8)?)?));
    let table = index.checked_add(12)?;
    let entry = |number: u64| -> Option<(u64, u64)> {
        let bytes: [u8; 8] = image.array(table.checked_add(number.checked_mul(8)?)?)?;
        let [start, frame] = [bytes.first_chunk::<4>()?, bytes.last_chunk::<4>()?]
            .map(|half| index.wrapping_add_signed(i64::from(i32::from_le_bytes(*half))));
        Some((start, frame))
    };
    // The last entry that begins at or before the address.
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if entry(middle)?.0 <= site {
            low = middle.saturating_add(1);
        } else {
            high = middle;
        }
    }
    let (start, frame) = entry(low.checked_sub(1)?)?;
    // Length, CIE pointer, start relative to its own place, size (LSB, `.eh_frame`).
    let size = u64::from(u32::from_le_bytes(image.array(frame.checked_add(12)?)?));
    let begin = i32::from_le_bytes(image.array(frame.checked_add(8)?)?);
    if frame.wrapping_add(8).wrapping_add_signed(i64::from(begin)) != start {
        return None;
    }
    let function = start..start.checked_add(size)?;
    function.contains(&site).then_some(function)
}

/// By walking from padding before the address: a function ends with an instruction that never goes on and that no
/// branch of the function leads beyond.
fn walked(image: &Segments<'_>, site: u64) -> Option<Range<u64>> {
    let from = image.code_before(site, FUNCTION_MAX)? & !ALIGNMENT.wrapping_sub(1);
    let length = usize::try_from(FUNCTION_MAX.saturating_mul(2)).unwrap_or(usize::MAX);
    let bytes = image.bytes(from, length);
    let starts = padded_starts(&bytes, from, site);
    starts.into_iter().rev().find_map(|start| {
        let code = bytes.get(usize::try_from(start.checked_sub(from)?).ok()?..)?;
        walk(code, start, site)
    })
}

/// Aligned addresses up to `site` before which there is padding.
fn padded_starts(bytes: &[u8], from: u64, site: u64) -> Vec<u64> {
    let aligned = (from..=site).step_by(16).skip(1);
    aligned
        .filter(|start| {
            let at = usize::try_from(start.saturating_sub(from)).unwrap_or(usize::MAX);
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            before == Some(&PADDING) && bytes.get(at).is_some_and(|first| *first != PADDING)
        })
        .collect()
}

/// The function that holds an address, where one begins at `start` and what follows the code is another.
pub(super) fn walk(code: &[u8], start: u64, site: u64) -> Option<Range<u64>> {
    let (mut begin, mut reach) = (start, start);
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return None;
        }
        let next = instruction.next_ip();
        let padded = usize::try_from(next.saturating_sub(start))
            .ok()
            .and_then(|at| code.get(at))
            .is_none_or(|byte| *byte == PADDING);
        if instruction.is_jcc_short_or_near() || instruction.is_jmp_short_or_near() {
            let target = instruction.near_branch_target();
            if target < next.saturating_add(FUNCTION_MAX) {
                reach = reach.max(target);
            }
        }
        let ends = matches!(
            instruction.flow_control(),
            FlowControl::Return | FlowControl::UnconditionalBranch | FlowControl::IndirectBranch
        );
        let stops =
            instruction.is_call_near() || instruction.flow_control() == FlowControl::Exception;
        if (ends && reach < next) || (padded && (ends || stops)) {
            if site < next {
                return (begin <= site).then_some(begin..next);
            }
            begin = skip_padding(code, start, next)?;
            reach = begin;
            let rest = code.get(usize::try_from(begin.checked_sub(start)?).ok()?..)?;
            decoder = Decoder::with_ip(64, rest, begin, DecoderOptions::NONE);
        }
    }
    None
}

fn skip_padding(code: &[u8], start: u64, next: u64) -> Option<u64> {
    let at = usize::try_from(next.checked_sub(start)?).ok()?;
    let skipped = code.get(at..)?.iter().take_while(|byte| **byte == PADDING).count();
    next.checked_add(u64::try_from(skipped).ok()?)
}

/// On arm64: from the instruction after a return, a branch or a trap to the next one that nothing branches beyond.
fn framed(image: &Segments<'_>, site: u64) -> Option<Range<u64>> {
    let from = image.code_before(site, FUNCTION_MAX)? & !3;
    let length = usize::try_from(FUNCTION_MAX.saturating_mul(2)).unwrap_or(usize::MAX);
    let bytes = image.bytes(from, length);
    let words: Vec<u32> =
        bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let index = usize::try_from(site.checked_sub(from)? / 4).ok()?;
    let begin = (1..=index).rev().find(|at| {
        let before = at.checked_sub(1).and_then(|before| words.get(before)).copied().unwrap_or(0);
        arm_ends(before) && words.get(*at).is_some_and(|word| arm_begins(*word))
    })?;
    let end = (index..words.len()).find(|at| {
        let next = at.checked_add(1).and_then(|next| words.get(next)).copied();
        words.get(*at).is_some_and(|word| arm_ends(*word)) && next.is_none_or(arm_begins)
    })?;
    let address = |at: usize| from.checked_add(u64::try_from(at).ok()?.checked_mul(4)?);
    Some(address(begin)?..address(end.checked_add(1)?)?)
}

/// `ret`, `b`, `brk`, a branch to a register, and the calls that never return.
fn arm_ends(word: u32) -> bool {
    word == 0xd65f_03c0
        || word & 0xfc00_0000 == 0x1400_0000
        || word & 0xfc00_0000 == 0x9400_0000
        || word & 0xffe0_001f == 0xd420_0000
        || word & 0xffff_fc1f == 0xd61f_0000
        || word == 0
}

/// `stp x29, x30, [sp, …]!`, `sub sp, sp, …`, `stp …, [sp, …]!`, `str …, [sp, …]!`, `paciasp`, `bti`.
fn arm_begins(word: u32) -> bool {
    word & 0xffc0_03e0 == 0xa980_03e0
        || word & 0xff80_03ff == 0xd100_03ff
        || word & 0xffe0_0fe0 == 0xf800_0fe0
        || word == 0xd503_233f
        || word & 0xffff_ff3f == 0xd503_241f
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two functions: one that branches back and forth and ends in a jump, filled to the alignment; one of one byte.
    const CODE: [u8; 48] = {
        let mut code = [PADDING; 48];
        // push rbp; je +4; xor eax,eax; pop rbp; ret; mov eax,1; jmp -8
        let first: [u8; 16] =
            [0x55, 0x74, 0x04, 0x31, 0xc0, 0x5d, 0xc3, 0xb8, 1, 0, 0, 0, 0xeb, 0xf7, 0x90, 0xc3];
        let mut at = 0;
        while at < first.len() {
            code[16 + at] = first[at];
            at += 1;
        }
        code[32] = 0xc3;
        code
    };

    #[test]
    fn function_ends_where_nothing_leads_beyond() {
        let starts = padded_starts(&CODE, 0x1000, 0x1020);
        assert_eq!(starts, [0x1010]);
        // The first ends with the jump; what follows up to the alignment is another, of two bytes.
        assert_eq!(walk(&CODE[16..], 0x1010, 0x1013), Some(0x1010..0x101e));
        assert_eq!(walk(&CODE[16..], 0x1010, 0x101c), Some(0x1010..0x101e));
        assert_eq!(walk(&CODE[16..], 0x1010, 0x1020), Some(0x1020..0x1021));
        assert_eq!(walk(&CODE[16..], 0x1010, 0x1030), None);
    }
}
