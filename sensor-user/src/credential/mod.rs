//! A key that was seen in a request comes in; its keyed fingerprint, kind and hint go out, and the key is gone.

use std::collections::BTreeMap;

mod fleet_key;
mod kinds;
mod token;
mod keyring;

pub use fleet_key::FleetKey;
pub use keyring::Keyring;

/// The kinds that keys sent to a provider may be of, by what such keys begin with; at the empty begin those that none tells.
pub fn kinds_by_prefix(provider: &str) -> BTreeMap<&'static str, Vec<&'static str>> {
    kinds::by_prefix(provider)
}

/// All kinds that keys are told to be of, some of them more than once.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    kinds::all()
}

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// First 16 bytes of HMAC-SHA-256(fleet key, key), in hex.
    pub fingerprint: String,
    /// What the prefix says it is (`openai.project_key`, `anthropic.oauth_token`, …).
    pub kind: &'static str,
    /// Prefix and last four characters (`sk-proj-…a1B2`); only `…` where the key is too short to show any.
    pub hint: String,
}

/// Why the text of a fleet key was refused; it never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing but blanks and comments.
    #[error("reading the fleet key: no key in the file")]
    Empty,
    /// More than one line that is not a comment.
    #[error("reading the fleet key: more than one key in the file")]
    Several,
    /// Not 64 characters.
    #[error("reading the fleet key: {found} characters, not 64")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// A character that is no hex digit.
    #[error("reading the fleet key: character {position} is not a hex digit")]
    NotHex {
        /// Which one, counted from one.
        position: usize,
    },
    /// All bytes are the same.
    #[error("reading the fleet key: all bytes are the same; make one from random bytes")]
    Weak,
}
