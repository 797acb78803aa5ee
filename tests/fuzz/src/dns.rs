//! A DNS message comes in; its name must be plain, and a message cut short must say nothing that the whole does not. Messages
//! over TCP are the same however they are cut.

use sensor_user::destination::dns::parse;
use sensor_user::destination::dns_stream::{Segment, Streams};

use crate::input::Choices;

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    streams(data);
    let Ok(whole) = parse(data) else { return };
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    assert!(whole.name.bytes().all(plain) && whole.name.len() <= 253, "a name is plain");
    assert!(whole.addresses.len() <= 64, "addresses are over their bound");
    for end in 0..data.len() {
        if let Some(Ok(cut)) = data.get(..end).map(parse) {
            assert_eq!(cut.name, whole.name, "a cut changes the name");
            assert!(whole.addresses.starts_with(&cut.addresses), "a cut invents an address");
        }
    }
}

/// Pushes bytes in segments; gives the messages. Behind what is no DNS each segment begins anew, so that cuts count there.
fn pushed(parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut streams, mut sequence, mut messages) = (Streams::default(), u32::MAX - 3, Vec::new());
    for &bytes in parts {
        let segment = Segment { cookie: 1, sequence, bytes, length: bytes.len(), at_ns: 0 };
        messages.extend(streams.push(&segment).expect("one connection has room"));
        sequence = sequence.wrapping_add(u32::try_from(bytes.len()).unwrap_or_default());
    }
    messages
}

fn streams(data: &[u8]) {
    // As many messages as there are, each behind its length.
    let mut choices = Choices::of(data);
    let mut bytes = Vec::new();
    let said: Vec<_> = choices.parts(data).into_iter().filter(|part| part.len() >= 12).collect();
    for part in &said {
        bytes.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(part.iter().take(usize::from(u16::MAX)));
    }
    let parts = choices.parts(&bytes);
    assert_eq!(pushed(&parts), said, "cuts change nothing");
    let parts = choices.parts(data);
    let total: usize = pushed(&parts).iter().map(Vec::len).sum();
    assert!(total <= data.len(), "more comes out than came in");
}
