//! ClientHellos made by hand come in; what is read of them is compared.

use super::*;

fn prefixed(width: usize, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let skipped = length.len().saturating_sub(width);
    [&length[skipped..], content].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().to_vec(), prefixed(2, data)].concat()
}

/// A record that holds `content`.
pub(in crate::destination) fn record(content: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &prefixed(2, content)].concat()
}

fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(prefixed(1, &[9; 32]));
    body.extend(prefixed(2, &[0x13, 0x01, 0x2a, 0x2a, 0xc0, 0x2f]));
    body.extend(prefixed(1, &[0]));
    body.extend(prefixed(2, &extensions.concat()));
    [&[1][..], &prefixed(3, &body)].concat()
}

fn named(name: &[u8]) -> Vec<u8> {
    let entry = [&[0][..], &prefixed(2, name)].concat();
    extension(SERVER_NAME, &prefixed(2, &entry))
}

/// A ClientHello that asks for `name`.
pub(in crate::destination) fn hello(name: &str) -> Vec<u8> {
    message(&[
        extension(0x0a0a, &[]),
        named(name.as_bytes()),
        extension(ALPN, &prefixed(2, b"\x02h2\x08http/1.1")),
        extension(SUPPORTED_VERSIONS, &prefixed(1, &[0x7a, 0x7a, 3, 4, 3, 3])),
    ])
}

fn parsed(bytes: &[u8]) -> ClientHello {
    ClientHello::parse(bytes).unwrap().unwrap()
}

#[test]
fn name_protocols_and_random_are_read() {
    let hello = parsed(&hello("API.OpenAI.com."));
    assert_eq!(hello.server_name.as_deref(), Some("api.openai.com"));
    assert_eq!(hello.alpn, ["h2", "http/1.1"]);
    assert_eq!(hello.random, [7; 32]);
    assert!(!hello.has_encrypted_hello && !hello.is_post_quantum);
    assert!(hello.ja4(false).starts_with("t13d0203h2_"), "{}", hello.ja4(false));
}

#[test]
fn encrypted_hello_and_post_quantum_share_are_told() {
    let share = [vec![0x11, 0xec], prefixed(2, &[1; 1184])].concat();
    let hello = parsed(&message(&[
        extension(KEY_SHARE, &prefixed(2, &share)),
        extension(ENCRYPTED_CLIENT_HELLO, &[0; 32]),
    ]));
    assert!(hello.has_encrypted_hello && hello.is_post_quantum);
    assert_eq!(hello.server_name, None);
}

#[test]
fn name_that_is_no_host_name_is_none() {
    for name in [&b""[..], b"a b", b"a\nb", &[b'a'; 254], b"\xff"] {
        assert_eq!(parsed(&message(&[named(name)])).server_name, None, "{name:x?}");
    }
}

#[test]
fn hello_without_extensions_is_one() {
    let mut body = vec![3, 1];
    body.extend([0; 32]);
    body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let hello = parsed(&[&[1][..], &prefixed(3, &body)].concat());
    assert!(hello.ja4(false).starts_with("t10i010000_"));
}

#[test]
fn damaged_hello_never_panics_and_never_reads_beyond() {
    let whole = hello("api.openai.com");
    for at in 0..whole.len() {
        assert!(matches!(ClientHello::parse(&whole[..at]), Ok(None)), "{at}");
        for value in [0, 1, 0x7f, 0xff] {
            let mut odd = whole.clone();
            odd[at] = value;
            // Whatever comes out, nothing panics and a name is a host name.
            if let Ok(Some(hello)) = ClientHello::parse(&odd) {
                let name = hello.server_name.unwrap_or_default();
                assert!(name.is_empty() || host_name(name.as_bytes()).is_some());
            }
        }
    }
    let mut short = whole;
    short.pop();
    short[3] = short[3].wrapping_sub(1);
    assert_eq!(ClientHello::parse(&short), Err(Error::Malformed));
}
