//! A DNS message comes in; its name must be plain, and a message cut short must say nothing that the whole does not.

use sensor_user::destination::dns::parse;

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
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
