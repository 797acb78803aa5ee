//! A file's symbols come in; the probes on the functions of the OpenSSL family go out, for shared and static builds.

use super::elf::Image;
use super::library::{Carried, Library, Resolution};
use super::plan::{Part, Probe};
use super::prologue;
use super::row::{Place, Row, row};

/// Name of the library in events (`tls.library`).
pub const LIBRARY: &str = "openssl";
/// Whoever has this function carries the library.
pub const KEY: &str = "SSL_write";
/// Whoever has this function carries the half that writes to sockets (libcrypto, or a static build).
pub const CHANNEL_KEY: &str = "BIO_write";

const WRITE: &str = "int SSL_write(SSL *ssl, const void *buf, int num);";
const WRITE_EX: &str = "int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written);";
const WRITE_EX2: &str =
    "int SSL_write_ex2(SSL *ssl, const void *buf, size_t num, uint64_t flags, size_t *written);";
const READ: &str = "int SSL_read(SSL *ssl, void *buf, int num);";
const READ_EX: &str = "int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes);";
const HANDSHAKE: &str = "int SSL_do_handshake(SSL *ssl);";

/// Calls that move plaintext, most urgent first. `SSL_peek*` is left out on purpose: what is peeked at is read again.
pub const DATA_ROWS: [Row; 10] = [
    row("SSL_write", WRITE, "tls_write", Place::EntryWithReturn),
    row("SSL_write", WRITE, "tls_write_done", Place::Return),
    row("SSL_write_ex", WRITE_EX, "tls_write_ex", Place::EntryWithReturn),
    row("SSL_write_ex", WRITE_EX, "tls_write_done", Place::Return),
    row("SSL_read", READ, "tls_read", Place::EntryWithReturn),
    row("SSL_read", READ, "tls_read_done", Place::Return),
    row("SSL_read_ex", READ_EX, "tls_read_ex", Place::EntryWithReturn),
    row("SSL_read_ex", READ_EX, "tls_read_done", Place::Return),
    row("SSL_write_ex2", WRITE_EX2, "tls_write_ex2", Place::EntryWithReturn),
    row("SSL_write_ex2", WRITE_EX2, "tls_write_done", Place::Return),
];

/// Calls that tell names, sockets and ends. `SSL_connect` ends in `SSL_do_handshake`, which is probed.
pub const CONTEXT_ROWS: [Row; 7] = [
    row("SSL_do_handshake", HANDSHAKE, "tls_handshake", Place::EntryWithReturn),
    row("SSL_do_handshake", HANDSHAKE, "tls_handshake_done", Place::Return),
    row(
        "SSL_ctrl",
        "long SSL_ctrl(SSL *ssl, int cmd, long larg, void *parg);",
        "tls_ctrl",
        Place::Entry,
    ),
    row(
        "SSL_set_tlsext_host_name",
        "int SSL_set_tlsext_host_name(SSL *ssl, const char *name);",
        "tls_set_host_name",
        Place::Entry,
    ),
    row("SSL_set_fd", "int SSL_set_fd(SSL *ssl, int fd);", "tls_set_fd", Place::Entry),
    row(
        "SSL_set_bio",
        "void SSL_set_bio(SSL *ssl, BIO *rbio, BIO *wbio);",
        "tls_set_bio",
        Place::Entry,
    ),
    row("SSL_free", "void SSL_free(SSL *ssl);", "tls_free", Place::Entry),
];

/// The call that puts TLS records into their channel.
pub const CHANNEL_ROW: Row = row(
    "BIO_write",
    "int BIO_write(BIO *b, const void *data, int dlen);",
    "bio_write",
    Place::Entry,
);

/// Functions whose wrappers may be thin: the plain form, the sized form, and the programs of the inner function by the
/// number of its argument that counts bytes (3, then 4).
pub const WRAPPED: [(&str, &str, [&str; 2], &str); 2] = [
    ("SSL_write", "SSL_write_ex", ["tls_write_ex", "tls_write_ex2"], "tls_write_done"),
    ("SSL_read", "SSL_read_ex", ["tls_read_ex", "tls_read_ex"], "tls_read_done"),
];

/// Every function name that is looked for.
pub(super) fn functions() -> impl Iterator<Item = &'static str> {
    let rows = DATA_ROWS.iter().chain(&CONTEXT_ROWS).chain([&CHANNEL_ROW]);
    rows.map(|row| row.function).chain(["BIO_write_ex"])
}

/// Turns the symbols of a file into probes; a file with the channel alone (libcrypto) carries no data.
pub(super) fn resolve(image: &Image<'_>) -> Option<Part> {
    let mut part = Part::new(Library::OpenSsl);
    if image.function(KEY).is_some() {
        part.carried = Some(Carried { library: Library::OpenSsl, resolution: Resolution::Symbols });
        let inner = inner_probes(image);
        for row in &DATA_ROWS {
            if inner.iter().any(|(functions, _)| functions.contains(&row.function)) {
                continue;
            }
            part.push(image, row);
        }
        for (_, probes) in inner {
            part.probes.splice(0..0, probes);
        }
        for row in &CONTEXT_ROWS {
            part.push(image, row);
        }
    }
    if let Some(channel) = channel_probe(image) {
        // What ties a TLS object to its socket stands before the first plaintext is seen.
        part.probes.insert(0, channel);
    }
    (!part.probes.is_empty()).then_some(part)
}

/// Where both forms of a call are thin wrappers of one inner function that begins with an emulated instruction,
/// two probes on the inner function replace four on the wrappers.
fn inner_probes(image: &Image<'_>) -> Vec<([&'static str; 2], [Probe; 2])> {
    WRAPPED
        .iter()
        .filter_map(|(plain, sized, programs, done)| {
            let (outer, inner) = (inner_of(image, plain)?, inner_of(image, sized)?);
            if outer.address != inner.address || image.function("SSL_write_ex2").is_some() {
                return None;
            }
            let program = programs.get(outer.written_argument.checked_sub(3)?)?;
            let function = image.function_at(outer.address)?;
            prologue::starts_cheap(&function.code, function.address).then(|| {
                let probe = |program| Probe { program, offset: function.offset };
                ([*plain, *sized], [probe(*program), probe(*done)])
            })
        })
        .collect()
}

fn inner_of(image: &Image<'_>, name: &str) -> Option<prologue::Inner> {
    let function = image.function(name)?;
    prologue::inner_call(&function.code, function.address)
}

fn channel_probe(image: &Image<'_>) -> Option<Probe> {
    let function = image.function(CHANNEL_KEY)?;
    let program = CHANNEL_ROW.program;
    if let (Some(plain), Some(sized)) =
        (inner_of(image, "BIO_write"), inner_of(image, "BIO_write_ex"))
        && plain.address == sized.address
        && let Some(inner) = image.function_at(plain.address)
        && prologue::starts_cheap(&inner.code, inner.address)
    {
        return Some(Probe { program, offset: inner.offset });
    }
    // In BoringSSL the plain form calls the sized one, and so does the library's other half.
    let sized = image.function("BIO_write_ex").filter(|sized| {
        inner_of(image, "BIO_write").is_some_and(|inner| inner.address == sized.address)
    });
    let function = sized.unwrap_or(function);
    let moved = prologue::entry_offset(&function.code, function.address);
    Some(Probe { program, offset: function.offset.saturating_add(moved) })
}
