//! A Go program comes in; its function table and the start of its text go out, with a section for the table or without.
//!
//! Where a C linker has put the program together, as for a library or a position-independent program with C in it, the table
//! is a part of the constants like others. The runtime itself finds it by `moduledata` (`runtime/symtab.go`): that begins with
//! the address of the table, and the first address of code in it is where the table's first function begins.

use std::fs::File;
use std::ops::ControlFlow;

use memchr::memmem;
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ReadCache};

use super::pclntab::{HEAD, Table, begins};
use super::relocations;
use super::segments::Segments;

/// Sections with the table of functions; the second is of position-independent programs.
const TABLES: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// Bytes of a table that are read; the largest programs have 60 MB.
const TABLE_MAX: u64 = 192 << 20;
/// Places that begin as a table does and are looked at: a program has one, and each costs a walk through its relocations.
const CANDIDATES_MAX: usize = 8;
/// What tables are aligned to.
const ALIGNMENT: u64 = 8;
/// Bytes of `moduledata` in which its first address of code stands.
const MODULE_DATA: u64 = 256;

/// Whether a section holds the table; a C linker leaves none.
pub(super) fn has_section(file: &File) -> bool {
    let cache = ReadCache::new(file);
    let elf = ElfFile64::<Endianness, _>::parse(&cache);
    elf.is_ok_and(|elf| TABLES.into_iter().any(|name| elf.section_by_name(name).is_some()))
}

/// Runs `look` on the table in its section and the start of the text.
pub(super) fn in_section<T>(
    file: &File,
    segments: &Segments<'_>,
    look: impl Fn(&Table<'_>, u64) -> Option<T>,
) -> Option<T> {
    let cache = ReadCache::new(file);
    let elf = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
    let section = TABLES.into_iter().find_map(|name| elf.section_by_name(name))?;
    if section.size() > TABLE_MAX {
        return None;
    }
    let table = Table::read(section.data().ok()?)?;
    // A header of a newer or a position-independent program does not tell where the text begins; Go's own linker puts
    // nothing before it.
    let linked = elf.section_by_name(".text").map_or(0, |text| text.address());
    let told = if table.text == 0 { linked } else { table.text };
    look(&table, told).or_else(|| {
        let first = first_function(segments, section.address())?;
        look(&table, table.text_of(first)?)
    })
}

/// Runs `look` on the table, found by what it looks like and who points to it, and the start of the text.
pub fn in_data<T>(
    segments: &Segments<'_>,
    look: impl Fn(&Table<'_>, u64) -> Option<T>,
) -> Option<T> {
    candidates(segments).into_iter().find_map(|address| {
        let first = first_function(segments, address)?;
        let bytes = segments.rest(address, TABLE_MAX);
        let table = Table::read(&bytes)?;
        look(&table, table.text_of(first)?)
    })
}

/// Addresses of data at which a table may begin.
fn candidates(segments: &Segments<'_>) -> Vec<u64> {
    let mut found = Vec::new();
    for segment in segments.data() {
        segments.each_piece(segment, HEAD, |address, piece| {
            let hits = begins().flat_map(|begin| {
                let places = memmem::find_iter(piece, &begin).collect::<Vec<_>>();
                places.into_iter().filter_map(|at| u64::try_from(at).ok())
            });
            let places = hits.map(|at| address.wrapping_add(at));
            found.extend(places.filter(|place| place.is_multiple_of(ALIGNMENT)));
            if found.len() >= CANDIDATES_MAX {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
    }
    found.sort_unstable();
    found.dedup();
    // One piece of a file may be full of them.
    found.truncate(CANDIDATES_MAX);
    found
}

/// The address of the first function that a table tells of: the first address of code behind a pointer to the table.
fn first_function(segments: &Segments<'_>, table: u64) -> Option<u64> {
    relocations::holders(segments, table).into_iter().find_map(|place| {
        let end = place.checked_add(MODULE_DATA)?;
        relocations::first_code(segments, place..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::segments::{Machine, made};

    /// Where the one function of the made program begins, and where it ends.
    const FUNCTION: (u64, u64) = (made::CODE_AT + 0x10, made::CODE_AT + 0x20);
    /// Where the table stands among the constants.
    const TABLE: u64 = made::CONSTANTS_AT + 8;

    /// A table of one function, `a.A`, whose header does not tell where the text begins.
    fn table() -> Vec<u8> {
        let mut bytes = 0xffff_fff1_u32.to_le_bytes().to_vec();
        bytes.extend([0, 0, 1, 8]);
        let (names, entries) = (72_u64, 80_u64);
        for word in [1, 0, 0, names, entries, 0, 0, entries] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(b"\0a.A\0\0\0\0");
        for half in [0_u32, 16, 0x10, 0, 0, 1] {
            bytes.extend(half.to_le_bytes());
        }
        bytes
    }

    /// The range of `a.A` in a program with these constants.
    fn found(constants: &[u8]) -> Option<(u64, u64)> {
        let file = made::file(Machine::X86, &[0x90; 0x40], constants);
        let image = Segments::open(&file).unwrap();
        in_data(&image, |table, text| table.find(["a.A"], text)[0])
    }

    /// Constants with a table, and behind it the data of a module that points at it.
    fn program(pointer: u64, first: u64) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        bytes.extend(table());
        for word in [pointer, 0, 7, first, first.wrapping_add(0x20)] {
            bytes.extend(word.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn table_without_a_section_is_found_by_who_points_to_it() {
        assert_eq!(found(&program(TABLE, FUNCTION.0)), Some(FUNCTION));
    }

    #[test]
    fn table_that_nobody_points_to_or_that_leads_to_no_code_is_none() {
        assert_eq!(found(&program(TABLE + 8, FUNCTION.0)), None);
        assert_eq!(found(&program(TABLE, made::CONSTANTS_AT)), None);
    }

    #[test]
    fn look_alikes_before_the_table_do_not_hide_it_and_many_are_not_followed() {
        let alike = |count: usize| -> Vec<u8> {
            let mut begin = begins().last().unwrap().to_vec();
            begin.resize(16, 0);
            begin.repeat(count)
        };
        let behind = |count: usize| {
            let mut bytes = alike(count);
            let at = made::CONSTANTS_AT + bytes.len() as u64 + 8;
            bytes.extend(program(at, FUNCTION.0));
            found(&bytes)
        };
        assert_eq!(behind(CANDIDATES_MAX - 1), Some(FUNCTION));
        assert_eq!(behind(CANDIDATES_MAX), None);
    }
}
