//! Other families, namespaces, transports and middlemen.

use serde_json::json;
use tollgate_tests::lab::net::address_of;

use super::harmless::neighbour;
use super::rows::{Row, detected, not_covered, refused};
use super::stage::{DENIED, Stage, compare};

pub(super) const ROWS: [Row; 15] = [
    refused(
        "mapped IPv4",
        "`::ffff:a.b.c.d` is the IPv4 address, and the hello is read in any case",
    ),
    refused(
        "CONNECT proxy",
        "on this machine, in a process that is not enforced: the hello comes by behind the greeting",
    ),
    refused("SOCKS proxy", "as above"),
    refused("greeting in single bytes", "to such a proxy: how many writes it takes ends no watch"),
    refused(
        "greeting that ends like a record",
        "its last byte by itself, before the hello: what may hide a hello counts as one",
    ),
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
    not_covered(
        "plain HTTP to another port",
        "than 80 and 443, at the provider's address: others may have the same one; call such addresses `dedicated`",
    ),
];

#[test]
fn families_and_middlemen() {
    let stage = Stage::new("network", "").unwrap();
    stage.check(&ROWS[..6]);
    let plain = |row: &Row| {
        let mut spec = stage.spec(row.way);
        spec["way"] = json!("plain");
        spec
    };
    compare(&[
        (&ROWS[6], stage.try_in(0, &plain(&ROWS[6]))),
        (&ROWS[7], stage.try_in(1, &plain(&ROWS[7]))),
    ]);
    let by_curl = stage.try_in(0, &stage.spec(ROWS[11].way));
    // Without an address from its name server, curl would have failed for another reason.
    let address = address_of(DENIED).unwrap().to_string();
    assert_eq!(by_curl.as_ref().unwrap().outcome["resolved"], address.as_str(), "{by_curl:?}");
    compare(&[(&ROWS[10], stage.try_in(0, &stage.spec(ROWS[10].way))), (&ROWS[11], by_curl)]);
}

#[test]
fn quic() {
    let orders = format!(
        "[[dedicated]]\nprovider = \"groq\"\naddresses = [\"{}\"]\n",
        address_of(DENIED).unwrap()
    );
    let stage = Stage::new("quic", &orders).unwrap();
    let datagram = include_bytes!("../../corpus/quic/version-1-0.bin").as_slice();
    let tried: Vec<_> = ROWS[8..10]
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
    for (row, refuses) in [(&ROWS[12], false), (&ROWS[13], true)] {
        let orders = format!("deny_paths = [\"openai * /none\"]\nrefuse_opaque = {refuses}\n");
        let stage = Stage::new(&format!("shared-{refuses}"), &orders).unwrap();
        let mut spec = stage.spec(row.way);
        spec["way"] = json!(ROWS[12].way);
        compare(&[(row, stage.try_told(0, &spec))]);
    }
}

#[test]
fn plain_text_to_another_port() {
    let stage = Stage::new("elsewhere", "").unwrap();
    let _neighbour = neighbour(&stage);
    stage.check(&ROWS[14..]);
}
