//! A file's symbols come in; the probes on the functions of GnuTLS go out.

use super::elf::Image;
use super::library::{Carried, Library, Resolution};
use super::plan::Part;
use super::prologue;
use super::row::{Place, Row, row};

/// Name of the library in events (`tls.library`).
pub const LIBRARY: &str = "gnutls";
/// Whoever has this function carries the library.
pub const KEY: &str = "gnutls_record_send";
/// What sending is done by since 3.6.3.
const SEND2: &str = "gnutls_record_send2";

const SEND: &str =
    "ssize_t gnutls_record_send(gnutls_session_t session, const void *data, size_t data_size);";
const SEND_2: &str = "ssize_t gnutls_record_send2(gnutls_session_t session, const void *data, size_t data_size, size_t pad, unsigned flags);";
const RECV: &str =
    "ssize_t gnutls_record_recv(gnutls_session_t session, void *data, size_t data_size);";
const RECV_SEQ: &str = "ssize_t gnutls_record_recv_seq(gnutls_session_t session, void *data, size_t data_size, unsigned char *seq);";
const HANDSHAKE: &str = "int gnutls_handshake(gnutls_session_t session);";
const NAME: &str = "int gnutls_server_name_set(gnutls_session_t session, gnutls_server_name_type_t type, const void *name, size_t name_length);";

/// Calls that move plaintext, then those that tell names and ends. Of a return, the shape is that of OpenSSL's `int` forms.
const ROWS: [Row; 12] = [
    row("gnutls_record_send2", SEND_2, "gnutls_send2", Place::EntryWithReturn),
    row("gnutls_record_send2", SEND_2, "tls_write_done", Place::Return),
    row(KEY, SEND, "gnutls_send", Place::EntryWithReturn),
    row(KEY, SEND, "tls_write_done", Place::Return),
    row("gnutls_record_recv", RECV, "gnutls_recv", Place::EntryWithReturn),
    row("gnutls_record_recv", RECV, "tls_read_done", Place::Return),
    row("gnutls_record_recv_seq", RECV_SEQ, "gnutls_recv_seq", Place::EntryWithReturn),
    row("gnutls_record_recv_seq", RECV_SEQ, "tls_read_done", Place::Return),
    row("gnutls_handshake", HANDSHAKE, "gnutls_handshake", Place::EntryWithReturn),
    row("gnutls_handshake", HANDSHAKE, "tls_handshake_done", Place::Return),
    row("gnutls_server_name_set", NAME, "gnutls_server_name", Place::Entry),
    row(
        "gnutls_deinit",
        "void gnutls_deinit(gnutls_session_t session);",
        "gnutls_deinit",
        Place::Entry,
    ),
];

/// Every function name that is looked for.
pub(super) fn functions() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.function)
}

/// Turns the symbols of a file into probes.
pub(super) fn resolve(image: &Image<'_>) -> Option<Part> {
    let send = image.function(KEY)?;
    let mut part = Part::new(Library::GnuTls);
    part.carried = Some(Carried { library: Library::GnuTls, resolution: Resolution::Symbols });
    // A wrapper that jumps on is seen where it jumps to.
    let wrapper = image.function(SEND2).is_some() && prologue::jumps_on(&send.code, send.address);
    for row in ROWS.iter().filter(|row| !(wrapper && row.function == KEY)) {
        part.push(image, row);
    }
    Some(part)
}
