//! A file without the symbols of a TLS library comes in; the probes on its functions go out, found in other ways.

use std::fs::File;

use super::library::{Carried, Library, Resolution};
use super::offsets::Offsets;
use super::plan::{Part, Probe};
use super::prologue;
use super::row::Place;
use super::segments::Segments;
use super::structure::Located;
use super::{Error, boringssl, bounds, go, openssl, openssl_bare, ring, rustls, signature};

/// Bytes of a function in which a probe's place is chosen.
const CODE_MAX: usize = 192;
/// Libraries that are looked for in such files.
const LIBRARIES: [Library; 2] = [Library::BoringSsl, Library::OpenSsl];

/// The library of a file, where its functions are, and how they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which library, and how.
    pub carried: Carried,
    /// Its functions.
    pub places: Vec<Located>,
}

impl Found {
    fn new(library: Library, resolution: Resolution, places: Vec<Located>) -> Option<Self> {
        let has = |names: &[&str]| places.iter().any(|(name, _)| names.contains(name));
        let whole = has(&["SSL_write", "SSL_write_ex", "SSL_write_ex2"])
            && has(&["SSL_read", "SSL_read_ex"]);
        whole.then_some(Self { carried: Carried { library, resolution }, places })
    }
}

/// By the rows of known builds: fast enough for the moment in which a process starts.
pub fn known(image: &Segments<'_>, table: &Offsets) -> Vec<Found> {
    let names: Vec<_> = openssl::functions().collect();
    let found = LIBRARIES.into_iter().filter_map(|library| {
        let places = table.find(image, library, &names);
        // One place that cannot be makes the whole row useless.
        let sound = places.iter().all(|place| is_sound(image, place));
        Found::new(library, Resolution::Offsets, places).filter(|_| sound)
    });
    found.collect()
}

/// Whether a probe at a place cannot break the program, whatever stands there: a breakpoint within an instruction
/// changes it, and a probe on a return takes what lies on the stack for the return address.
fn is_sound(image: &Segments<'_>, (name, address): &Located) -> bool {
    if *name == openssl::CHANNEL_ROW.function {
        bounds::is_instruction(image, *address)
    } else {
        bounds::is_start(image, *address)
    }
}

/// By patterns and structure: reads all constants and all code of the file.
pub fn searched(image: &Segments<'_>) -> Vec<Found> {
    let openssl =
        || Found::new(Library::OpenSsl, Resolution::Structure, openssl_bare::by_structure(image));
    boringssl(image).or_else(openssl).into_iter().collect()
}

/// Patterns and structure are checked against each other: where both name a function, it must be the same.
fn boringssl(image: &Segments<'_>) -> Option<Found> {
    let patterns = signature::find(image, Library::BoringSsl.as_str());
    let structure = boringssl::by_structure(image);
    agreed(patterns, structure)
}

fn agreed(patterns: Vec<Located>, structure: Vec<Located>) -> Option<Found> {
    let of = |places: &[Located], name: &str| -> Vec<u64> {
        places.iter().filter(|(known, _)| *known == name).map(|(_, address)| *address).collect()
    };
    let contradicts = patterns.iter().any(|(name, address)| {
        let other = of(&structure, name);
        !other.is_empty() && !other.contains(address)
    });
    if contradicts {
        return None;
    }
    let resolution =
        if of(&patterns, "SSL_write").is_empty() || of(&patterns, "SSL_read").is_empty() {
            Resolution::Structure
        } else {
            Resolution::Signature
        };
    let mut places = structure;
    let more: Vec<_> =
        patterns.into_iter().filter(|(name, _)| of(&places, name).is_empty()).collect();
    places.extend(more);
    Found::new(Library::BoringSsl, resolution, places)
}

/// All that a search through a file finds: every library it carries, not the first alone.
pub(super) fn all(file: &File) -> Result<Vec<Part>, Error> {
    let mut parts = parts(file, searched)?;
    parts.extend(go::in_large(file));
    parts.extend(rustls::in_large(file));
    parts.extend(ring::in_large(file));
    Ok(parts)
}

/// The parts of a plan for a file whose functions no symbol names.
pub(super) fn parts(
    file: &File,
    find: impl Fn(&Segments<'_>) -> Vec<Found>,
) -> Result<Vec<Part>, Error> {
    let image = Segments::open(file)?;
    Ok(find(&image).iter().map(|found| part(&image, found)).collect())
}

fn part(image: &Segments<'_>, found: &Found) -> Part {
    let mut part = Part::new(found.carried.library);
    part.carried = Some(found.carried);
    for row in
        [openssl::CHANNEL_ROW].iter().chain(&openssl::DATA_ROWS).chain(&openssl::CONTEXT_ROWS)
    {
        let named = found.places.iter().filter(|(name, _)| *name == row.function);
        for (_, address) in named {
            let Some(offset) = image.offset_of(*address) else { continue };
            let code = image.bytes(*address, CODE_MAX);
            let moved = match row.place {
                Place::Entry => prologue::entry_offset(&code, *address),
                Place::EntryWithReturn | Place::Return => 0,
            };
            part.cheap &=
                row.place != Place::EntryWithReturn || prologue::starts_cheap(&code, *address);
            part.probes.push(Probe { program: row.program, offset: offset.saturating_add(moved) });
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::segments::{Machine, hex, made};

    const PATTERNS: [Located; 2] = [("SSL_read", 0x20), ("SSL_write", 0x10)];
    const STRUCTURE: [Located; 3] = [("SSL_write", 0x10), ("SSL_read", 0x20), ("BIO_write", 0x30)];

    #[test]
    fn two_ways_that_agree_are_joined() {
        let found = agreed(PATTERNS.to_vec(), STRUCTURE.to_vec()).unwrap();
        assert_eq!(found.carried.resolution, Resolution::Signature);
        assert_eq!(found.places, STRUCTURE);
        let found = agreed(PATTERNS[..1].to_vec(), STRUCTURE.to_vec()).unwrap();
        assert_eq!(found.carried.resolution, Resolution::Structure);
        let found = agreed(PATTERNS.to_vec(), Vec::new()).unwrap();
        assert_eq!((found.carried.resolution, found.places.len()), (Resolution::Signature, 2));
    }

    /// Two functions that are filled up with int3: push rbp; mov rbp,rsp; push r15; call rax; ret.
    const FUNCTION: [u8; 16] = [
        0x55, 0x48, 0x89, 0xe5, 0x41, 0x57, 0xff, 0xd0, 0xc3, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc,
        0xcc,
    ];

    /// A table with one row, each of whose places holds the bytes that stand there.
    fn table(image: &Segments<'_>, write: u64, read: u64, channel: u64) -> Offsets {
        let place = |name: &str, address: u64| {
            let offset = image.offset_of(address).unwrap();
            format!("[\"{name}\", {offset}, \"{}\"]", hex(&image.bytes(address, 16)))
        };
        let places = [("SSL_write", write), ("SSL_read", read), ("BIO_write", channel)];
        let places: Vec<_> = places.iter().map(|(name, address)| place(name, *address)).collect();
        let row = format!(
            "[[build]]\nbuild_id = \"{}\"\nlibrary = \"boringssl\"\nmachine = \"x86_64\"\n\
             functions = [{}]\nsource = \"a\"\nchecked = \"b\"\n",
            image.build_id,
            places.join(", ")
        );
        Offsets::default().with(&row).unwrap()
    }

    #[test]
    fn row_with_a_place_that_would_break_the_program_is_not_used() {
        let code = [[0xcc; 16], FUNCTION, FUNCTION, FUNCTION, [0xcc; 16]].concat();
        let file = made::file(Machine::X86, &code, b"");
        let mut image = Segments::open(&file).unwrap();
        image.build_id = "0011223344556677".to_owned();
        let first = made::CODE_AT + 16;
        let found = |write, read, channel| {
            let table = table(&image, first + write, first + 16 + read, first + 32 + channel);
            known(&image, &table).len()
        };
        assert_eq!(found(0, 0, 0), 1);
        // The call of a channel's function is an instruction within a function.
        assert_eq!(found(0, 0, 6), 1);
        // Within an instruction; a function's second instruction; the same for each of the others.
        for (write, read, channel) in [(1, 0, 0), (4, 0, 0), (0, 2, 0), (0, 1, 0), (0, 0, 7)] {
            assert_eq!(found(write, read, channel), 0, "{write} {read} {channel}");
        }
    }

    #[test]
    fn two_ways_that_contradict_each_other_find_nothing() {
        assert_eq!(agreed(vec![("SSL_write", 0x11)], STRUCTURE.to_vec()), None);
        assert_eq!(agreed(Vec::new(), STRUCTURE[..1].to_vec()), None);
    }
}
