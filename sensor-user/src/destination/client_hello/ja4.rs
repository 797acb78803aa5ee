//! A ClientHello comes in; the JA4 fingerprint of its sender goes out (`FoxIO`, JA4: TLS client fingerprinting).

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::{ALPN, ClientHello, SERVER_NAME, is_grease};

/// Hexadecimal digits kept of each hash.
const HASH_DIGITS: usize = 12;

/// `t13d1516h2_8daaf6152771_e5627efa2ab1`: transport, version, name, counts and protocol; suites; extensions with signatures.
pub(super) fn fingerprint(hello: &ClientHello, over_quic: bool) -> String {
    let mut ciphers: Vec<_> = hello.ciphers.iter().filter(|value| !is_grease(**value)).collect();
    let extensions: Vec<_> = hello.extensions.iter().filter(|value| !is_grease(**value)).collect();
    let transport = if over_quic { 'q' } else { 't' };
    let version = match hello.versions.iter().max() {
        Some(0x0304) => "13",
        Some(0x0303) => "12",
        Some(0x0302) => "11",
        Some(0x0301) => "10",
        _ => "00",
    };
    let named = if hello.extensions.contains(&SERVER_NAME) { 'd' } else { 'i' };
    let (cipher_count, extension_count) = (ciphers.len().min(99), extensions.len().min(99));
    let protocol = protocol(hello.alpn.first().map(String::as_str));
    ciphers.sort_unstable();
    let suites = hash(&list(&ciphers));
    let mut sorted: Vec<_> =
        extensions.into_iter().filter(|kind| ![SERVER_NAME, ALPN].contains(kind)).collect();
    sorted.sort_unstable();
    let mut tail = list(&sorted);
    let signatures: Vec<_> = hello.signatures.iter().filter(|value| !is_grease(**value)).collect();
    if !signatures.is_empty() {
        tail.push('_');
        tail.push_str(&list(&signatures));
    }
    format!(
        "{transport}{version}{named}{cipher_count:02}{extension_count:02}{protocol}_{suites}_{}",
        hash(&tail)
    )
}

/// First and last character of the first protocol offered; of others than letters and digits, those of its hexadecimal form.
fn protocol(first: Option<&str>) -> String {
    let Some(name) = first.filter(|name| !name.is_empty()) else { return "00".to_owned() };
    let ends = |text: &str| text.chars().next().into_iter().chain(text.chars().last()).collect();
    let pair: String = ends(name);
    if pair.chars().all(|end| end.is_ascii_alphanumeric()) {
        return pair;
    }
    ends(&name.bytes().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    }))
}

fn list(values: &[&u16]) -> String {
    let words: Vec<_> = values.iter().map(|value| format!("{value:04x}")).collect();
    words.join(",")
}

fn hash(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(HASH_DIGITS);
    }
    let mut digits = String::new();
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _written = write!(digits, "{byte:02x}");
    }
    digits.truncate(HASH_DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the public description.
    #[test]
    fn published_example_has_its_published_fingerprint() {
        let hello = ClientHello {
            alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
            versions: vec![0x0304, 0x0303],
            ciphers: vec![
                0x1a1a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8,
                0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ],
            extensions: vec![
                0x2a2a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005,
                0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015,
            ],
            signatures: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            ..ClientHello::default()
        };
        assert_eq!(hello.ja4(false), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        assert!(hello.ja4(true).starts_with("q13d1516h2_"));
    }

    #[test]
    fn bare_hello_has_a_fingerprint_too() {
        assert_eq!(ClientHello::default().ja4(false), "t00i000000_000000000000_000000000000");
        assert_eq!(protocol(Some("\u{1}x")), "08");
    }
}
