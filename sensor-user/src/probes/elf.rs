//! An open ELF file comes in; offsets of the wanted functions and the build-id go out.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;

use object::elf::{FileHeader64, PF_X, PT_LOAD, STT_FUNC, Sym64};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader, Sym};
use object::{Endianness, Object, ObjectSection, ReadCache, ReadRef};

use super::Error;
use super::{ring, rustls};

/// Longest code that is read of a function to choose a probe's place, in bytes.
const CODE_MAX: u64 = 192;

/// A function in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Offset in the file.
    pub offset: u64,
    /// Virtual address in the file's own address space.
    pub address: u64,
    /// First bytes of its code.
    pub code: Vec<u8>,
}

/// An open file, with the functions that its symbols name.
#[derive(Debug)]
pub struct Image<'f> {
    /// The file itself, for a library whose functions have no symbols.
    pub file: &'f File,
    /// GNU build-id, in hex; empty where the file has none.
    pub build_id: String,
    functions: BTreeMap<&'static str, Function>,
}

impl<'f> Image<'f> {
    /// Looks for `wanted` in the dynamic symbols, then (where they have none of `keys`) in all symbols.
    pub fn read(file: &'f File, wanted: &[&'static str], keys: &[&str]) -> Result<Self, Error> {
        let cache = ReadCache::new(file);
        let elf = ElfFile64::<Endianness, _>::parse(&cache)
            .map_err(|error| Error::Elf(error.to_string()))?;
        let mut functions = BTreeMap::new();
        // A table that is missing or broken holds nothing.
        let _dynamic = collect(&elf, (".dynsym", ".dynstr"), wanted, &mut functions);
        if !keys.iter().any(|key| functions.contains_key(key)) {
            let _all = collect(&elf, (".symtab", ".strtab"), wanted, &mut functions);
        }
        Ok(Self { file, build_id: build_id(&elf), functions })
    }

    /// A function by its name.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.get(name)
    }

    /// A function that has an address but no symbol.
    pub fn function_at(&self, address: u64) -> Option<Function> {
        let cache = ReadCache::new(self.file);
        let elf = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
        function(&elf, address)
    }
}

fn build_id<'d, R: ReadRef<'d>>(elf: &ElfFile64<'d, Endianness, R>) -> String {
    let id = elf.build_id().ok().flatten().unwrap_or_default();
    id.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// Walks a symbol table as one block: a name at a time, a large executable would take a hundred thousand reads.
fn collect<'d, R: ReadRef<'d>>(
    elf: &ElfFile64<'d, Endianness, R>,
    (symbols, strings): (&str, &str),
    wanted: &[&'static str],
    found: &mut BTreeMap<&'static str, Function>,
) -> Option<()> {
    let endian = elf.endian();
    let entries = elf.section_by_name(symbols)?.data().ok()?;
    let entries: &[Sym64<Endianness>] = object::pod::slice_from_all_bytes(entries).ok()?;
    let strings = elf.section_by_name(strings)?.data().ok()?;
    let candidates =
        entries.iter().filter(|entry| entry.st_type() == STT_FUNC && entry.st_value(endian) != 0);
    for entry in candidates {
        let Some(name) =
            usize::try_from(entry.st_name(endian)).ok().and_then(|at| strings.get(at..))
        else {
            continue;
        };
        if let Some(name) = wanted_of(name, wanted)
            && !found.contains_key(name)
            && let Some(function) = function(elf, entry.st_value(endian))
        {
            found.insert(name, function);
        }
    }
    Some(())
}

/// The wanted function that a symbol names; behind the symbol stands the rest of the table.
fn wanted_of(symbol: &[u8], wanted: &[&'static str]) -> Option<&'static str> {
    if let Some(name) = ring::function_of(symbol) {
        return wanted.iter().find(|wanted| **wanted == name).copied();
    }
    let (name, versioned) = match rustls::without_version(symbol) {
        Some(name) => (name, true),
        None => (symbol, false),
    };
    let hit = wanted.iter().find(|wanted| {
        // BoringSSL has functions of these names, too, below its own calls.
        if versioned != rustls::functions().any(|own| own == **wanted) {
            return false;
        }
        // Symbols of a static build may carry a version behind an `@`.
        let rest = name.strip_prefix(wanted.as_bytes());
        rest.and_then(|rest| rest.first()).is_some_and(|end| matches!(end, 0 | b'@'))
    });
    hit.copied()
}

/// The file offset of a virtual address comes from the executable segment that contains it.
fn function<'d, R: ReadRef<'d>>(
    elf: &ElfFile64<'d, Endianness, R>,
    address: u64,
) -> Option<Function> {
    let endian = elf.endian();
    let headers =
        FileHeader64::<Endianness>::program_headers(elf.elf_header(), endian, elf.data()).ok()?;
    headers.iter().find_map(|segment| {
        if segment.p_type(endian) != PT_LOAD || !segment.p_flags(endian).contains(PF_X) {
            return None;
        }
        let (start, size) = (segment.p_vaddr(endian), segment.p_filesz(endian));
        let into = address.checked_sub(start).filter(|into| *into < size)?;
        let offset = segment.p_offset(endian).checked_add(into)?;
        let length = size.checked_sub(into)?.min(CODE_MAX);
        let code = elf.data().read_bytes_at(offset, length).ok()?.to_vec();
        Some(Function { offset, address, code })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_is_no_elf_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(Image::read(&file, &["main"], &["main"]), Err(Error::Elf(_))));
    }

    #[test]
    fn symbols_of_this_test_are_found_at_executable_offsets() {
        let file = File::open("/proc/self/exe").unwrap();
        let image = Image::read(&file, &["main"], &["main"]).unwrap();
        let main = image.function("main").unwrap();
        assert!(main.offset > 0 && !main.code.is_empty());
        assert_eq!(image.function_at(main.address).as_ref(), Some(main));
    }
}
