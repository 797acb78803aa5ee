//! Other ways to connect and to write than those of most programs.

use serde_json::json;
use tollgate_tests::lab::net::address_of;

use super::rows::{Row, not_covered, refused};
use super::stage::{DENIED, Stage, compare};

pub(super) const ROWS: [Row; 10] = [
    refused("MPTCP", "such a socket cannot be watched, so it is not made"),
    refused(
        "Fast Open",
        "the hello leaves with the SYN; a record of TLS before any hello counts as unreadable",
    ),
    refused("sendfile", "the message comes by, whoever made it"),
    refused("splice", "as above"),
    refused("MSG_ZEROCOPY", "as above"),
    refused("io_uring", "connect and send come by the same hooks"),
    refused(
        "TLS in the kernel",
        "`TCP_ULP` is refused on a socket that may lead to AI: the library makes its records itself then, and its hello comes by",
    ),
    refused(
        "raw socket",
        "datagrams and segments made by hand: only raw ICMP is let be; sockets of `AF_PACKET` pass no such hook, so take `CAP_NET_RAW` away",
    ),
    refused(
        "written by ptrace from outside",
        "the socket is that of an enforced process, whoever has it written",
    ),
    not_covered(
        "written by ptrace into others",
        "a process that is not enforced is made to ask: take `CAP_SYS_PTRACE` away, or enforce that process too",
    ),
];

/// `EPERM`: the option is refused, which a kernel without TLS answers with `ENOENT`.
const NOT_PERMITTED: i64 = 1;

#[test]
fn ways_into_the_kernel() {
    let stage = Stage::new("kernel", "").unwrap();
    stage.check(&ROWS[..6]);
    let in_kernel = stage.try_in(0, &stage.spec(ROWS[6].way));
    let option = in_kernel.as_ref().map(|tried| tried.outcome["option"].as_i64());
    assert!(matches!(option, Ok(Some(NOT_PERMITTED))), "{in_kernel:?}");
    compare(&[(&ROWS[6], in_kernel)]);
    stage.check(&ROWS[8..]);
}

#[test]
fn datagrams_made_by_hand() {
    let orders = format!(
        "[[dedicated]]\nprovider = \"groq\"\naddresses = [\"{}\"]\n",
        address_of(DENIED).unwrap()
    );
    let stage = Stage::new("raw", &orders).unwrap();
    let mut spec = stage.spec(ROWS[7].way);
    let datagram = include_bytes!("../../corpus/quic/version-1-0.bin").as_slice();
    spec["datagram"] = json!(datagram);
    compare(&[(&ROWS[7], stage.try_in(0, &spec))]);
}
