//! A credential and the place where it stood come in; what may be kept of it goes out.

use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use sha2::Sha256;
use zeroize::Zeroize;

use crate::credential::FleetKey;
use crate::credential::Identity;
use crate::credential::fleet_key::hex;
use crate::credential::kinds;
use crate::credential::token;
use crate::credential::token::Token;
use crate::provider::CredentialPlace;
use crate::redact::Redacted;

/// Bytes of the HMAC that are kept: 128 bits, so that two keys of a fleet never share a fingerprint.
const FINGERPRINT_BYTES: usize = 16;

/// Shortest key of which any character is shown, in bytes.
const SHOWN_KEY_BYTES_MIN: usize = 20;

/// Fewest characters of a key that stay hidden.
const HIDDEN_BYTES_MIN: usize = 12;

/// Last characters of a key that are shown.
const TAIL_BYTES: usize = 4;

/// What stands for the hidden characters.
const HIDDEN: &str = "…";

/// Turns keys into identities under the key of the fleet.
#[derive(Clone, Debug)]
pub struct Keyring {
    key: FleetKey,
}

impl Keyring {
    /// Takes the fleet's key.
    pub fn new(key: FleetKey) -> Self {
        Self { key }
    }

    /// Identifies the credential of a call; `provider` is `Call::provider`.
    pub fn identify(&self, place: &CredentialPlace, provider: &str) -> Identity {
        match token::read(place.scheme.as_deref(), place.secret.expose()) {
            Token::Key(mut key) => {
                let identity = self.key_identity(&key, provider);
                if let std::borrow::Cow::Owned(decoded) = &mut key {
                    decoded.zeroize();
                }
                identity
            }
            // The claims in the middle name people; what is shown is of the head and the signature.
            Token::Jwt(token) => self.identity(token, kinds::JWT, "eyJ"),
            Token::Pair(value) => Identity {
                fingerprint: self.fingerprint(value),
                kind: kinds::BASIC,
                hint: HIDDEN.to_owned(),
            },
        }
    }

    /// Identifies a bare key, wherever it was found.
    pub fn identify_secret(&self, secret: &Redacted, provider: &str) -> Identity {
        self.key_identity(secret.expose(), provider)
    }

    fn key_identity(&self, key: &[u8], provider: &str) -> Identity {
        let kind = kinds::find(key, provider);
        self.identity(
            key,
            kind.map_or(kinds::UNKNOWN, |kind| &kind.name),
            kind.map_or("", |kind| &kind.prefix),
        )
    }

    fn identity(&self, key: &[u8], kind: &'static str, prefix: &str) -> Identity {
        Identity { fingerprint: self.fingerprint(key), kind, hint: hint(key, prefix) }
    }

    /// First 16 bytes of HMAC-SHA-256 under the fleet's key, in hex.
    pub fn fingerprint(&self, key: &[u8]) -> String {
        // RFC 2104, 2: a key shorter than the block of 64 bytes is filled up with zeros.
        let mut block = [0; 64];
        block.iter_mut().zip(self.key.expose()).for_each(|(to, from)| *to = *from);
        let mac = Hmac::<Sha256>::new(&block.into()).chain_update(key).finalize().into_bytes();
        block.zeroize();
        hex(mac.get(..FINGERPRINT_BYTES).unwrap_or_default())
    }
}

/// Prefix and last characters, where enough stays hidden and the characters can be shown.
fn hint(key: &[u8], prefix: &str) -> String {
    let shown = prefix.len().saturating_add(TAIL_BYTES);
    let tail = key.last_chunk::<TAIL_BYTES>().filter(|tail| tail.iter().all(u8::is_ascii_graphic));
    match tail.and_then(|tail| std::str::from_utf8(tail).ok()) {
        Some(tail)
            if key.len() >= SHOWN_KEY_BYTES_MIN.max(shown.saturating_add(HIDDEN_BYTES_MIN)) =>
        {
            format!("{prefix}{HIDDEN}{tail}")
        }
        _ => HIDDEN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring() -> Keyring {
        Keyring::new(FleetKey::new(std::array::from_fn(|index| u8::try_from(index).unwrap())))
    }

    fn place(scheme: Option<&str>, secret: &str) -> CredentialPlace {
        CredentialPlace {
            location: "header",
            name: "authorization".to_owned(),
            scheme: scheme.map(str::to_owned),
            secret: Redacted::new(secret.as_bytes().to_vec()),
        }
    }

    #[test]
    fn fingerprint_is_the_head_of_the_hmac() {
        assert_eq!(
            keyring().fingerprint(b"sk-test-not-a-real-key"),
            "5612d0a354126e73900400160a01a299"
        );
    }

    #[test]
    fn one_key_has_one_fingerprint_however_it_is_sent() {
        let bearer = keyring().identify(&place(Some("Bearer"), "sk-fake"), "openai");
        assert_eq!(keyring().identify(&place(Some("Basic"), "OnNrLWZha2U="), "openai"), bearer);
        assert_eq!(keyring().identify(&place(None, "sk-fake"), "openai"), bearer);
        assert_eq!(
            keyring().identify_secret(&Redacted::new(b"sk-fake".to_vec()), "openai"),
            bearer
        );
        let other =
            Keyring::new(FleetKey::new([1; 32])).identify(&place(None, "sk-fake"), "openai");
        assert_ne!(other.fingerprint, bearer.fingerprint);
    }

    #[test]
    fn kind_and_hint_show_the_prefix_and_four_characters() {
        const CASES: &[(Option<&str>, &str, &str, &str)] = &[
            (Some("Bearer"), "sk-proj-FAKEFAKEFAKEFAKEa1B2", "openai.project_key", "sk-proj-…a1B2"),
            (
                Some("Bearer"),
                "sk-ant-oat01-FAKEFAKEFAKEFAKE",
                "anthropic.oauth_token",
                "sk-ant-oat…FAKE",
            ),
            (Some("Bearer"), "sk-proj-FAKEFAKEa1B2", "openai.project_key", "…"),
            (Some("Bearer"), "nothing-known-about-this", "unknown", "…this"),
            (Some("Bearer"), "short", "unknown", "…"),
            (Some("Bearer"), "", "unknown", "…"),
            (Some("Bearer"), "a-tail-that-is-not-ascii-é", "unknown", "…"),
            (Some("Bearer"), "eyJhbGciOiJub25lIn0.eyJzdWIiOiJmYWtlIn0.c2lnbmF0", "jwt", "eyJ…bmF0"),
            (Some("Basic"), "dXNlcjpwYXNzd29yZHBhc3N3b3Jk", "basic", "…"),
        ];
        for (scheme, secret, kind, hint) in CASES {
            let identity = keyring().identify(&place(*scheme, secret), "openai");
            assert_eq!((identity.kind, identity.hint.as_str()), (*kind, *hint), "{secret}");
            assert_eq!(identity.fingerprint.len(), 32);
        }
    }

    #[test]
    fn no_identity_holds_more_of_the_key_than_its_hint() {
        let secret = "sk-proj-0123456789abcdefghijklmnop";
        let text = format!(
            "{:?} {:?}",
            keyring(),
            keyring().identify(&place(Some("Bearer"), secret), "openai")
        );
        assert!(!text.contains("0123") && !text.contains("klmnop"), "{text}");
    }
}
