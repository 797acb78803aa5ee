//! A file and the texts a library leaves behind come in; the functions that refer to them go out, with what they do.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::bounds;
use super::called::Called;
use super::segments::{Machine, Segments};
use super::strings::{self, Reference, Text};

/// Functions that are looked into in one file.
const FUNCTIONS_MAX: usize = 1024;
/// Bytes of a function that are looked at.
const CODE_MAX: usize = 16 << 10;

/// What a function does, as far as it helps to recognise it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Where it ends.
    pub end: u64,
    /// Numbers of the texts it refers to.
    pub texts: BTreeSet<usize>,
    /// Small numbers it loads into registers: reasons of errors, lines, codes.
    pub numbers: BTreeSet<u32>,
    /// Functions it calls by their address, in order, each once.
    pub calls: Vec<u64>,
    /// Places where it calls a function by a pointer.
    pub indirect_calls: Vec<u64>,
    /// Whether it stores into memory that is not on its stack.
    pub stores: bool,
}

/// Functions by their first address.
pub type Functions = BTreeMap<u64, Facts>;

/// A function by its C name, and the address of the place in it for its probes.
pub type Located = (&'static str, u64);

/// Finds the functions that refer to any of the texts.
pub fn referring(image: &Segments<'_>, texts: &[Text]) -> Functions {
    let references = strings::references(image, &strings::constants(image, texts));
    holding(image, &references, |site| bounds::around(image, site))
}

/// Finds the functions that refer to any of the texts and that others call by their address: they are told from their
/// neighbours without an unwind index.
pub fn referring_called(image: &Segments<'_>, texts: &[Text]) -> Functions {
    let references = strings::references(image, &strings::constants(image, texts));
    let sites = references.iter().map(|reference| reference.site).collect();
    let called = Called::near(image, &sites);
    holding(image, &references, |site| called.around(site))
}

fn holding(
    image: &Segments<'_>,
    references: &BTreeSet<Reference>,
    around: impl Fn(u64) -> Option<Range<u64>>,
) -> Functions {
    let mut functions = Functions::new();
    let mut last: Option<Range<u64>> = None;
    for reference in references {
        let known = last.clone().filter(|range| range.contains(&reference.site));
        let Some(range) = known.or_else(|| around(reference.site)) else { continue };
        if functions.len() >= FUNCTIONS_MAX && !functions.contains_key(&range.start) {
            break;
        }
        let facts = functions.entry(range.start).or_insert_with(|| look_into(image, &range));
        facts.texts.insert(reference.text);
        last = Some(range);
    }
    functions
}

/// Reads what a function does.
pub fn look_into(image: &Segments<'_>, range: &Range<u64>) -> Facts {
    let size = range.end.saturating_sub(range.start);
    let length = usize::try_from(size).unwrap_or(usize::MAX).min(CODE_MAX);
    let code = image.bytes(range.start, length);
    let mut facts = Facts { end: range.end, ..Facts::default() };
    match image.machine {
        Machine::X86 => look_into_x86(&code, range.start, &mut facts),
        Machine::Arm => look_into_arm(&code, range.start, &mut facts),
    }
    facts
}

fn look_into_x86(code: &[u8], address: u64, facts: &mut Facts) {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut pushed = None;
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return;
        }
        // What saves room pushes a small number and pops it into its register.
        facts.numbers.extend(pushed.take().filter(|_| instruction.mnemonic() == Mnemonic::Pop));
        if instruction.op0_kind() == OpKind::Immediate8to64 {
            pushed = u32::try_from(instruction.immediate8to64()).ok();
        }
        if instruction.is_call_near() {
            let target = instruction.near_branch_target();
            if !facts.calls.contains(&target) {
                facts.calls.push(target);
            }
        }
        if instruction.is_call_near_indirect() {
            facts.indirect_calls.push(instruction.ip());
        }
        let loads =
            instruction.mnemonic() == Mnemonic::Mov && instruction.op0_kind() == OpKind::Register;
        if loads && matches!(instruction.op1_kind(), OpKind::Immediate32 | OpKind::Immediate32to64)
        {
            facts.numbers.insert(instruction.immediate32());
        }
        facts.stores |= instruction.op0_kind() == OpKind::Memory
            && !matches!(
                instruction.mnemonic(),
                Mnemonic::Cmp
                    | Mnemonic::Test
                    | Mnemonic::Push
                    | Mnemonic::Call
                    | Mnemonic::Jmp
                    | Mnemonic::Nop
            )
            && !matches!(instruction.memory_base(), Register::RSP | Register::RBP);
    }
}

/// `bl`, `blr`, `movz`, `str` and `stp` (Arm ARM, C6.2).
fn look_into_arm(code: &[u8], address: u64, facts: &mut Facts) {
    for (index, word) in code.as_chunks::<4>().0.iter().enumerate() {
        let word = u32::from_le_bytes(*word);
        let here = address.wrapping_add(u64::try_from(index).unwrap_or(0).wrapping_mul(4));
        if word & 0xfc00_0000 == 0x9400_0000 {
            let words = i64::from(word.wrapping_shl(6).cast_signed() >> 6);
            let target = here.wrapping_add_signed(words.wrapping_mul(4));
            if !facts.calls.contains(&target) {
                facts.calls.push(target);
            }
        } else if word & 0xffff_fc1f == 0xd63f_0000 {
            facts.indirect_calls.push(here);
        } else if word & 0x7fe0_0000 == 0x5280_0000 {
            facts.numbers.insert((word >> 5) & 0xffff);
        } else if word & 0x3fc0_0000 == 0x3900_0000 || word & 0x7fc0_0000 == 0x2900_0000 {
            facts.stores |= (word >> 5) & 31 != 31 && (word >> 5) & 31 != 29;
        }
    }
}

/// The one function that fits; none where several do.
pub fn only(functions: &Functions, fits: impl Fn(&Facts) -> bool) -> Option<(u64, &Facts)> {
    let mut fitting = functions.iter().filter(|(_, facts)| fits(facts));
    let (address, facts) = fitting.next()?;
    fitting.next().is_none().then_some((*address, facts))
}

#[cfg(test)]
mod tests {
    use crate::probes::segments::made;

    use super::*;

    const TEXTS: [Text; 2] = [Text::Whole("SSL_write"), Text::Ending("ssl/ssl_lib.cc")];
    const CONSTANTS: &[u8] = b"\0xSSL_write\0\x8eSSL_write\0Y../ssl/ssl_lib.cc\0";

    #[test]
    fn function_is_found_by_absolute_and_relative_references() {
        // int3…; push rbp; lea rdi,[rip+…]; mov edx,66; call …; mov [rdi],eax; call [rdi]; ret; int3…; mov ecx,text; ret
        let mut code = vec![0xcc_u8; 16];
        let text = made::CONSTANTS_AT + 13;
        let disp = u32::try_from(text - (made::CODE_AT + 16 + 8)).unwrap();
        code.extend([0x55, 0x48, 0x8d, 0x3d]);
        code.extend(disp.to_le_bytes());
        code.extend([0xba, 66, 0, 0, 0, 0xe8, 0x0b, 0, 0, 0, 0x89, 0x07, 0xff, 0x17, 0xc3]);
        code.resize(48, 0xcc);
        code.push(0xb9);
        // The path has two bytes before it that may belong to it or not.
        code.extend(u32::try_from(made::CONSTANTS_AT + 23).unwrap().to_le_bytes());
        code.push(0xc3);
        let file = made::file(Machine::X86, &code, CONSTANTS);
        let image = Segments::open(&file).unwrap();
        let functions = referring(&image, &TEXTS);
        let at = made::CODE_AT;
        assert_eq!(functions.keys().copied().collect::<Vec<_>>(), [at + 16, at + 48]);
        let first = &functions[&(at + 16)];
        assert_eq!(first.texts, BTreeSet::from([0]));
        assert_eq!((first.end, &first.numbers), (at + 39, &BTreeSet::from([66])));
        assert_eq!(first.calls, [at + 45]);
        assert_eq!((&first.indirect_calls[..], first.stores), (&[at + 36][..], true));
        assert_eq!(functions[&(at + 48)].texts, BTreeSet::from([1]));
    }

    #[test]
    fn function_of_arm64_is_found_by_page_and_offset() {
        let text = made::CONSTANTS_AT + 13;
        let words: [u32; 7] = [
            0xd65f_03c0,                                              // ret
            0xa9bf_7bfd,                                              // stp x29, x30, [sp, #-16]!
            0xb000_0000,                                              // adrp x0, the next page
            0x5280_0842,                                              // mov w2, #66
            0x9100_0000 | u32::try_from(text & 0xfff).unwrap() << 10, // add x0, x0, …
            0x9400_0001,                                              // bl the next instruction
            0xd65f_03c0,                                              // ret
        ];
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let file = made::file(Machine::Arm, &code, CONSTANTS);
        let image = Segments::open(&file).unwrap();
        let functions = referring(&image, &TEXTS);
        let facts = &functions[&(made::CODE_AT + 4)];
        assert_eq!((&facts.texts, &facts.numbers), (&BTreeSet::from([0]), &BTreeSet::from([66])));
        assert_eq!(facts.calls, [made::CODE_AT + 24]);
    }
}
