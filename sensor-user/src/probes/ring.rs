//! An ELF file comes in; the functions with which ring seals and opens records go out, with or without symbols.
//!
//! ring describes each of its algorithms by a table: a function that takes a key over, one that seals, one that opens, the
//! length of keys, and a number. rustls calls the two in the middle by it, once a record. With symbols they are known by
//! their paths; without, the tables are known by what is in them, as the two of AES-GCM share what seals and opens.

use std::collections::BTreeSet;
use std::fs::File;

use super::bounds;
use super::elf::Image;
use super::library::{Carried, Library, Resolution};
use super::plan::{Part, Probe};
use super::prologue;
use super::relocations::{self, Pointer};
use super::row::{Place, Row, row};
use super::rustls::AT_ONCE_MAX;
use super::segments::Segments;

const SEAL_AES: &str = "ring::aead::aes_gcm_seal";
const OPEN_AES: &str = "ring::aead::aes_gcm_open";
const SEAL_CHACHA: &str = "ring::aead::chacha20_poly1305_seal";
const OPEN_CHACHA: &str = "ring::aead::chacha20_poly1305_open";
const SEAL_AES_PROTOTYPE: &str = "fn ring::aead::aes_gcm_seal(key: &KeyInner, nonce: Nonce, aad: Aad<&[u8]>, in_out: &mut [u8], cpu_features: cpu::Features) -> Result<Tag, error::Unspecified>;";
const OPEN_AES_PROTOTYPE: &str = "fn ring::aead::aes_gcm_open(key: &KeyInner, nonce: Nonce, aad: Aad<&[u8]>, in_out: &mut [u8], src: RangeFrom<usize>, cpu_features: cpu::Features) -> Result<Tag, error::Unspecified>;";
const SEAL_CHACHA_PROTOTYPE: &str = "fn ring::aead::chacha20_poly1305_seal(key: &KeyInner, nonce: Nonce, aad: Aad<&[u8]>, in_out: &mut [u8], cpu_features: cpu::Features) -> Result<Tag, error::Unspecified>;";
const OPEN_CHACHA_PROTOTYPE: &str = "fn ring::aead::chacha20_poly1305_open(key: &KeyInner, nonce: Nonce, aad: Aad<&[u8]>, in_out: &mut [u8], src: RangeFrom<usize>, cpu_features: cpu::Features) -> Result<Tag, error::Unspecified>;";

/// What happens where a record is sealed or opened.
pub const ROWS: [Row; 8] = [
    row(SEAL_AES, SEAL_AES_PROTOTYPE, "ring_seal", Place::EntryWithReturn),
    row(SEAL_AES, SEAL_AES_PROTOTYPE, "ring_seal_done", Place::Return),
    row(OPEN_AES, OPEN_AES_PROTOTYPE, "ring_open", Place::EntryWithReturn),
    row(OPEN_AES, OPEN_AES_PROTOTYPE, "ring_open_done", Place::Return),
    row(SEAL_CHACHA, SEAL_CHACHA_PROTOTYPE, "ring_seal", Place::EntryWithReturn),
    row(SEAL_CHACHA, SEAL_CHACHA_PROTOTYPE, "ring_seal_done", Place::Return),
    row(OPEN_CHACHA, OPEN_CHACHA_PROTOTYPE, "ring_open", Place::EntryWithReturn),
    row(OPEN_CHACHA, OPEN_CHACHA_PROTOTYPE, "ring_open_done", Place::Return),
];

/// Modules of `ring::aead` in which the functions stand, as symbols spell them: the first from 0.17.9 on.
const MODULES: [&[u8]; 3] = [b"9algorithm", b"7aes_gcm", b"17chacha20_poly1305"];
/// The functions, as symbols spell them.
const SPELLED: [(&[u8], &str); 4] = [
    (b"12aes_gcm_seal", SEAL_AES),
    (b"12aes_gcm_open", OPEN_AES),
    (b"22chacha20_poly1305_seal", SEAL_CHACHA),
    (b"22chacha20_poly1305_open", OPEN_CHACHA),
];
/// Length of keys and number of each algorithm, in bytes and in ring's order.
const AES_128: [u64; 2] = [16, 0];
const AES_256: [u64; 2] = [32, 1];
const CHACHA: [u64; 2] = [32, 2];
/// Tables that may be some algorithm's: beyond it a file is given up.
const TABLES_MAX: usize = 4096;
/// Bytes of a function's first instruction.
const CODE_LOOK: usize = 16;
/// Bytes of the three functions of a table.
const FUNCTIONS: u64 = 24;

/// Every function name that is looked for.
pub fn functions() -> impl Iterator<Item = &'static str> {
    SPELLED.into_iter().map(|(_, name)| name)
}

/// The function that a symbol names in one of the two ways in which Rust spells paths (`_ZN…17h…E`, `_RNvNtNtC…`).
pub(super) fn function_of(symbol: &[u8]) -> Option<&'static str> {
    let path = symbol.strip_prefix(b"_ZN").or_else(|| {
        let rest = symbol.strip_prefix(b"_RNvNtNtCs")?;
        // A number tells crates of one name apart.
        let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric())?;
        rest.get(end..)?.strip_prefix(b"_")
    })?;
    let path = path.strip_prefix(b"4ring4aead")?;
    let path = MODULES.iter().find_map(|module| path.strip_prefix(*module))?;
    SPELLED.iter().find_map(|(spelled, name)| {
        let rest = path.strip_prefix(*spelled)?;
        let ends = rest.starts_with(b"17h") || matches!(rest.first(), Some(0 | b'.'));
        ends.then_some(*name)
    })
}

/// What to attach to the file; `None` where it carries no such library.
pub fn resolve(image: &Image<'_>) -> Option<Part> {
    if [SEAL_AES, OPEN_AES].iter().all(|name| image.function(name).is_some()) {
        let mut part = Part::new(Library::Rustls);
        for row in &ROWS {
            part.push(image, row);
        }
        part.carried = Some(carried(Resolution::Symbols));
        return Some(part);
    }
    if image.file.metadata().ok()?.len() > AT_ONCE_MAX {
        return None;
    }
    searched(&Segments::open(image.file).ok()?)
}

/// What to attach to a file that was too large to be searched at once.
pub(super) fn in_large(file: &File) -> Option<Part> {
    if file.metadata().ok()?.len() <= AT_ONCE_MAX {
        return None;
    }
    searched(&Segments::open(file).ok()?)
}

fn carried(resolution: Resolution) -> Carried {
    Carried { library: Library::Rustls, resolution }
}

fn searched(image: &Segments<'_>) -> Option<Part> {
    let places = by_tables(&tables(image)?);
    let mut part = Part::new(Library::Rustls);
    for row in &ROWS {
        let Some((_, address)) = places.iter().find(|(name, _)| *name == row.function) else {
            continue;
        };
        // A breakpoint within a function would change it.
        if image.frame_index.is_some() && !bounds::is_start(image, *address) {
            return None;
        }
        part.cheap &= prologue::starts_cheap(&image.bytes(*address, CODE_LOOK), *address);
        part.probes.push(Probe { program: row.program, offset: image.offset_of(*address)? });
    }
    if part.probes.is_empty() {
        return None;
    }
    part.carried = Some(carried(Resolution::Structure));
    Some(part)
}

/// The table of an algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Table {
    init: u64,
    seal: u64,
    open: u64,
    /// Length of keys, and number.
    kind: [u64; 2],
}

impl Table {
    fn new([init, seal, open]: [u64; 3], [key_len, number]: [u64; 2]) -> Option<Self> {
        // The number is a byte; what fills the word up is nobody's.
        let kind = [key_len, number & 0xff];
        let known = [AES_128, AES_256, CHACHA].contains(&kind);
        let distinct = init != seal && seal != open && init != open;
        (known && distinct).then_some(Self { init, seal, open, kind })
    }
}

/// All that may be the table of an algorithm: three addresses of code and the two numbers, as the file has them or as the
/// loader makes them.
fn tables(image: &Segments<'_>) -> Option<BTreeSet<Table>> {
    let mut found = BTreeSet::new();
    let mut note = |functions: [u64; 3], numbers: [u64; 2]| {
        if found.len() <= TABLES_MAX
            && let Some(table) = Table::new(functions, numbers)
        {
            found.insert(table);
        }
    };
    for run in relocations::pointers(image).windows(3) {
        let [first, second, third] = run else { continue };
        let adjacent = |before: &Pointer, after: &Pointer| {
            after.place.checked_sub(before.place).is_some_and(|between| between == 8)
        };
        if adjacent(first, second)
            && adjacent(second, third)
            && let Some(behind) = first.place.checked_add(FUNCTIONS)
            && let Some(bytes) = image.array::<16>(behind)
        {
            note([first.code, second.code, third.code], relocations::words(&bytes));
        }
    }
    relocations::each_run(image, |run: &[[u8; 8]; 5]| {
        // What most often differs is looked at first.
        if !matches!(u64::from_le_bytes(run[3]), 16 | 32) {
            return;
        }
        let [init, seal, open, key_len, number] = run.map(u64::from_le_bytes);
        if [init, seal, open].iter().all(|code| image.is_code(*code)) {
            note([init, seal, open], [key_len, number]);
        }
    });
    (found.len() <= TABLES_MAX).then_some(found)
}

/// The functions of the one pair of tables that can be those of AES-GCM, and of the one that can be `ChaCha20`'s beside it.
fn by_tables(tables: &BTreeSet<Table>) -> Vec<(&'static str, u64)> {
    let of = |kind: [u64; 2]| tables.iter().filter(move |table| table.kind == kind);
    let mut pairs = of(AES_128).filter(|small| {
        of(AES_256).any(|large| {
            (large.seal, large.open) == (small.seal, small.open) && large.init != small.init
        })
    });
    let (Some(aes), None) = (pairs.next(), pairs.next()) else { return Vec::new() };
    let mut places = vec![(SEAL_AES, aes.seal), (OPEN_AES, aes.open)];
    let mut others = of(CHACHA);
    if let (Some(chacha), None) = (others.next(), others.next()) {
        places.extend([(SEAL_CHACHA, chacha.seal), (OPEN_CHACHA, chacha.open)]);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::segments::{Machine, made};

    #[test]
    fn functions_are_known_by_both_spellings_of_their_paths() {
        const CASES: &[(&str, Option<&str>)] = &[
            ("_ZN4ring4aead9algorithm12aes_gcm_seal17h989bcc619e30f209E\0", Some(SEAL_AES)),
            ("_ZN4ring4aead7aes_gcm12aes_gcm_open17h0011223344556677E.llvm.7\0", Some(OPEN_AES)),
            ("_RNvNtNtCs1aB2_4ring4aead9algorithm22chacha20_poly1305_seal\0x", Some(SEAL_CHACHA)),
            ("_ZN4ring4aead17chacha20_poly130522chacha20_poly1305_open17h00E\0", Some(OPEN_CHACHA)),
            ("_ZN4ring4aead9algorithm16aes_gcm_init_12817h7ef9897163fbce47E\0", None),
            ("_ZN4ring4aead7aes_gcm4seal17h0d8bae6e6485c5faE\0", None),
            ("aes_gcm_seal\0", None),
            ("_RNvNtNtCs1aB2", None),
        ];
        for (symbol, expected) in CASES {
            assert_eq!(function_of(symbol.as_bytes()), *expected, "{symbol}");
        }
    }

    const CODE: u64 = made::CODE_AT;

    /// Constants with one word before each table.
    fn constants(tables: &[[u64; 5]]) -> Vec<u8> {
        let words = tables.iter().flat_map(|table| [7].into_iter().chain(*table));
        words.flat_map(u64::to_le_bytes).collect()
    }

    fn found(tables_of_file: &[[u64; 5]]) -> Vec<(&'static str, u64)> {
        let file = made::file(Machine::X86, &[0xc3; 64], &constants(tables_of_file));
        by_tables(&tables(&Segments::open(&file).unwrap()).unwrap())
    }

    const SMALL: [u64; 5] = [CODE, CODE + 3, CODE + 4, 16, 0];
    // What stands beside the number is left over from something else.
    const LARGE: [u64; 5] = [CODE + 1, CODE + 3, CODE + 4, 32, 0x5500_0001];
    const OTHER: [u64; 5] = [CODE + 2, CODE + 5, CODE + 6, 32, 2];

    #[test]
    fn tables_are_known_by_what_they_share() {
        let aes = [(SEAL_AES, CODE + 3), (OPEN_AES, CODE + 4)];
        let chacha = [(SEAL_CHACHA, CODE + 5), (OPEN_CHACHA, CODE + 6)];
        assert_eq!(found(&[SMALL, LARGE, OTHER]), [aes, chacha].concat());
        assert_eq!(found(&[OTHER, LARGE, SMALL]), [aes, chacha].concat());
        assert_eq!(found(&[SMALL, LARGE]), aes);
        // A second table that may be ChaCha20's leaves it open which one is.
        let second = [CODE + 2, CODE + 7, CODE + 8, 32, 2];
        assert_eq!(found(&[SMALL, LARGE, OTHER, second]), aes);
    }

    #[test]
    fn tables_that_share_nothing_are_not_taken() {
        for tables in [
            &[SMALL, OTHER][..],
            &[SMALL, [CODE + 1, CODE + 3, CODE + 5, 32, 1]],
            &[SMALL, [CODE, CODE + 3, CODE + 4, 32, 1]],
            &[SMALL, [CODE + 1, CODE + 3, 1, 32, 1]],
            &[SMALL, [CODE + 1, CODE + 3, CODE + 4, 32, 4]],
            // Two pairs: nothing tells which is ring's.
            &[
                SMALL,
                LARGE,
                [CODE + 9, CODE + 10, CODE + 11, 16, 0],
                [CODE + 8, CODE + 10, CODE + 11, 32, 1],
            ],
        ] {
            assert_eq!(found(tables), [], "{tables:?}");
        }
    }
}
