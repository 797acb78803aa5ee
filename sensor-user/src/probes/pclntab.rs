//! The function table of a Go program comes in (`gopclntab`); where functions begin and end goes out, by their names.
//!
//! The table is in every Go program, stripped or not: the runtime itself walks stacks with it. Layouts: Go's
//! `debug/gosym` and `runtime/symtab.go`.

use memchr::memmem;

/// First word of the table since Go 1.16, 1.18 and 1.20; the layout of the second holds for the third.
const MAGICS: [(u32, bool); 3] = [(0xffff_fffa, false), (0xffff_fff0, true), (0xffff_fff1, true)];
/// Bytes of the longest header.
pub const HEAD: usize = 72;
/// Length of an instruction at least: x86-64 and arm64.
const QUANTA: [u8; 2] = [1, 4];
/// Functions of one program that are walked through; the largest programs have half a million.
const FUNCTIONS_MAX: u64 = 4 << 20;
/// Bytes of a word of the header.
const WORD: u64 = 8;

/// A table whose header makes sense.
#[derive(Clone, Copy, Debug)]
pub struct Table<'t> {
    bytes: &'t [u8],
    /// Since Go 1.18 functions are told by their distance from the start of the text, in half words.
    relative: bool,
    functions: u64,
    names: u64,
    names_end: u64,
    entries: u64,
    /// Start of the text as the header tells; 0 where it does not, or where a relocation fills it in.
    pub text: u64,
}

/// What tables of 64-bit little-endian programs begin with.
pub fn begins() -> impl Iterator<Item = [u8; 8]> {
    MAGICS.into_iter().flat_map(|(magic, _)| {
        let [a, b, c, d] = magic.to_le_bytes();
        QUANTA.map(|quantum| [a, b, c, d, 0, 0, quantum, 8])
    })
}

impl<'t> Table<'t> {
    /// Reads the header of a table of 64-bit little-endian programs.
    pub fn read(bytes: &'t [u8]) -> Option<Self> {
        let magic = half(bytes, 0)?;
        let (_, relative) = MAGICS.into_iter().find(|(known, _)| *known == magic)?;
        if bytes.get(4..6)? != [0, 0] || *bytes.get(7)? != 8 {
            return None;
        }
        let field = |number: u64| word(bytes, WORD.checked_mul(number.checked_add(1)?)?);
        let first = if relative { 3 } else { 2 };
        let functions = field(0)?;
        let text = if relative { field(2)? } else { 0 };
        let (names, names_end) = (field(first)?, field(first.checked_add(1)?)?);
        let entries = field(first.checked_add(4)?)?;
        let table = Self { bytes, relative, functions, names, names_end, entries, text };
        (functions <= FUNCTIONS_MAX && names < names_end).then_some(table)
    }

    /// First and last address (exclusive) of each wanted function, `text` being the start of the program's text; a
    /// function that is not there has none.
    pub fn find<const N: usize>(&self, wanted: [&str; N], text: u64) -> [Option<(u64, u64)>; N] {
        let names = wanted.map(|name| self.name(name));
        let mut found = [None; N];
        for number in 0..self.functions {
            let Some((start, name)) = self.function(number, text) else { break };
            let hit = names.iter().position(|wanted| *wanted == Some(name));
            let end = self.entry(number.saturating_add(1)).map(|(end, _)| self.address(end, text));
            if let (Some(at), Some(end)) = (hit, end)
                && let Some(place) = found.get_mut(at)
                && start < end
            {
                *place = Some((start, end));
            }
        }
        found
    }

    /// Where the text begins of a program whose first function stands at `first`.
    pub fn text_of(&self, first: u64) -> Option<u64> {
        let (distance, _) = self.entry(0)?;
        if self.relative { first.checked_sub(distance) } else { Some(first) }
    }

    /// Where a name stands among the names.
    fn name(&self, name: &str) -> Option<u64> {
        let names = self
            .bytes
            .get(usize::try_from(self.names).ok()?..usize::try_from(self.names_end).ok()?)?;
        let ended = [&[0], name.as_bytes(), &[0]].concat();
        let before = memmem::find(names, &ended)?;
        u64::try_from(before).ok()?.checked_add(1)
    }

    fn function(&self, number: u64, text: u64) -> Option<(u64, u64)> {
        let (start, facts) = self.entry(number)?;
        let facts = self.entries.checked_add(facts)?;
        let name = facts.checked_add(if self.relative { 4 } else { 8 })?;
        Some((self.address(start, text), u64::from(half(self.bytes, name)?)))
    }

    /// Start of a function, and where its facts stand.
    fn entry(&self, number: u64) -> Option<(u64, u64)> {
        if self.relative {
            let at = self.entries.checked_add(number.checked_mul(8)?)?;
            let facts = half(self.bytes, at.checked_add(4)?).unwrap_or(0);
            return Some((half(self.bytes, at)?.into(), facts.into()));
        }
        let at = self.entries.checked_add(number.checked_mul(16)?)?;
        let facts = word(self.bytes, at.checked_add(WORD)?).unwrap_or(0);
        Some((word(self.bytes, at)?, facts))
    }

    fn address(&self, start: u64, text: u64) -> u64 {
        if self.relative { text.wrapping_add(start) } else { start }
    }
}

fn half(bytes: &[u8], at: u64) -> Option<u32> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

fn word(bytes: &[u8], at: u64) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of two functions, `a.A` at 0x10 and `b.B` at 0x30, that ends at 0x50.
    fn table(magic: u32) -> Vec<u8> {
        let mut bytes = magic.to_le_bytes().to_vec();
        bytes.extend([0, 0, 1, 8]);
        let (names, entries) = (72_u64, 88_u64);
        for word in [2, 0, 0, names, entries, 0, 0, entries] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(b"\0a.A\0b.B\0\0\0\0\0\0\0\0");
        for half in [0x10_u32, 24, 0x30, 32, 0x50, 0, 0x10, 1, 0x30, 5] {
            bytes.extend(half.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn functions_are_found_by_name() {
        let bytes = table(0xffff_fff1);
        let found = Table::read(&bytes).unwrap().find(["b.B", "c.C", "a.A"], 0x40_0000);
        assert_eq!(found, [Some((0x40_0030, 0x40_0050)), None, Some((0x40_0010, 0x40_0030))]);
    }

    #[test]
    fn table_cut_anywhere_finds_nothing_wrong() {
        let bytes = table(0xffff_fff0);
        for length in 0..bytes.len() {
            let Some(table) = Table::read(&bytes[..length]) else { continue };
            let [found] = table.find(["a.A"], 0);
            assert!(found.is_none_or(|found| found == (0x10, 0x30)), "{length}");
        }
    }

    #[test]
    fn other_magic_or_word_size_is_no_table() {
        assert!(Table::read(&table(0xffff_fffb)).is_none());
        let mut narrow = table(0xffff_fff1);
        narrow[7] = 4;
        assert!(Table::read(&narrow).is_none());
    }
}
