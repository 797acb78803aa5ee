//! A file without symbols comes in; the functions of an OpenSSL inside it go out, known by the errors they report.
//!
//! From 3.0 on, `ERR_raise` leaves the name of the function as a text; 1.1 leaves the path of the source file as a text
//! and a number for the function (`openssl/sslerr.h`, `openssl/bioerr.h`). A compiler may put the inner functions into
//! their callers: then each caller reports their errors, and each is a place of its own.

use super::prologue;
use super::segments::{Machine, Segments};
use super::strings::Text;
use super::structure::{self, Facts, Functions, Located};

/// Bytes of a function in which its arguments are taken.
const ARGUMENTS_MAX: usize = 192;

/// Texts; the number of a text is its place here.
const TEXTS: [Text; 9] = [
    Text::Whole("ssl_write_internal"),
    Text::Whole("ssl_read_internal"),
    Text::Whole("SSL_write"),
    Text::Whole("SSL_read"),
    Text::Whole("SSL_do_handshake"),
    Text::Whole("SSL_set_fd"),
    Text::Whole("bio_write_intern"),
    Text::Ending("ssl/ssl_lib.c"),
    Text::Ending("crypto/bio/bio_lib.c"),
];
const SSL_LIB: usize = 7;
const BIO_LIB: usize = 8;

/// One kind of function: the C name whose arguments it has, its text, and in 1.1 the source with the function's number.
struct Kind {
    name: &'static str,
    text: usize,
    source: usize,
    number: u32,
}

const fn kind(name: &'static str, text: usize, source: usize, number: u32) -> Kind {
    Kind { name, text, source, number }
}

/// The plain forms come before the inner functions that they may have swallowed.
const KINDS: [Kind; 7] = [
    kind("SSL_write", 2, SSL_LIB, 208),
    kind("SSL_read", 3, SSL_LIB, 223),
    kind("SSL_write_ex", 0, SSL_LIB, 524),
    kind("SSL_read_ex", 1, SSL_LIB, 523),
    kind("SSL_do_handshake", 4, SSL_LIB, 180),
    kind("SSL_set_fd", 5, SSL_LIB, 192),
    kind("BIO_write", 6, BIO_LIB, 128),
];

/// Finds the functions by what they do: the C name whose arguments they have, and the virtual address.
pub fn by_structure(image: &Segments<'_>) -> Vec<Located> {
    let functions = structure::referring(image, &TEXTS);
    let named = |facts: &Facts, kind: &Kind| facts.texts.contains(&kind.text);
    let numbered = |facts: &Facts, kind: &Kind| {
        facts.texts.contains(&kind.source) && facts.numbers.contains(&kind.number)
    };
    // Bytes of other code may look like a reference to a name; hardly ever to a name and its source.
    let sourced =
        |facts: &Facts, kind: &Kind| named(facts, kind) && facts.texts.contains(&kind.source);
    let certain = located(&functions, sourced);
    let mut found = located(&functions, named);
    found.retain(|place| {
        certain.contains(place) || certain.iter().all(|(name, _)| *name != place.0)
    });
    if found.is_empty() {
        found = located(&functions, numbered);
    }
    let inner = innermost(&functions, &found);
    let sized = inner.into_iter().map(|(name, address)| {
        let flagged = name == "SSL_write_ex" && takes_flags(image, address);
        (if flagged { "SSL_write_ex2" } else { name }, address)
    });
    // What the fifth argument means can be told on x86-64 only.
    sized.filter(|(name, _)| image.machine == Machine::X86 || *name != "SSL_write_ex").collect()
}

fn located(functions: &Functions, fits: impl Fn(&Facts, &Kind) -> bool) -> Vec<Located> {
    let places = functions.iter().filter_map(|(address, facts)| {
        let kind = KINDS.iter().find(|kind| fits(facts, kind))?;
        Some((kind.name, *address))
    });
    places.collect()
}

/// Leaves out whoever calls another of the same direction: each call passes one place.
fn innermost(functions: &Functions, found: &[Located]) -> Vec<Located> {
    let direction = |name: &str| name.trim_end_matches("_ex").to_owned();
    let passes_on = |(name, address): &Located| {
        let calls = functions.get(address).map_or(&[][..], |facts| &facts.calls);
        found.iter().any(|(other, inner)| {
            inner != address && direction(other) == direction(name) && calls.contains(inner)
        })
    };
    found.iter().filter(|place| !passes_on(place)).copied().collect()
}

/// From 3.3 on the inner function of writes has flags before the pointer to its count, which so is the fifth argument.
fn takes_flags(image: &Segments<'_>, address: u64) -> bool {
    prologue::takes_fifth_argument(&image.bytes(address, ARGUMENTS_MAX), address)
}
