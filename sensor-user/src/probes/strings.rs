//! Texts come in; where they stand among a file's constants goes out, and which instructions refer to them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::ops::RangeInclusive;

use memchr::memmem::Finder;

use super::segments::{Machine, Segments};

/// Copies of one text that are followed; linkers merge constants.
const COPIES_MAX: usize = 16;
/// References that are followed in one file.
const REFERENCES_MAX: usize = 4096;
/// Longest text before the part that is looked for, in bytes: a path of a source file.
const PREFIX_MAX: usize = 256;
/// Instructions after an `adrp` in which its low half may follow.
const PAIR_DISTANCE: usize = 8;

/// A text that code refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// The whole constant, between two zero bytes.
    Whole(&'static str),
    /// The end of a constant up to its zero byte, as of a path of unknown beginning.
    Ending(&'static str),
}

impl Text {
    fn wanted(self) -> Vec<u8> {
        let (Self::Whole(text) | Self::Ending(text)) = self;
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        bytes
    }
}

/// An instruction that refers to one of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// An address within the instruction.
    pub site: u64,
    /// Number of the text in the list that was given.
    pub text: usize,
}

/// Finds every text's constants: address to number of the text. Of an ending, each place where the constant may begin
/// is one: what stands before it in the file need not be a zero byte.
pub fn constants(image: &Segments<'_>, texts: &[Text]) -> BTreeMap<u64, usize> {
    let wanted: Vec<_> = texts.iter().map(|text| text.wanted()).collect();
    let finders: Vec<_> = wanted.iter().map(Finder::new).collect();
    let mut found = BTreeMap::new();
    for segment in image.constants() {
        let mut copies = 0_usize;
        image.each_piece(segment, PREFIX_MAX.saturating_mul(2), |address, piece| {
            let hits =
                texts.iter().zip(&finders).enumerate().flat_map(|(number, (text, finder))| {
                    let hits = finder.find_iter(piece).take(COPIES_MAX);
                    hits.filter_map(move |at| Some((number, beginnings(*text, piece, at)?)))
                });
            for (number, starts) in hits {
                let places = starts.filter_map(|start| u64::try_from(start).ok());
                found.extend(places.map(|start| (address.wrapping_add(start), number)));
                copies = copies.saturating_add(1);
            }
            if copies > COPIES_MAX.saturating_mul(texts.len()) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
    }
    found
}

/// Where the constant may begin of which the text stands at `at`.
fn beginnings(text: Text, piece: &[u8], at: usize) -> Option<RangeInclusive<usize>> {
    let before = name_before(piece, at);
    match text {
        Text::Whole(_) => (before == 0).then_some(at..=at),
        Text::Ending(_) => Some(at.saturating_sub(before)..=at),
    }
}

/// How many bytes before `at` may belong to the same name or path.
fn name_before(piece: &[u8], at: usize) -> usize {
    let before = piece.get(at.saturating_sub(PREFIX_MAX)..at).unwrap_or_default();
    before
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"_./-+".contains(byte))
        .count()
}

/// Finds the instructions that refer to the constants, in order of their addresses.
pub fn references(image: &Segments<'_>, constants: &BTreeMap<u64, usize>) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    if constants.is_empty() {
        return found;
    }
    let absolute = Absolute::new(image, constants);
    let overlap = match image.machine {
        Machine::X86 => 8,
        Machine::Arm => PAIR_DISTANCE.saturating_mul(4),
    };
    for segment in image.code() {
        image.each_piece(segment, overlap, |address, piece| {
            let mut note = |at: usize, text: usize| {
                let site = address.wrapping_add(u64::try_from(at).unwrap_or(u64::MAX));
                found.insert(Reference { site, text });
            };
            match image.machine {
                Machine::X86 => {
                    absolute.search(piece, constants, &mut note);
                    relative(address, piece, constants, &mut note);
                }
                Machine::Arm => paired(address, piece, constants, &mut note),
            }
            if found.len() > REFERENCES_MAX {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
    }
    found
}

/// Addresses that stand in instructions as they are, where a file is linked to run at its own addresses: found by
/// their upper three bytes, which neighbours have in common.
struct Absolute {
    finders: Vec<Finder<'static>>,
}

impl Absolute {
    fn new(image: &Segments<'_>, constants: &BTreeMap<u64, usize>) -> Self {
        let low = constants.keys().filter(|_| image.fixed).filter_map(|at| u32::try_from(*at).ok());
        let uppers: BTreeSet<[u8; 3]> = low
            .map(|address| {
                let [_, upper @ ..] = address.to_le_bytes();
                upper
            })
            .collect();
        let finders = uppers.iter().map(|upper| Finder::new(upper).into_owned()).collect();
        Self { finders }
    }

    fn search(
        &self,
        piece: &[u8],
        constants: &BTreeMap<u64, usize>,
        note: &mut impl FnMut(usize, usize),
    ) {
        for at in self.finders.iter().flat_map(|finder| finder.find_iter(piece)) {
            let Some(start) = at.checked_sub(1) else { continue };
            let word = piece.get(start..).and_then(|rest| rest.first_chunk::<4>());
            let address = word.map(|word| u64::from(u32::from_le_bytes(*word)));
            if let Some(text) = address.and_then(|address| constants.get(&address)) {
                note(start, *text);
            }
        }
    }
}

/// `lea reg, [rip+disp32]`: opcode 8D, `ModRM` with mod 00 and rm 101.
fn relative(
    address: u64,
    piece: &[u8],
    constants: &BTreeMap<u64, usize>,
    note: &mut impl FnMut(usize, usize),
) {
    let (Some((first, _)), Some((last, _))) =
        (constants.first_key_value(), constants.last_key_value())
    else {
        return;
    };
    for at in memchr::memchr_iter(0x8d, piece) {
        let Some([modrm, disp @ ..]) =
            piece.get(at.saturating_add(1)..).and_then(|rest| rest.first_chunk::<5>())
        else {
            return;
        };
        if modrm & 0xc7 != 0x05 {
            continue;
        }
        let next = address.wrapping_add(u64::try_from(at).unwrap_or(u64::MAX)).wrapping_add(6);
        let target = next.wrapping_add_signed(i64::from(i32::from_le_bytes(*disp)));
        if (first..=last).contains(&&target)
            && let Some(text) = constants.get(&target)
        {
            note(at, *text);
        }
    }
}

/// `adrp reg, page` and, a few instructions later, `add reg, reg, low` (Arm ARM, C6.2).
fn paired(
    address: u64,
    piece: &[u8],
    constants: &BTreeMap<u64, usize>,
    note: &mut impl FnMut(usize, usize),
) {
    let pages: BTreeSet<u64> = constants.keys().map(|at| at >> 12).collect();
    let words: Vec<u32> =
        piece.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    for (index, word) in words.iter().enumerate() {
        if word & 0x9f00_0000 != 0x9000_0000 {
            continue;
        }
        let at = index.saturating_mul(4);
        let here = address.wrapping_add(u64::try_from(at).unwrap_or(u64::MAX));
        let immediate = ((word >> 5) & 0x7_ffff) << 2 | (word >> 29) & 3;
        // Sign of the 21-bit immediate.
        let pages_on = i64::from(immediate.wrapping_shl(11).cast_signed() >> 11);
        let page = (here >> 12).wrapping_add_signed(pages_on);
        if !pages.contains(&page) {
            continue;
        }
        let register = word & 31;
        let low = words.iter().skip(index.saturating_add(1)).take(PAIR_DISTANCE).find_map(|next| {
            let add = next & 0xffc0_0000 == 0x9100_0000 && (next >> 5) & 31 == register;
            add.then_some(u64::from((next >> 10) & 0xfff))
        });
        if let Some(text) = low.and_then(|low| constants.get(&(page << 12 | low))) {
            note(at, *text);
        }
    }
}
