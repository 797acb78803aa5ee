//! An ELF file comes in; the functions with which rustls on aws-lc seals and opens records go out, with or without symbols.
//!
//! Rust's own functions have no stable arguments. The C functions of aws-lc have, and rustls calls them once a record.
//! Their names carry the version of aws-lc; without names they are known by the errors they report, whose reasons stand
//! in `openssl/cipher.h`. rustls's other provider has a file of its own, `ring.rs`.

use std::fs::File;

use super::elf::Image;
use super::library::{Carried, Library, Resolution};
use super::plan::{Part, Probe};
use super::row::{Place, Row, row};
use super::segments::{Machine, Segments};
use super::strings::{self, Text};
use super::structure::{self, Facts, only};

/// Name of the library in events (`tls.library`).
pub const LIBRARY: &str = "rustls";

const SEAL: &str = "EVP_AEAD_CTX_seal";
const OPEN: &str = "EVP_AEAD_CTX_open";
const SEAL_PROTOTYPE: &str = "int EVP_AEAD_CTX_seal(const EVP_AEAD_CTX *ctx, uint8_t *out, size_t *out_len, size_t max_out_len, const uint8_t *nonce, size_t nonce_len, const uint8_t *in, size_t in_len, const uint8_t *ad, size_t ad_len);";
const OPEN_PROTOTYPE: &str = "int EVP_AEAD_CTX_open(const EVP_AEAD_CTX *ctx, uint8_t *out, size_t *out_len, size_t max_out_len, const uint8_t *nonce, size_t nonce_len, const uint8_t *in, size_t in_len, const uint8_t *ad, size_t ad_len);";

/// What happens where a record is sealed or opened.
pub const ROWS: [Row; 4] = [
    row(SEAL, SEAL_PROTOTYPE, "aead_seal", Place::EntryWithReturn),
    row(SEAL, SEAL_PROTOTYPE, "aead_seal_done", Place::Return),
    row(OPEN, OPEN_PROTOTYPE, "aead_open", Place::EntryWithReturn),
    row(OPEN, OPEN_PROTOTYPE, "aead_open_done", Place::Return),
];

/// Bytes of a file without symbols that is searched through at once; a larger one is left to the thread that searches.
pub(super) const AT_ONCE_MAX: u64 = 32 << 20;
/// The source that both functions stand in.
const TEXTS: [Text; 1] = [Text::Ending("/aws-lc/crypto/fipsmodule/cipher/aead.c")];
/// `CIPHER_R_BAD_DECRYPT`: only opening fails by it.
const BAD_DECRYPT: u32 = 101;
/// `CIPHER_R_BUFFER_TOO_SMALL`.
const BUFFER_TOO_SMALL: u32 = 103;
/// `CIPHER_R_OUTPUT_ALIASES_INPUT`.
const OUTPUT_ALIASES_INPUT: u32 = 115;
/// `CIPHER_R_TOO_LARGE`: only sealing fails by it.
const TOO_LARGE: u32 = 117;

/// Every function name that is looked for.
pub fn functions() -> impl Iterator<Item = &'static str> {
    [SEAL, OPEN].into_iter()
}

/// The name of a function of aws-lc without the version in front of it (`aws_lc_0_47_0_`).
pub fn without_version(name: &[u8]) -> Option<&[u8]> {
    let rest = name.strip_prefix(b"aws_lc_")?;
    // Builds of the validated module say so.
    let rest = rest.strip_prefix(b"fips_").unwrap_or(rest);
    let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'_')?;
    rest.get(end..)
}

/// What to attach to the file; `None` where it carries no such library.
pub fn resolve(image: &Image<'_>) -> Option<Part> {
    if functions().all(|name| image.function(name).is_some()) {
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

fn searched(segments: &Segments<'_>) -> Option<Part> {
    let mut part = Part::new(Library::Rustls);
    let found = by_structure(segments)?;
    for row in &ROWS {
        let address = if row.function == SEAL { found.seal } else { found.open };
        let offset = segments.offset_of(address)?;
        part.probes.push(Probe { program: row.program, offset });
    }
    part.carried = Some(carried(Resolution::Structure));
    part.cheap = false;
    Some(part)
}

fn carried(resolution: Resolution) -> Carried {
    Carried { library: Library::Rustls, resolution }
}

/// Addresses of the two functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    seal: u64,
    open: u64,
}

/// Finds both functions by the errors they report; only both together are certain.
fn by_structure(segments: &Segments<'_>) -> Option<Found> {
    if strings::constants(segments, &TEXTS).is_empty() {
        return None;
    }
    let functions = if segments.frame_index.is_none() && segments.machine == Machine::X86 {
        structure::referring_called(segments, &TEXTS)
    } else {
        structure::referring(segments, &TEXTS)
    };
    let reports = |facts: &Facts, own: u32, others: u32| {
        let reasons = [own, BUFFER_TOO_SMALL, OUTPUT_ALIASES_INPUT];
        reasons.iter().all(|reason| facts.numbers.contains(reason))
            && !facts.numbers.contains(&others)
            && !facts.indirect_calls.is_empty()
    };
    let (seal, _) = only(&functions, |facts| reports(facts, TOO_LARGE, BAD_DECRYPT))?;
    let (open, _) = only(&functions, |facts| reports(facts, BAD_DECRYPT, TOO_LARGE))?;
    Some(Found { seal, open })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_taken_off_names() {
        const CASES: &[(&str, Option<&str>)] = &[
            ("aws_lc_0_47_0_EVP_AEAD_CTX_seal", Some("EVP_AEAD_CTX_seal")),
            ("aws_lc_fips_0_13_14_EVP_AEAD_CTX_open", Some("EVP_AEAD_CTX_open")),
            ("EVP_AEAD_CTX_seal", None),
            ("aws_lc_0_47_0_", None),
        ];
        for (name, expected) in CASES {
            let found = without_version(name.as_bytes());
            assert_eq!(found, expected.map(str::as_bytes), "{name}");
        }
    }
}
