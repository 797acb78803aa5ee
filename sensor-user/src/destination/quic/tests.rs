//! Datagrams that a real QUIC client sent come in; the name in them is compared.

use super::*;

const VERSION_1: &[u8] = include_bytes!("../../../../tests/corpus/quic/version-1-0.bin");
const VERSION_2: &[u8] = include_bytes!("../../../../tests/corpus/quic/version-2-0.bin");
const FIRST: &[u8] = include_bytes!("../../../../tests/corpus/quic/two-datagrams-0.bin");
const SECOND: &[u8] = include_bytes!("../../../../tests/corpus/quic/two-datagrams-1.bin");

fn name(hello: Option<Box<ClientHello>>) -> Option<String> {
    hello.and_then(|hello| hello.server_name)
}

#[test]
fn name_is_read_from_both_versions() {
    for datagram in [VERSION_1, VERSION_2] {
        let hello = Assembler::default().push(datagram).unwrap();
        assert!(hello.as_ref().unwrap().ja4(true).starts_with("q13d"));
        assert_eq!(name(hello).as_deref(), Some("api.openai.com"));
    }
}

#[test]
fn hello_over_two_datagrams_is_whole_in_either_order() {
    for order in [[FIRST, SECOND], [SECOND, FIRST]] {
        let mut assembler = Assembler::default();
        assert!(!assembler.is_begun());
        assert_eq!(assembler.push(order[0]), Ok(None));
        assert!(assembler.is_begun());
        assert_eq!(name(assembler.push(order[1]).unwrap()).as_deref(), Some("api.openai.com"));
    }
}

#[test]
fn other_datagrams_are_told() {
    assert_eq!(Assembler::default().push(b""), Err(Error::NotQuic));
    assert_eq!(Assembler::default().push(b"\x40short header"), Err(Error::NotQuic));
    let mut odd = VERSION_1.to_vec();
    odd[1] = 0xff;
    assert_eq!(Assembler::default().push(&odd), Err(Error::Version(0xff00_0001)));
}

#[test]
fn damaged_datagram_is_refused_and_never_panics() {
    let padding = packet::next(VERSION_1).unwrap().1.len();
    let end = VERSION_1.len() - padding;
    for at in 0..VERSION_1.len() {
        let mut odd = VERSION_1.to_vec();
        odd[at] ^= 0x55;
        // Behind the packet there is only padding.
        assert_eq!(Assembler::default().push(&odd).is_ok(), at >= end, "{at}");
        assert_eq!(Assembler::default().push(&VERSION_1[..at]).is_ok(), at >= end, "{at}");
    }
}
