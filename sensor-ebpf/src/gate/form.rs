//! The name of a model comes in; its hash, and the set of patterns that it matches, go out: one step a byte, however many
//! patterns there are.

use sensor_common::forms::{
    FORM_CLASSES_MAX, FORM_DEAD, FORM_NONE, FORM_START, FORMS_LEN, form_at,
};
use sensor_common::gate::{RULE_FORMS, RuleKey};
use sensor_common::limits::{FORMS_MAX, MODEL_SCAN_MAX};
use sensor_common::scan::Head;
use sensor_common::state::NAME_HASH_START;

use crate::content::step;
use crate::maps::{FORMS, FORMS_HELD};
use crate::name::{anew, masked};
use crate::path::unescaped;
use crate::rules::rule;

/// Rows of the table that say the class of each byte, in entries.
const BYTES: u32 = 256;
/// Steps from a row to the next.
const ROW: u32 = FORM_CLASSES_MAX as u32;

/// What is known of a model's name.
pub struct Model {
    /// Hash of the name.
    pub whole: u64,
    /// What its form is looked up by; nothing where the class tells no forms apart.
    pub form: Option<u64>,
    /// The name is longer than what was read, and what follows may change its form.
    pub unclear: bool,
}

/// The automaton of a class: its number, and its place.
#[inline(always)]
fn automaton(class: u32, at: u64) -> Option<(u32, u32)> {
    let told = rule(&RuleKey { class, kind: RULE_FORMS, value: [0, 0] }, at)?;
    let mut place = 0;
    while place < FORMS_MAX {
        if FORMS_HELD.get(place)?.number == told.reason {
            return Some((told.reason, place));
        }
        place += 1;
    }
    None
}

/// Reads the name at the head's span; in a path, `%3A` stands for a colon.
#[inline(always)]
pub fn read(head: *const Head, escape: u8, (class, at_ns): (u32, u64)) -> Option<Model> {
    let known = automaton(class, at_ns);
    // Without an automaton the steps through the first one mean nothing, and harm nothing.
    let table = FORMS.get_ptr(known.map_or(0, |(_, place)| place))?.cast::<u16>();
    // SAFETY: a live element that only this thread changes.
    let span = unsafe { &raw const (*head).span };
    let mut hash = NAME_HASH_START;
    let mut state = FORM_START;
    let (mut at, mut walked) = (0, 0);
    while walked < MODEL_SCAN_MAX {
        // An encoded slash makes no segment of a name (RFC 3986, 2.2): it stays as it is written.
        let (raw, next, length) = unescaped(head, anew(span, 0) + at, escape, b'/');
        // The colon behind a name may be an escape: the last of its three bytes is where the name ends.
        if at >= anew(span, 1) || (raw == escape && at + 2 >= anew(span, 1)) {
            break;
        }
        hash = step(hash, next);
        let class = entry(table, u32::from(next) & (BYTES - 1));
        state = entry(table, state * ROW + class);
        at += length;
        walked += 1;
    }
    let unclear = walked >= MODEL_SCAN_MAX && at < anew(span, 1) && state != FORM_DEAD;
    let last = entry(table, state * ROW + FORM_NONE);
    Some(Model { whole: hash, form: known.map(|(number, _)| form_at(number, last)), unclear })
}

/// An entry of the table.
#[inline(always)]
fn entry(table: *const u16, at: u32) -> u32 {
    // SAFETY: the index is masked to below the length of the table, which is a live element.
    u32::from(unsafe { core::ptr::read_volatile(table.add(masked::<FORMS_LEN>(at))) })
}
