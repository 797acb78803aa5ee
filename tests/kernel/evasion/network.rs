//! Other families, namespaces, transports and middlemen.

use serde_json::json;
use tollgate_tests::lab::net::address_of;

use super::rows::{Row, detected, not_covered, refused};
use super::stage::{DENIED, Stage, compare};

pub(super) const ROWS: [Row; 12] = [
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
    refused("IPv6", "the name in the hello decides, whatever the family"),
    refused(
        "DNS over HTTPS, by curl",
        "the name in the hello decides, however its address was found",
    ),
    detected(
        "HTTP/2 for another host",
        "on a connection to an allowed one (coalescing): requests of HTTP/2 are not judged before they leave; told as `http_2_not_judged`, and `fronted` where the call is seen",
    ),
    refused("HTTP/2 for another host, no opaque", "the same with `refuse_opaque = true`"),
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
    let by_curl = stage.try_in(0, &stage.spec(ROWS[9].way));
    // Without an address from its name server, curl would have failed for another reason.
    let address = address_of(DENIED).unwrap().to_string();
    assert_eq!(by_curl.as_ref().unwrap().outcome["resolved"], address.as_str(), "{by_curl:?}");
    compare(&[(&ROWS[8], stage.try_in(0, &stage.spec(ROWS[8].way))), (&ROWS[9], by_curl)]);
}

#[test]
fn quic() {
    let orders = format!(
        "[[dedicated]]\nprovider = \"groq\"\naddresses = [\"{}\"]\n",
        address_of(DENIED).unwrap()
    );
    let stage = Stage::new("quic", &orders).unwrap();
    let datagram = include_bytes!("../../corpus/quic/version-1-0.bin").as_slice();
    let tried: Vec<_> = ROWS[6..8]
        .iter()
        .map(|row| {
            let mut spec = stage.spec(row.way);
            spec["datagram"] = json!(datagram);
            (row, stage.try_in(0, &spec))
        })
        .collect();
    compare(&tried);
}

#[test]
fn requests_that_share_a_connection() {
    for (row, refuses) in [(&ROWS[10], false), (&ROWS[11], true)] {
        let orders = format!("deny_paths = [\"openai * /none\"]\nrefuse_opaque = {refuses}\n");
        let stage = Stage::new(&format!("shared-{refuses}"), &orders).unwrap();
        let mut spec = stage.spec(row.way);
        spec["way"] = json!(ROWS[10].way);
        compare(&[(row, stage.try_told(0, &spec))]);
    }
}
