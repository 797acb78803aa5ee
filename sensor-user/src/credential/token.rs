//! The value of a credential field comes in; the part of it that names one key, and its form, go out.

use std::borrow::Cow;

/// Longest Basic value that is decoded, in bytes; header fields are shorter, and a longer one is kept as it is.
const BASIC_BYTES_MAX: usize = 8192;

/// What a field's value turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A key.
    Key(Cow<'a, [u8]>),
    /// A signed JSON token.
    Jwt(&'a [u8]),
    /// A user name and a password; neither is shown.
    Pair(&'a [u8]),
}

/// Reads the value of a field under its authorization scheme.
pub(super) fn read<'a>(scheme: Option<&str>, value: &'a [u8]) -> Token<'a> {
    let value = value.trim_ascii();
    let is = |name: &str| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(name));
    if is("basic") {
        return basic(value);
    }
    if is("aws4-hmac-sha256") || is("aws4-ecdsa-p256-sha256") || value.starts_with(b"AWS4-") {
        return Token::Key(Cow::Borrowed(aws_key_id(value).unwrap_or(value)));
    }
    if is_jwt(value) { Token::Jwt(value) } else { Token::Key(Cow::Borrowed(value)) }
}

/// RFC 7617: base64 of `user:password`. Services that take a key this way leave the other side empty.
fn basic(value: &[u8]) -> Token<'_> {
    let Some(decoded) = decode_base64(value) else { return Token::Pair(value) };
    let mut sides = decoded.splitn(2, |byte| *byte == b':');
    match (sides.next().unwrap_or_default(), sides.next().unwrap_or_default()) {
        (key, b"") | (b"", key) if !key.is_empty() => Token::Key(Cow::Owned(key.to_vec())),
        _ => Token::Pair(value),
    }
}

/// Signature Version 4: `Credential=AKIA…/date/region/service/aws4_request`; the id names the key, the rest changes.
fn aws_key_id(value: &[u8]) -> Option<&[u8]> {
    let start = memchr::memmem::find(value, b"Credential=")?.saturating_add(b"Credential=".len());
    value
        .get(start..)?
        .split(|byte| matches!(byte, b'/' | b',' | b' '))
        .next()
        .filter(|id| !id.is_empty())
}

/// RFC 7519: three parts of base64url; the first is a JSON object, hence begins with `eyJ`.
fn is_jwt(value: &[u8]) -> bool {
    let parts = value.split(|byte| *byte == b'.');
    let is_part = |part: &[u8]| {
        part.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'='))
    };
    value.starts_with(b"eyJ") && parts.clone().count() == 3 && parts.into_iter().all(is_part)
}

fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > BASIC_BYTES_MAX {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in text.trim_ascii_end().iter().filter(|byte| **byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte.saturating_sub(b'A'),
            b'a'..=b'z' => byte.saturating_sub(b'a').saturating_add(26),
            b'0'..=b'9' => byte.saturating_sub(b'0').saturating_add(52),
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        held = held.saturating_add(6);
        if held >= 8 {
            held = held.saturating_sub(8);
            out.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Token<'_> {
        Token::Key(Cow::Borrowed(text.as_bytes()))
    }

    #[test]
    fn the_key_is_taken_out_of_its_field() {
        const AWS: &str = "Credential=AKIAFAKEFAKEFAKEFAKE/20261123/us-east-1/bedrock/aws4_request, SignedHeaders=host";
        let cases = [
            (Some("Bearer"), " sk-fake ", key("sk-fake")),
            (None, "sk-fake", key("sk-fake")),
            (Some("Basic"), "c2stZmFrZTo=", key("sk-fake")),
            (Some("basic"), "OnNrLWZha2U=", key("sk-fake")),
            (Some("Basic"), "dXNlcjpwYXNz", Token::Pair(b"dXNlcjpwYXNz")),
            (Some("Basic"), "!!", Token::Pair(b"!!")),
            (Some("Basic"), "", Token::Pair(b"")),
            (Some("AWS4-HMAC-SHA256"), AWS, key("AKIAFAKEFAKEFAKEFAKE")),
            (Some("AWS4-HMAC-SHA256"), "AKIAFAKEFAKEFAKEFAKE", key("AKIAFAKEFAKEFAKEFAKE")),
            (
                Some("Bearer"),
                "eyJhbGciOiJub25lIn0.eyJzdWIiOiJmYWtlIn0.c2ln",
                Token::Jwt(b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJmYWtlIn0.c2ln"),
            ),
            (Some("Bearer"), "eyJub3RhandrZXk", key("eyJub3RhandrZXk")),
        ];
        for (scheme, value, expected) in cases {
            assert_eq!(read(scheme, value.as_bytes()), expected, "{scheme:?} {value}");
        }
    }

    #[test]
    fn base64_beyond_the_bound_is_not_decoded() {
        let long = "QUFB".repeat(BASIC_BYTES_MAX);
        assert_eq!(read(Some("Basic"), long.as_bytes()), Token::Pair(long.as_bytes()));
    }
}
