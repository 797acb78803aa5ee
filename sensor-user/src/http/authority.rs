//! A `Host` value or `:authority` comes in; the lowercase name, without the port every HTTPS client leaves out, goes out.

use bytes::Bytes;

/// Longest authority kept, in bytes: a DNS name has at most 253 (RFC 1035, 2.3.4), a port six.
const AUTHORITY_BYTES_MAX: usize = 260;

/// Normalises an authority: lowercase, no user information, no `:443`, no blanks; empty where it is too long.
pub fn authority(raw: &[u8]) -> Bytes {
    let raw = raw.trim_ascii();
    // RFC 3986, 3.2.1: what stands before the last `@` is not the host.
    let raw =
        memchr::memrchr(b'@', raw).and_then(|at| raw.get(at.saturating_add(1)..)).unwrap_or(raw);
    let raw = raw.strip_suffix(b":443").unwrap_or(raw);
    if raw.len() > AUTHORITY_BYTES_MAX {
        return Bytes::new();
    }
    Bytes::from(raw.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: &[(&[u8], &[u8])] = &[
        (b"api.openai.com", b"api.openai.com"),
        (b" API.OpenAI.com:443 ", b"api.openai.com"),
        (b"127.0.0.1:8443", b"127.0.0.1:8443"),
        (b"[::1]:443", b"[::1]"),
        (b"someone@api.anthropic.com", b"api.anthropic.com"),
        (b"", b""),
    ];

    #[test]
    fn authority_is_lowercase_and_without_the_usual_port() {
        for (raw, expected) in CASES {
            assert_eq!(authority(raw), expected, "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn endless_authority_is_dropped() {
        assert!(authority(&[b'a'; 300]).is_empty());
    }
}
