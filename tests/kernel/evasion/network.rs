//! Other families, namespaces, transports and middlemen.

use serde_json::json;
use tollgate_tests::lab::net::address_of;

use super::rows::{Row, not_covered, refused};
use super::stage::{DENIED, Stage, compare};

pub(super) const ROWS: [Row; 8] = [
    refused(
        "mapped IPv4",
        "`::ffff:a.b.c.d` is the IPv4 address, and the hello is read in any case",
    ),
    refused(
        "CONNECT proxy",
        "on this machine, in a process that is not enforced: the hello comes by behind the greeting",
    ),
    refused("SOCKS proxy", "as above"),
    not_covered(
        "encrypted tunnel",
        "TLS inside of TLS, as through ssh: refuse what is not approved by name, and the tunnel's far end with it",
    ),
    refused(
        "address from elsewhere",
        "a file of hosts, DNS over HTTPS: the name in the hello decides",
    ),
    refused("network namespace of its own", "hooks of a cgroup do not ask for namespaces"),
    refused("QUIC, connected", "datagrams to port 443 of a provider's address"),
    refused("QUIC, not connected", "as above"),
];

#[test]
fn families_and_middlemen() {
    let stage = Stage::new("network", "").unwrap();
    stage.check(&ROWS[..4]);
    let plain = |row: &Row| {
        let mut spec = stage.spec(row.way);
        spec["way"] = json!("plain");
        spec
    };
    compare(&[
        (&ROWS[4], stage.try_in(0, &plain(&ROWS[4]))),
        (&ROWS[5], stage.try_in(1, &plain(&ROWS[5]))),
    ]);
}

#[test]
fn quic() {
    let orders = format!(
        "[[dedicated]]\nprovider = \"groq\"\naddresses = [\"{}\"]\n",
        address_of(DENIED).unwrap()
    );
    let stage = Stage::new("quic", &orders).unwrap();
    let datagram = include_bytes!("../../corpus/quic/version-1-0.bin").as_slice();
    let tried: Vec<_> = ROWS[6..]
        .iter()
        .map(|row| {
            let mut spec = stage.spec(row.way);
            spec["datagram"] = json!(datagram);
            (row, stage.try_in(0, &spec))
        })
        .collect();
    compare(&tried);
}
