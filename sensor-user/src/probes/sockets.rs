//! The symbols of a C library come in; the probes on its sending functions go out, for libraries without a channel.

use super::elf::Image;
use super::library::Library;
use super::plan::Part;
use super::row::{Place, Row, row};

/// Word in metrics for the probes on the C library.
pub const NAME: &str = "libc";
/// Whoever has this function and [`START`] is a C library.
const KEY: &str = "sendmsg";
/// What every C library starts programs with.
const START: &str = "__libc_start_main";

/// Under a TLS call, what is sent is a TLS record.
const ROWS: [Row; 4] = [
    row(
        KEY,
        "ssize_t sendmsg(int sockfd, const struct msghdr *msg, int flags);",
        "socket_sendmsg",
        Place::Entry,
    ),
    row(
        "send",
        "ssize_t send(int sockfd, const void *buf, size_t len, int flags);",
        "socket_send",
        Place::Entry,
    ),
    row(
        "writev",
        "ssize_t writev(int fd, const struct iovec *iov, int iovcnt);",
        "socket_writev",
        Place::Entry,
    ),
    row(
        "write",
        "ssize_t write(int fd, const void *buf, size_t count);",
        "socket_write",
        Place::Entry,
    ),
];

/// Every function name that is looked for.
pub(super) fn functions() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.function).chain([START])
}

/// Turns the symbols of a C library into probes; a program that defines such names itself is none.
pub(super) fn resolve(image: &Image<'_>) -> Option<Part> {
    image.function(START)?;
    image.function(KEY)?;
    let mut part = Part::new(Library::Sockets);
    for row in &ROWS {
        part.push(image, row);
    }
    Some(part)
}
