//! A string begins; one that stands there whole and plain is dealt with at once, any other byte by byte.

use memchr::memchr2;

use crate::provider::skim::KEY_MAX;
use crate::provider::skim::Keep;
use crate::provider::skim::Skimmer;
use crate::provider::skim::State;

impl Skimmer {
    /// Begins a key. Nearly always it stands there whole and plain: then it is looked up where it is.
    pub(super) fn open_key<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        self.key.clear();
        if let Some((key, rest)) = plain(rest)
            && key.len() <= KEY_MAX
        {
            self.node = self.plan.member(self.container(), key);
            if let Some((b':', rest)) = rest.split_first() {
                self.state = State::Value;
                return rest;
            }
            self.state = State::Colon;
            return rest;
        }
        self.begin(State::Text, Keep::Key);
        rest
    }

    /// Begins a string; one of which nothing is wanted is passed over at once where it stands there whole and plain.
    pub(super) fn open_text<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        if self.plan.slot(self.node).is_none()
            && let Some((_, rest)) = plain(rest)
        {
            self.keep = Keep::Nothing;
            self.after();
            return rest;
        }
        self.begin_value(State::Text);
        rest
    }
}

/// Splits a string without an escape from what follows its closing quote; `None` where an escape comes first, or no end.
fn plain(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr2(b'"', b'\\', bytes)?;
    let (text, rest) = bytes.split_at_checked(at)?;
    let (b'"', rest) = rest.split_first()? else { return None };
    Some((text, rest))
}
