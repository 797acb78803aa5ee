//! The agreement about the forms of models' names comes in one place: the automaton that says which patterns a name matches.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::FORM_STATES_MAX;

/// Entries of a row of an automaton's table: one for the end of a name, one for each class of bytes.
pub const FORM_CLASSES_MAX: usize = 64;
/// Entries of the table: a row for each state. The first four rows say the class of each byte.
pub const FORMS_LEN: usize = FORM_STATES_MAX * FORM_CLASSES_MAX;
/// The state from which no pattern is matched any more, whatever follows.
pub const FORM_DEAD: u32 = 4;
/// The state before the first byte.
pub const FORM_START: u32 = 5;
/// What the end of a name leads to where nobody says anything: the number of no set of patterns.
pub const FORM_NONE: u32 = 0;

/// Which automaton stands at a place.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Held {
    /// Its number; 0 where the place is empty.
    pub number: u32,
    /// Grows with each automaton that is written: the oldest gives way.
    pub sequence: u32,
}

/// The value of a rule about names that match one set of patterns of one automaton.
#[expect(clippy::inline_always, reason = "the kernel half calls no functions")]
#[inline(always)]
pub const fn form_at(automaton: u32, form: u32) -> u64 {
    ((automaton as u64) << 32) | form as u64
}

/// The value of a rule about a model that comes with a key of one group; of group 0 are keys of which nothing is known.
#[expect(clippy::inline_always, reason = "the kernel half calls no functions")]
#[inline(always)]
pub const fn value_in(value: u64, group: u32) -> [u64; 2] {
    [value, (group as u64) << 32]
}
