//! A file without symbols comes in; the functions of a BoringSSL inside it go out, known by the errors they report.
//!
//! `OPENSSL_PUT_ERROR` leaves the path of the source file as a text and the reason as a number in every function that
//! can fail. Which function has which reasons is part of the library's interface (`openssl/ssl.h`, `openssl/bio.h`).

use super::segments::Segments;
use super::strings::Text;
use super::structure::{self, Facts, Functions, Located, only};

/// Name of the library in events (`tls.library`).
pub const LIBRARY: &str = "boringssl";

/// Sources that the wanted functions stand in, wherever the library itself stands in a source tree; the number of a text is
/// its place here. OpenSSL's are written in C and end in `.c`.
const TEXTS: [Text; 4] = [
    Text::Ending("ssl/ssl_lib.cc"),
    Text::Ending("ssl/ssl_buffer.cc"),
    Text::Ending("crypto/bio/bio.cc"),
    Text::Ending("crypto/bio/bio.c"),
];
const SSL_LIB: [usize; 1] = [0];
const SSL_BUFFER: [usize; 1] = [1];
const BIO: [usize; 2] = [2, 3];

/// `ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED`: not for QUIC.
const NOT_FOR_QUIC: u32 = 66;
/// `SSL_R_BAD_LENGTH`.
const BAD_LENGTH: u32 = 111;
/// `ERR_R_INTERNAL_ERROR`, which only the reading half reports beside an unset BIO.
const BUFFERED: u32 = 68;
/// `SSL_R_BIO_NOT_SET`.
const BIO_NOT_SET: u32 = 119;
/// `SSL_R_SSL3_EXT_INVALID_SERVERNAME`.
const INVALID_SERVERNAME: u32 = 213;
/// `SSL_R_SSL_HANDSHAKE_FAILURE`.
const HANDSHAKE_FAILURE: u32 = 215;
/// `SSL_R_UNINITIALIZED`.
const UNINITIALIZED: u32 = 226;

/// Finds the functions by what they do: C name and virtual address. A function that is not certain is left out.
pub fn by_structure(image: &Segments<'_>) -> Vec<Located> {
    let functions = structure::referring(image, &TEXTS);
    let Some((write, facts)) = only(&functions, |facts| {
        is_from(facts, &SSL_LIB)
            && [NOT_FOR_QUIC, UNINITIALIZED, HANDSHAKE_FAILURE, BAD_LENGTH]
                .iter()
                .all(|reason| facts.numbers.contains(reason))
    }) else {
        return Vec::new();
    };
    let mut found = vec![("SSL_write", write)];
    let handshake = only_of(&facts.calls, |callee| {
        functions.get(callee).is_some_and(|facts| is_from(facts, &SSL_LIB))
    });
    found.extend(handshake.map(|address| ("SSL_do_handshake", address)));
    found.extend(reader(&functions, handshake));
    found.extend(names_server(&functions).map(|address| ("SSL_set_tlsext_host_name", address)));
    found.extend(channel(&functions).into_iter().map(|address| ("BIO_write", address)));
    found
}

/// The function that takes the server's name knows one error; another may have its number as a line.
fn names_server(functions: &Functions) -> Option<u64> {
    let fitting = || {
        functions.iter().filter(|(_, facts)| {
            is_from(facts, &SSL_LIB) && facts.numbers.contains(&INVALID_SERVERNAME)
        })
    };
    let fewest = fitting().map(|(_, facts)| facts.numbers.len()).min()?;
    let mut simplest = fitting().filter(|(_, facts)| facts.numbers.len() == fewest);
    let (address, _) = simplest.next()?;
    simplest.next().is_none().then_some(*address)
}

/// The one function through which plaintext is read, under the name of `SSL_read`, whose arguments it has.
///
/// `SSL_read` is `SSL_peek` and a step that takes the bytes away. A compiler may put either into its caller: the reader
/// is the function that calls the one which waits for records, and of two such the one that takes bytes away.
fn reader(functions: &Functions, handshake: Option<u64>) -> Option<(&'static str, u64)> {
    let waits = |callee: &u64| {
        Some(*callee) != handshake
            && functions.get(callee).is_some_and(|facts| {
                is_from(facts, &SSL_LIB) && facts.numbers.contains(&UNINITIALIZED)
            })
    };
    let readers: Vec<_> = functions
        .iter()
        .filter(|(_, facts)| is_from(facts, &SSL_LIB) && facts.numbers.contains(&NOT_FOR_QUIC))
        .filter(|(_, facts)| facts.calls.iter().any(waits))
        .filter(|(_, facts)| !facts.numbers.contains(&BAD_LENGTH))
        .collect();
    let taking = || readers.iter().filter(|(_, facts)| facts.stores);
    match readers.as_slice() {
        [] => None,
        [(address, _)] => Some(("SSL_read", **address)),
        _ => match taking().collect::<Vec<_>>().as_slice() {
            [(address, _)] => Some(("SSL_read", **address)),
            _ => None,
        },
    }
}

/// `BIO_write` is what the flush of the write buffer calls. Where the compiler has put it into the flush, the calls of
/// the channel's own function are the places: they have the same arguments.
fn channel(functions: &Functions) -> Vec<u64> {
    let flush = only(functions, |facts| {
        is_from(facts, &SSL_BUFFER)
            && facts.numbers.contains(&BIO_NOT_SET)
            && !facts.numbers.contains(&BUFFERED)
    });
    let Some((_, flush)) = flush else { return Vec::new() };
    // A function that begins without a prologue may have been taken for the end of the one before it.
    let bio = |callee: &u64| {
        let before = functions.range(..=callee).next_back();
        before.is_some_and(|(_, facts)| *callee < facts.end && is_from(facts, &BIO))
    };
    if is_from(flush, &BIO) {
        return flush.indirect_calls.clone();
    }
    only_of(&flush.calls, bio).into_iter().collect()
}

fn is_from(facts: &Facts, texts: &[usize]) -> bool {
    texts.iter().any(|text| facts.texts.contains(text))
}

fn only_of(addresses: &[u64], fits: impl Fn(&u64) -> bool) -> Option<u64> {
    let mut fitting = addresses.iter().filter(|address| fits(address));
    let first = fitting.next()?;
    fitting.next().is_none().then_some(*first)
}
