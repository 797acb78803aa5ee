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

/// Runs `look` on the table and the start of the text: found by its section, or by what it looks like and who points to it.
pub(super) fn with<T>(
    file: &File,
    segments: &Segments<'_>,
    look: impl Fn(&Table<'_>, u64) -> Option<T>,
) -> Option<T> {
    in_section(file, segments, &look).or_else(|| in_data(segments, &look))
}

fn in_section<T>(
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

fn in_data<T>(segments: &Segments<'_>, look: impl Fn(&Table<'_>, u64) -> Option<T>) -> Option<T> {
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
