//! An ELF file comes in; the addresses of code that its data holds once it is loaded go out, with their places.

use std::ops::{ControlFlow, Range};

use super::segments::{Machine, Segments};

/// Entries of the dynamic section that are read: real files have fewer than 50.
const DYNAMIC_MAX: u64 = 256;
/// Bytes of one entry: tag and value.
const DYNAMIC_ENTRY: u64 = 16;
/// Relocations that are read, of 24 bytes each; the largest programs at hand have 600,000.
const RELOCATIONS_MAX: usize = 2 << 20;
/// Bytes of one relocation: place, kind, and what is added.
const ENTRY: usize = 24;
/// Relocations that are read at once.
const ENTRIES_AT_ONCE: usize = 2048;
/// Places of one address that are remembered.
const HOLDERS_MAX: usize = 64;
/// `DT_NULL`, `DT_RELA`, `DT_RELASZ` and `DT_RELR` (ELF, 5).
const DT_NULL: u64 = 0;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_RELR: u64 = 36;
/// `R_X86_64_RELATIVE`.
const RELATIVE_X86: u64 = 8;
/// `R_AARCH64_RELATIVE`.
const RELATIVE_ARM: u64 = 1027;

/// An address of code, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pointer {
    /// Where it stands.
    pub(super) place: u64,
    /// The address of code.
    pub(super) code: u64,
}

/// Pointers to code that the loader makes, in order of their places.
pub(super) fn pointers(image: &Segments<'_>) -> Vec<Pointer> {
    let mut found = Vec::new();
    each_moved(image, |place, target| {
        if image.is_code(target) {
            found.push(Pointer { place, code: target });
        }
    });
    found.sort_unstable();
    found
}

/// Places of data at which an address stands once the file is loaded.
pub(super) fn holders(image: &Segments<'_>, address: u64) -> Vec<u64> {
    let mut found = Vec::new();
    let mut note = |place| {
        if found.len() < HOLDERS_MAX {
            found.push(place);
        }
    };
    each_moved(image, |place, target| {
        if target == address {
            note(place);
        }
    });
    each_word(image, |place, word| {
        if word == address {
            note(place);
        }
    });
    found
}

/// The first address of code that stands in some bytes of data once the file is loaded.
pub(super) fn first_code(image: &Segments<'_>, within: Range<u64>) -> Option<u64> {
    let mut first: Option<Pointer> = None;
    let mut note = |place: u64, code: u64| {
        if within.contains(&place)
            && image.is_code(code)
            && first.is_none_or(|first| place < first.place)
        {
            first = Some(Pointer { place, code });
        }
    };
    each_moved(image, &mut note);
    if stand_in_data(image) {
        let length = usize::try_from(within.end.saturating_sub(within.start)).unwrap_or(0);
        let bytes = image.bytes(within.start, length);
        let places = (within.start..).step_by(8);
        for (place, word) in places.zip(bytes.as_chunks::<8>().0) {
            note(place, u64::from_le_bytes(*word));
        }
    }
    first.map(|first| first.code)
}

/// Runs `look` over all that the loader moves: the place, and the address that it puts there.
fn each_moved(image: &Segments<'_>, mut look: impl FnMut(u64, u64)) {
    let Some((table, size)) = table(image) else { return };
    let kind = match image.machine {
        Machine::X86 => RELATIVE_X86,
        Machine::Arm => RELATIVE_ARM,
    };
    let count = usize::try_from(size).unwrap_or(usize::MAX) / ENTRY;
    let mut left = count.min(RELOCATIONS_MAX);
    let mut at = table;
    while left > 0 {
        let wanted = left.min(ENTRIES_AT_ONCE).saturating_mul(ENTRY);
        let bytes = image.bytes(at, wanted);
        for entry in bytes.as_chunks::<ENTRY>().0 {
            let [place, info, target] = words(entry);
            if info == kind {
                look(place, target);
            }
        }
        if bytes.len() < wanted {
            break;
        }
        at = at.saturating_add(u64::try_from(wanted).unwrap_or(u64::MAX));
        left = left.saturating_sub(ENTRIES_AT_ONCE);
    }
}

/// Runs `look` over the words of all data with their places, where addresses stand in it as they are.
fn each_word(image: &Segments<'_>, mut look: impl FnMut(u64, u64)) {
    if !stand_in_data(image) {
        return;
    }
    for segment in image.data() {
        image.each_piece(segment, 0, |address, piece| {
            let first = usize::try_from(address.wrapping_neg() % 8).unwrap_or(0);
            let (aligned, _) = piece.get(first..).unwrap_or_default().as_chunks::<8>();
            let begin = address.next_multiple_of(8);
            for (place, word) in (begin..).step_by(8).zip(aligned) {
                look(place, u64::from_le_bytes(*word));
            }
            ControlFlow::Continue(())
        });
    }
}

/// Address and bytes of the table of relocations.
fn table(image: &Segments<'_>) -> Option<(u64, u64)> {
    Some((told(image, DT_RELA)?, told(image, DT_RELASZ)?))
}

/// What the loader is told under a tag.
fn told(image: &Segments<'_>, wanted: u64) -> Option<u64> {
    let dynamic = image.dynamic?;
    for number in 0..DYNAMIC_MAX {
        let entry = image.array::<16>(dynamic.checked_add(number.checked_mul(DYNAMIC_ENTRY)?)?)?;
        let [tag, value] = words(&entry);
        if tag == wanted {
            return Some(value);
        }
        if tag == DT_NULL {
            break;
        }
    }
    None
}

/// Whether addresses stand in the data of the file as they are: it runs at its own, or the loader only moves them.
fn stand_in_data(image: &Segments<'_>) -> bool {
    image.fixed || told(image, DT_RELR).is_some()
}

/// Little-endian words; as many as there is room for.
pub(super) fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// Runs `look` over all data in runs of `N` words, where addresses stand in it as they are.
pub(super) fn each_run<const N: usize>(image: &Segments<'_>, mut look: impl FnMut(&[[u8; 8]; N])) {
    if !stand_in_data(image) {
        return;
    }
    for segment in image.data() {
        image.each_piece(segment, N.saturating_mul(8), |address, piece| {
            let first = usize::try_from(address.wrapping_neg() % 8).unwrap_or(0);
            let (aligned, _) = piece.get(first..).unwrap_or_default().as_chunks::<8>();
            let runs = aligned.windows(N).filter_map(|run| run.first_chunk::<N>());
            runs.for_each(&mut look);
            ControlFlow::Continue(())
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::hint::black_box;

    use super::*;
    use crate::probes::segments::made;

    fn first(number: u64) -> u64 {
        number.wrapping_mul(3)
    }

    fn second(number: u64) -> u64 {
        number.wrapping_mul(5)
    }

    /// What the loader writes the addresses of both functions into.
    static TABLE: [fn(u64) -> u64; 2] = [first, second];

    #[test]
    fn pointers_of_this_test_are_those_that_the_loader_made() {
        let file = File::open("/proc/self/exe").unwrap();
        let found = pointers(&Segments::open(&file).unwrap());
        let table = black_box(&TABLE);
        // The program runs somewhere else than its file says: distances stay.
        let place = std::ptr::from_ref(table).addr() as u64;
        let [first, second] = table.map(|function| (function as *const ()).addr() as u64);
        let fits = |pair: &&[Pointer]| {
            let [one, other] = pair else { return false };
            other.place - one.place == 8
                && other.code.wrapping_sub(one.code) == second.wrapping_sub(first)
                && one.place.wrapping_sub(one.code) == place.wrapping_sub(first)
        };
        assert_eq!(found.windows(2).filter(fits).count(), 1);
        assert!(found.is_sorted_by_key(|pointer| pointer.place));
    }

    #[test]
    fn every_run_of_words_is_looked_at() {
        let constants: Vec<u8> = (1..=5_u64).flat_map(u64::to_le_bytes).collect();
        let file = made::file(Machine::X86, &[0xc3], &constants);
        let image = Segments::open(&file).unwrap();
        let mut seen = Vec::new();
        each_run(&image, |run: &[[u8; 8]; 2]| seen.push(run.map(u64::from_le_bytes)));
        assert_eq!(seen, [[1, 2], [2, 3], [3, 4], [4, 5]]);
        assert_eq!(pointers(&image), []);
    }
}
