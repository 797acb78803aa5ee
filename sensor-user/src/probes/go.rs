//! A Go program comes in; the probes on its `crypto/tls` go out: entries, and every return instruction.

use std::fs::File;

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ReadCache};

use super::elf::Image;
use super::go_table;
use super::library::{Carried, Library, Resolution};
use super::pclntab::Table;
use super::plan::{Part, Probe};
use super::prologue;
use super::row::{Place, Row, row};
use super::rustls::AT_ONCE_MAX;
use super::segments::{Machine, Segments};

/// Name of the library in events (`tls.library`).
pub const LIBRARY: &str = "go";

/// Sections that every program of Go has.
const SIGNS: [&str; 2] = [".go.buildinfo", ".note.go.buildid"];
/// Bytes of one function that are looked at; `Write` has about 5,000.
const CODE_MAX: u64 = 32 << 10;
/// Return instructions of one function; `Write` has about ten.
const RETURNS_MAX: usize = 64;
/// How far into a function the check of its stack stands.
const STACK_CHECK_WITHIN: usize = 24;

const WRITE: &str = "func crypto/tls.Conn.Write(c *Conn, b []byte) (n int, err error);";
const READ: &str = "func crypto/tls.Conn.Read(c *Conn, b []byte) (n int, err error);";
const RECORD: &str = "func crypto/tls.Conn.write(c *Conn, data []byte) (n int, err error);";
const CLOSE: &str = "func crypto/tls.Conn.Close(c *Conn) (err error);";

/// Names in the table of functions, in the order of [`ROWS`].
const NAMES: [&str; 4] = [
    "crypto/tls.(*Conn).write",
    "crypto/tls.(*Conn).Write",
    "crypto/tls.(*Conn).Read",
    "crypto/tls.(*Conn).Close",
];

/// The entry of each function of [`NAMES`], most urgent first: what ties a connection to its socket.
const ROWS: [Row; 4] = [
    row("crypto/tls.Conn.write", RECORD, "go_record", Place::Entry),
    row("crypto/tls.Conn.Write", WRITE, "go_write", Place::Entry),
    row("crypto/tls.Conn.Read", READ, "go_read", Place::Entry),
    row("crypto/tls.Conn.Close", CLOSE, "go_close", Place::Entry),
];

/// Probes on every return instruction; a return probe of the kernel would break a stack that the runtime moves.
const RETURNS: [(usize, Row); 2] = [
    (1, row("crypto/tls.Conn.Write", WRITE, "go_write_done", Place::Return)),
    (2, row("crypto/tls.Conn.Read", READ, "go_read_done", Place::Return)),
];

/// Looks for `crypto/tls` in the table of functions; a program of Go before 1.17, whose arguments are on the stack, is
/// left out.
pub(super) fn resolve(image: &Image<'_>) -> Option<Part> {
    if !is_go(image.file) {
        return None;
    }
    let segments = Segments::open(image.file).ok()?;
    let look = |table: &Table<'_>, text| part(&segments, &table.find(NAMES, text));
    if go_table::has_section(image.file) {
        return go_table::in_section(image.file, &segments, look);
    }
    if image.file.metadata().ok()?.len() > AT_ONCE_MAX {
        return None;
    }
    go_table::in_data(&segments, look)
}

/// What to attach to a program that was too large to be searched at once for a table without a section.
pub(super) fn in_large(file: &File) -> Option<Part> {
    let is_late = file.metadata().ok()?.len() > AT_ONCE_MAX && is_go(file);
    if !is_late || go_table::has_section(file) {
        return None;
    }
    let segments = Segments::open(file).ok()?;
    go_table::in_data(&segments, |table, text| part(&segments, &table.find(NAMES, text)))
}

fn part(segments: &Segments<'_>, found: &[Option<(u64, u64)>]) -> Option<Part> {
    let mut part = Part::new(Library::Go);
    part.carried = Some(Carried { library: Library::Go, resolution: Resolution::Structure });
    for (row, range) in ROWS.iter().zip(found) {
        let (start, code) = function(segments, (*range)?)?;
        let moved = match segments.machine {
            Machine::X86 => prologue::stack_check(&code, start),
            Machine::Arm => 0,
        };
        let offset = segments.offset_of(start.checked_add(moved)?)?;
        part.probes.push(Probe { program: row.program, offset });
    }
    for (at, row) in &RETURNS {
        let (start, code) = function(segments, (*found.get(*at)?)?)?;
        for address in returns(segments.machine, &code, start) {
            let offset = segments.offset_of(address)?;
            part.probes.push(Probe { program: row.program, offset });
        }
    }
    Some(part)
}

/// Whether a file is a program of Go, whatever was found in it: its linker says so in a section of its own.
pub(super) fn is_go(file: &File) -> bool {
    let cache = ReadCache::new(file);
    let elf = ElfFile64::<Endianness, _>::parse(&cache);
    elf.is_ok_and(|elf| SIGNS.into_iter().any(|name| elf.section_by_name(name).is_some()))
}

/// The code of a function, where it begins as the compiler begins every function that has a frame.
fn function(segments: &Segments<'_>, (start, end): (u64, u64)) -> Option<(u64, Vec<u8>)> {
    let length = end.checked_sub(start).filter(|length| *length <= CODE_MAX)?;
    if !segments.is_code(start) {
        return None;
    }
    let code = segments.bytes(start, usize::try_from(length).ok()?);
    checks_stack(segments.machine, &code).then_some((start, code))
}

/// Whether the code compares the stack pointer with the goroutine's limit, in the register that holds the goroutine
/// since arguments travel in registers (Go 1.17).
fn checks_stack(machine: Machine, code: &[u8]) -> bool {
    let head = code.get(..STACK_CHECK_WITHIN.min(code.len())).unwrap_or_default();
    match machine {
        // `cmp rsp, [r14+16]`, or of a large frame `cmp r12, [r14+16]`.
        Machine::X86 => head.windows(4).any(|part| matches!(part, [0x49 | 0x4d, 0x3b, 0x66, 0x10])),
        // `ldr x16, [x28, #16]`
        Machine::Arm => head.chunks_exact(4).any(|part| part == [0x90, 0x0b, 0x40, 0xf9]),
    }
}

/// Addresses of the return instructions.
fn returns(machine: Machine, code: &[u8], start: u64) -> Vec<u64> {
    match machine {
        Machine::X86 => Decoder::with_ip(64, code, start, DecoderOptions::NONE)
            .into_iter()
            .filter(|instruction| instruction.flow_control() == FlowControl::Return)
            .map(|instruction| instruction.ip())
            .take(RETURNS_MAX)
            .collect(),
        Machine::Arm => (start..)
            .step_by(4)
            .zip(code.chunks_exact(4))
            .filter(|(_, word)| *word == [0xc0, 0x03, 0x5f, 0xd6])
            .map(|(address, _)| address)
            .take(RETURNS_MAX)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_return_is_found_and_no_byte_of_another_instruction() {
        // `mov eax, 0xc3; ret; nop; ret`
        let code = [0xb8, 0xc3, 0, 0, 0, 0xc3, 0x90, 0xc3];
        assert_eq!(returns(Machine::X86, &code, 0x1000), [0x1005, 0x1007]);
        let code = [0xc0, 0x03, 0x5f, 0xd6, 0x1f, 0x20, 0x03, 0xd5, 0xc0, 0x03, 0x5f, 0xd6];
        assert_eq!(returns(Machine::Arm, &code, 0x1000), [0x1000, 0x1008]);
    }

    #[test]
    fn code_with_arguments_on_the_stack_is_refused() {
        // `mov rcx, fs:-8; cmp rsp, [rcx+16]`, as Go before 1.17 begins.
        let old = [0x64, 0x48, 0x8b, 0x0c, 0x25, 0xf8, 0xff, 0xff, 0xff, 0x48, 0x3b, 0x61, 0x10];
        assert!(!checks_stack(Machine::X86, &old));
        assert!(checks_stack(Machine::X86, &[0x49, 0x3b, 0x66, 0x10, 0x76, 0x10]));
        assert!(checks_stack(Machine::Arm, &[0x90, 0x0b, 0x40, 0xf9]));
    }
}
