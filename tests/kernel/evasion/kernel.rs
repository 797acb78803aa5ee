//! Other ways to connect and to write than those of most programs.

use super::rows::{Row, refused};
use super::stage::Stage;

pub(super) const ROWS: [Row; 6] = [
    refused("MPTCP", "such a socket cannot be watched, so it is not made"),
    refused(
        "Fast Open",
        "the hello leaves with the SYN; a record of TLS before any hello counts as unreadable",
    ),
    refused("sendfile", "the message comes by, whoever made it"),
    refused("splice", "as above"),
    refused("MSG_ZEROCOPY", "as above"),
    refused("io_uring", "connect and send come by the same hooks"),
];

#[test]
fn ways_into_the_kernel() {
    Stage::new("kernel", "").unwrap().check(&ROWS);
}
