//! An open ELF file comes in; its segments go out, and their bytes by address, in bounded pieces.

use std::fmt::Write;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use object::elf::{
    EM_AARCH64, EM_X86_64, ET_EXEC, FileHeader64, PF_W, PF_X, PT_DYNAMIC, PT_GNU_EH_FRAME, PT_LOAD,
};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ReadCache};

use super::Error;

/// Segments that are looked at: real files have fewer than ten.
const SEGMENTS_MAX: usize = 32;
/// Bytes of one search through one file; a larger file is searched as far as this.
const SEARCHED_MAX: u64 = 768 << 20;
/// Bytes read at once: they stay in the processor's cache while they are searched.
const PIECE: usize = 512 << 10;
/// Bytes that one look at an address may ask for.
const LOOK_MAX: usize = 64 << 10;

/// Instruction set of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64.
    X86,
    /// arm64.
    Arm,
}

impl Machine {
    /// The word used in rows of data.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }
}

/// A part of the file that is mapped as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First virtual address.
    pub address: u64,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Mapped executable.
    pub executable: bool,
    /// Mapped writable: holds no constants.
    pub writable: bool,
}

/// An ELF file as a process would map it.
#[derive(Debug)]
pub struct Segments<'f> {
    file: &'f File,
    /// Instruction set.
    pub machine: Machine,
    /// GNU build-id, in hex; empty where the file has none.
    pub build_id: String,
    /// Linked to run at its own addresses, which may stand in instructions as they are.
    pub fixed: bool,
    /// Address of the index of unwind entries, where there is one.
    pub frame_index: Option<u64>,
    /// Address of what the loader is told, where there is any.
    pub dynamic: Option<u64>,
    loaded: Vec<Segment>,
}

impl<'f> Segments<'f> {
    /// Reads the headers of a little-endian 64-bit ELF file of a known machine.
    pub fn open(file: &'f File) -> Result<Self, Error> {
        let broken = |error: object::read::Error| Error::Elf(error.to_string());
        let cache = ReadCache::new(file);
        let elf = ElfFile64::<Endianness, _>::parse(&cache).map_err(broken)?;
        let (endian, header) = (elf.endian(), elf.elf_header());
        let machine = match header.e_machine(endian) {
            EM_X86_64 if elf.is_little_endian() => Machine::X86,
            EM_AARCH64 if elf.is_little_endian() => Machine::Arm,
            other => return Err(Error::Elf(format!("machine {other:?} is not supported"))),
        };
        let headers = FileHeader64::<Endianness>::program_headers(header, endian, elf.data());
        let mut image = Self {
            file,
            machine,
            build_id: hex(elf.build_id().ok().flatten().unwrap_or_default()),
            fixed: header.e_type(endian) == ET_EXEC,
            frame_index: None,
            dynamic: None,
            loaded: Vec::new(),
        };
        for segment in headers.map_err(broken)? {
            match segment.p_type(endian) {
                PT_LOAD if image.loaded.len() < SEGMENTS_MAX => image.loaded.push(Segment {
                    address: segment.p_vaddr(endian),
                    offset: segment.p_offset(endian),
                    size: segment.p_filesz(endian),
                    executable: segment.p_flags(endian).contains(PF_X),
                    writable: segment.p_flags(endian).contains(PF_W),
                }),
                PT_GNU_EH_FRAME => image.frame_index = Some(segment.p_vaddr(endian)),
                PT_DYNAMIC => image.dynamic = Some(segment.p_vaddr(endian)),
                _ => {}
            }
        }
        Ok(image)
    }

    /// The segments with code.
    pub fn code(&self) -> impl Iterator<Item = &Segment> {
        self.loaded.iter().filter(|segment| segment.executable)
    }

    /// The segments that may hold constants.
    pub fn constants(&self) -> impl Iterator<Item = &Segment> {
        self.loaded.iter().filter(|segment| !segment.writable)
    }

    /// The segments without code.
    pub fn data(&self) -> impl Iterator<Item = &Segment> {
        self.loaded.iter().filter(|segment| !segment.executable)
    }

    /// Where an address stands in the file; `None` where no segment holds it.
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        let (segment, into) = self.segment_of(address)?;
        segment.offset.checked_add(into)
    }

    /// The address of a place of the file that is mapped as code.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        self.code().find_map(|segment| {
            let into = offset.checked_sub(segment.offset).filter(|into| *into < segment.size)?;
            segment.address.checked_add(into)
        })
    }

    /// Whether an address is code.
    pub fn is_code(&self, address: u64) -> bool {
        self.segment_of(address).is_some_and(|(segment, _)| segment.executable)
    }

    /// First address of code that lies up to `back` bytes before an address of code and in the same segment.
    pub fn code_before(&self, address: u64, back: u64) -> Option<u64> {
        let (segment, _) = self.segment_of(address).filter(|(segment, _)| segment.executable)?;
        Some(address.saturating_sub(back).max(segment.address))
    }

    fn segment_of(&self, address: u64) -> Option<(&Segment, u64)> {
        self.loaded.iter().find_map(|segment| {
            let into = address.checked_sub(segment.address).filter(|into| *into < segment.size)?;
            Some((segment, into))
        })
    }

    /// Up to `length` bytes from an address on, fewer where the segment or the file ends.
    pub fn bytes(&self, address: u64, length: usize) -> Vec<u8> {
        let Some((segment, into)) = self.segment_of(address) else { return Vec::new() };
        let left = usize::try_from(segment.size.saturating_sub(into)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(LOOK_MAX).min(left)];
        let read = read_up_to(self.file, segment.offset.saturating_add(into), &mut bytes);
        bytes.truncate(read);
        bytes
    }

    /// All bytes from an address of data on, up to the end of its segment and to `most`.
    pub fn rest(&self, address: u64, most: u64) -> Vec<u8> {
        let Some((segment, into)) = self.segment_of(address) else { return Vec::new() };
        let left = usize::try_from(segment.size.saturating_sub(into).min(most)).unwrap_or(0);
        let mut bytes = vec![0; left.min(usize::try_from(self.length()).unwrap_or(0))];
        let read = read_up_to(self.file, segment.offset.saturating_add(into), &mut bytes);
        bytes.truncate(read);
        bytes
    }

    /// Bytes of the file; a header may promise any number.
    fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }

    /// Exactly `N` bytes at an address.
    pub fn array<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        self.bytes(address, N).try_into().ok()
    }

    /// Runs `look` over a segment piece by piece, each with its address and with the first `overlap` bytes of the next
    /// piece at its end, until it breaks off.
    pub fn each_piece(
        &self,
        segment: &Segment,
        overlap: usize,
        mut look: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) {
        let mut buffer = vec![0; PIECE.saturating_add(overlap)];
        let step = u64::try_from(PIECE).unwrap_or(u64::MAX);
        let end = segment.size.min(SEARCHED_MAX);
        let mut at = 0_u64;
        while at < end {
            let left = usize::try_from(segment.size.saturating_sub(at)).unwrap_or(usize::MAX);
            let room = buffer.len().min(left);
            let Some(piece) = buffer.get_mut(..room) else { return };
            let read = read_up_to(self.file, segment.offset.saturating_add(at), piece);
            let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { return };
            if look(segment.address.wrapping_add(at), piece).is_break() {
                return;
            }
            at = at.saturating_add(step);
        }
    }
}

/// Reads until the buffer is full or the file ends; a file that shrinks meanwhile just ends.
fn read_up_to(file: &File, offset: u64, buffer: &mut [u8]) -> usize {
    let mut done = 0_usize;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        match file.read_at(rest, at) {
            Ok(0) | Err(_) => break,
            Ok(read) => done = done.saturating_add(read),
        }
    }
    done
}

/// Bytes as hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// Files made for tests.
#[cfg(test)]
pub(super) mod made {
    use std::io::Write;

    use super::*;

    /// Where the code of a made file stands; its constants follow at the next multiple of 4096.
    pub(in crate::probes) const CODE_AT: u64 = 0x40_0000;
    /// Where its constants stand.
    pub(in crate::probes) const CONSTANTS_AT: u64 = 0x40_1000;

    /// A file with a segment of code and one of constants, linked to run at its own addresses.
    pub(in crate::probes) fn file(machine: Machine, code: &[u8], constants: &[u8]) -> File {
        let number: u16 = if machine == Machine::X86 { 62 } else { 183 };
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend([2_u16, number].iter().flat_map(|half| half.to_le_bytes()));
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend([CODE_AT, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend([64_u16, 56, 2, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
        for (flags, offset, address, part) in
            [(5_u32, 0x1000_u64, CODE_AT, code), (4, 0x2000, CONSTANTS_AT, constants)]
        {
            bytes.extend([1_u32, flags].iter().flat_map(|word| word.to_le_bytes()));
            let size = part.len() as u64;
            let words = [offset, address, address, size, size, 0x1000];
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        bytes.resize(0x1000, 0);
        bytes.extend(code);
        bytes.resize(0x2000, 0);
        bytes.extend(constants);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> File {
        File::open("/proc/self/exe").unwrap()
    }

    #[test]
    fn pieces_join_to_the_segment_and_overlap() {
        let file = own();
        let image = Segments::open(&file).unwrap();
        let segment = *image.code().next().unwrap();
        let (mut next, mut seen) = (segment.address, 0);
        image.each_piece(&segment, 7, |address, piece| {
            assert_eq!(address, next);
            assert_eq!(image.bytes(address, 16), piece[..16.min(piece.len())]);
            seen += piece.len().min(PIECE);
            next += PIECE as u64;
            ControlFlow::Continue(())
        });
        assert_eq!(seen as u64, segment.size);
    }

    #[test]
    fn offsets_and_addresses_of_code_are_inverse() {
        let file = own();
        let image = Segments::open(&file).unwrap();
        let segment = image.code().next().unwrap();
        let offset = image.offset_of(segment.address + 5).unwrap();
        assert_eq!(offset, segment.offset + 5);
        assert_eq!(image.address_of(offset), Some(segment.address + 5));
        assert!(image.is_code(segment.address) && !image.is_code(u64::MAX));
        assert_eq!(image.bytes(u64::MAX, 4), Vec::<u8>::new());
    }
}
