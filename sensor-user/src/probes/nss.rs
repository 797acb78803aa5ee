//! A file's symbols come in; the probes on the functions of NSS and NSPR go out.
//!
//! TLS descriptors are written and read with the functions of NSPR, as files are; only those that NSS took over count.

use super::elf::Image;
use super::library::{Carried, Library, Resolution};
use super::plan::Part;
use super::row::{Place, Row, row};

/// Name of the library in events (`tls.library`).
pub const LIBRARY: &str = "nss";
/// Whoever has this function makes TLS objects.
pub const KEY: &str = "SSL_ImportFD";
/// Whoever has this function moves their plaintext (`libnspr4`).
pub const DATA_KEY: &str = "PR_Write";

const WRITE: &str = "PRInt32 PR_Write(PRFileDesc *fd, const void *buf, PRInt32 amount);";
const SEND: &str = "PRInt32 PR_Send(PRFileDesc *fd, const void *buf, PRInt32 amount, PRIntn flags, PRIntervalTime timeout);";
const READ: &str = "PRInt32 PR_Read(PRFileDesc *fd, void *buf, PRInt32 amount);";
const RECV: &str = "PRInt32 PR_Recv(PRFileDesc *fd, void *buf, PRInt32 amount, PRIntn flags, PRIntervalTime timeout);";
const HANDSHAKE: &str = "SECStatus SSL_ForceHandshake(PRFileDesc *fd);";

/// What makes TLS objects stands before what moves their bytes.
const ROWS: [Row; 13] = [
    row(
        KEY,
        "PRFileDesc *SSL_ImportFD(PRFileDesc *model, PRFileDesc *fd);",
        "nss_import",
        Place::Return,
    ),
    row(
        "SSL_SetURL",
        "SECStatus SSL_SetURL(PRFileDesc *fd, const char *url);",
        "nss_set_url",
        Place::Entry,
    ),
    row("SSL_ForceHandshake", HANDSHAKE, "nss_handshake", Place::EntryWithReturn),
    row("SSL_ForceHandshake", HANDSHAKE, "tls_handshake_done", Place::Return),
    row(DATA_KEY, WRITE, "nss_write", Place::EntryWithReturn),
    row(DATA_KEY, WRITE, "tls_write_done", Place::Return),
    row("PR_Send", SEND, "nss_send", Place::EntryWithReturn),
    row("PR_Send", SEND, "tls_write_done", Place::Return),
    row("PR_Read", READ, "nss_read", Place::EntryWithReturn),
    row("PR_Read", READ, "tls_read_done", Place::Return),
    row("PR_Recv", RECV, "nss_recv", Place::EntryWithReturn),
    row("PR_Recv", RECV, "tls_read_done", Place::Return),
    row("PR_Close", "PRStatus PR_Close(PRFileDesc *fd);", "nss_close", Place::Entry),
];

/// Every function name that is looked for.
pub(super) fn functions() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.function)
}

/// Turns the symbols of a file into probes; NSPR alone, without NSS, carries no TLS.
pub(super) fn resolve(image: &Image<'_>) -> Option<Part> {
    let mut part = Part::new(Library::Nss);
    if image.function(KEY).is_some() {
        part.carried = Some(Carried { library: Library::Nss, resolution: Resolution::Symbols });
    }
    for row in &ROWS {
        part.push(image, row);
    }
    (!part.probes.is_empty()).then_some(part)
}
