//! A file without the symbols of a TLS library comes in; the probes on its functions go out, found in other ways.

use std::fs::File;

use super::library::{Carried, Library, Resolution};
use super::offsets::Offsets;
use super::plan::{Part, Probe};
use super::prologue;
use super::row::Place;
use super::segments::Segments;
use super::structure::Located;
use super::{Error, boringssl, openssl, openssl_bare, signature};

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
        Found::new(library, Resolution::Offsets, table.find(image, library, &names))
    });
    found.collect()
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

    #[test]
    fn two_ways_that_contradict_each_other_find_nothing() {
        assert_eq!(agreed(vec![("SSL_write", 0x11)], STRUCTURE.to_vec()), None);
        assert_eq!(agreed(Vec::new(), STRUCTURE[..1].to_vec()), None);
    }
}
