//! Secrets and words come in; of a secret only the length can be formatted, and a word is told from a key.

use std::fmt;

use zeroize::Zeroize;

/// Alphanumeric characters in a row that no word of a language has, if digits are among them.
const RUN_MIN: usize = 20;
/// Characters of a token that mixes upper case, lower case and digits.
const MIXED_MIN: usize = 32;
/// Characters behind a known prefix that make it a key.
const KEY_REST_MIN: usize = 6;

/// Beginnings of keys and tokens in use, lower case.
const KEY_PREFIXES: [&str; 32] = [
    "sk-",
    "sk_",
    "pk-",
    "pk_live",
    "rk_",
    "ek_",
    "csk-",
    "sess-",
    "aiza",
    "ya29.",
    "gsk_",
    "xai-",
    "hf_",
    "r8_",
    "pplx-",
    "nvapi-",
    "fw_",
    "tgp_",
    "pa-",
    "jina_",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "eyj",
    "npm_",
    "pypi-",
];

/// Wraps a secret (a key, a header value, a body): `Debug` shows only how long it is, and the memory is wiped on drop.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Redacted(Vec<u8>);

impl Redacted {
    /// Takes ownership of the secret bytes.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    /// Shows the bytes to the one stage that needs them; the name is easy to search for in a review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length of the secret in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redacted({} bytes)", self.0.len())
    }
}

impl Drop for Redacted {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Whether a word holds what looks like a key: by a known beginning, or because no word of a language is written so.
pub fn is_key(part: &str) -> bool {
    let token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '~');
    let mut tokens = part.split(|c: char| !token(c));
    tokens.any(|token| {
        has_key_prefix(token) || is_aws_key(token) || has_long_run(token) || is_mixed(token)
    })
}

fn has_key_prefix(token: &str) -> bool {
    let token = token.to_ascii_lowercase();
    KEY_PREFIXES.iter().any(|prefix| {
        let rest = token.strip_prefix(prefix).unwrap_or_default();
        rest.len() >= KEY_REST_MIN
            && (rest.bytes().any(|byte| byte.is_ascii_digit()) || prefix.starts_with("sk"))
    })
}

/// `AKIA…` and `ASIA…`; not `asia-northeast1`.
fn is_aws_key(token: &str) -> bool {
    let rest = token.strip_prefix("AKIA").or_else(|| token.strip_prefix("ASIA"));
    rest.is_some_and(|rest| {
        rest.len() == 16
            && rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    })
}

fn has_long_run(token: &str) -> bool {
    token.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| {
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        run.len() >= RUN_MIN && digits >= 3 && digits < run.len()
    })
}

fn is_mixed(token: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| token.bytes().filter(kind).count() >= 4;
    token.len() >= MIXED_MIN
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_only_the_length() {
        let secret = Redacted::new(b"sk-test-not-a-real-key".to_vec());
        assert_eq!(format!("{secret:?}"), "Redacted(22 bytes)");
    }

    #[test]
    fn keys_are_told_from_words() {
        for key in ["sk-ant-api03-FAKEFAKE", "x:hf_FAKE0000", "0123456789abcdef0123456789abcdef"] {
            assert!(is_key(key), "{key}");
        }
        for word in ["app.py", "claude-sonnet-4-5-20250929", "asia-northeast1", ""] {
            assert!(!is_key(word), "{word}");
        }
    }
}
