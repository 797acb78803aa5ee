//! A file's symbols come in; the probes on the functions of NSPR, through which NSS is called, and of NSS itself go out.

use super::elf::Image;
use super::library::{Carried, Library, Resolution};
use super::plan::Part;
use super::row::{Place, Row, row};

/// Name of the library in events (`tls.library`).
pub const LIBRARY: &str = "nss";
/// Whoever has this function carries input and output.
pub const KEY: &str = "PR_Send";
/// Whoever has this function carries TLS.
pub const TLS_KEY: &str = "SSL_SetURL";

const SEND: &str = "PRInt32 PR_Send(PRFileDesc *fd, const void *buf, PRInt32 amount, PRIntn flags, PRIntervalTime timeout);";
const WRITE: &str = "PRInt32 PR_Write(PRFileDesc *fd, const void *buf, PRInt32 amount);";
const RECV: &str = "PRInt32 PR_Recv(PRFileDesc *fd, void *buf, PRInt32 amount, PRIntn flags, PRIntervalTime timeout);";
const READ: &str = "PRInt32 PR_Read(PRFileDesc *fd, void *buf, PRInt32 amount);";
const CLOSE: &str = "PRStatus PR_Close(PRFileDesc *fd);";
const URL: &str = "SECStatus SSL_SetURL(PRFileDesc *fd, const char *url);";
const HANDSHAKE: &str = "SECStatus SSL_ForceHandshake(PRFileDesc *fd);";
const WITH_TIMEOUT: &str =
    "SECStatus SSL_ForceHandshakeWithTimeout(PRFileDesc *fd, PRIntervalTime timeout);";

/// Calls that move plaintext, then those that tell names and ends.
const ROWS: [Row; 14] = [
    row(KEY, SEND, "nss_send", Place::EntryWithReturn),
    row(KEY, SEND, "tls_write_done", Place::Return),
    row("PR_Write", WRITE, "nss_write", Place::EntryWithReturn),
    row("PR_Write", WRITE, "tls_write_done", Place::Return),
    row("PR_Recv", RECV, "nss_recv", Place::EntryWithReturn),
    row("PR_Recv", RECV, "tls_read_done", Place::Return),
    row("PR_Read", READ, "nss_read", Place::EntryWithReturn),
    row("PR_Read", READ, "tls_read_done", Place::Return),
    row("PR_Close", CLOSE, "nss_close", Place::Entry),
    row("SSL_ForceHandshake", HANDSHAKE, "nss_handshake", Place::EntryWithReturn),
    row("SSL_ForceHandshake", HANDSHAKE, "tls_handshake_done", Place::Return),
    row(
        "SSL_ForceHandshakeWithTimeout",
        WITH_TIMEOUT,
        "nss_handshake_within",
        Place::EntryWithReturn,
    ),
    row("SSL_ForceHandshakeWithTimeout", WITH_TIMEOUT, "tls_handshake_done", Place::Return),
    row(TLS_KEY, URL, "nss_url", Place::Entry),
];

/// Every function name that is looked for.
pub(super) fn functions() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.function)
}

/// Turns the symbols of a file into probes: input and output stand in a file of their own, or in one with the rest.
pub(super) fn resolve(image: &Image<'_>) -> Option<Part> {
    let carries = image.function(KEY).is_some();
    if !carries && image.function(TLS_KEY).is_none() {
        return None;
    }
    let mut part = Part::new(Library::Nss);
    part.carried =
        carries.then_some(Carried { library: Library::Nss, resolution: Resolution::Symbols });
    for row in &ROWS {
        part.push(image, row);
    }
    Some(part)
}
