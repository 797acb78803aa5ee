//! A value that must never be printed comes in; only its length can be formatted.

use std::fmt;

use zeroize::Zeroize;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_only_the_length() {
        let secret = Redacted::new(b"sk-test-not-a-real-key".to_vec());
        assert_eq!(format!("{secret:?}"), "Redacted(22 bytes)");
    }
}
