//! Bytes of a protobuf message come in, split anywhere; the few values at the paths of a plan go out, nothing else is kept.
//!
//! ```text
//!   Key --varint--> Number -----------------> Key
//!    |---fixed----> Bytes, passed over -----> Key
//!    '---length---> Length --> Bytes -------> Key
//!                        '--> Key, one message deeper, until it ends
//! ```
//!
//! A prompt is passed over where it stands: memory is bounded by the plan, not by the message.

use crate::provider::grpc::Fact;
use crate::provider::grpc::Field;
use crate::provider::grpc::Plan;

/// Deepest path of a plan, in fields.
const DEPTH_MAX: usize = 6;
/// Longest text kept, in bytes: a model's resource name has about 200.
const TEXT_MAX: u64 = 1024;
/// Longest message kept, in bytes: a usage message has some tens.
const MESSAGE_MAX: u64 = 16 * 1024;
/// Bits of a number: its tenth byte holds the last one.
const NUMBER_BITS: u32 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Key,
    /// The value of that field.
    Number(u32),
    /// How long that field is.
    Length(u32),
    /// So many bytes, kept in a slot or passed over.
    Bytes(u64, Option<usize>),
    Broken,
}

/// What was found at one path.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    found: bool,
    /// Text, or a message as it was encoded; of an encoded message's parts all that came.
    pub(super) bytes: Vec<u8>,
    /// The last number, or how many filled values there were.
    pub(super) number: u64,
}

/// Walks one message after the other.
#[derive(Debug)]
pub(super) struct Skimmer {
    plan: Plan,
    slots: Vec<Slot>,
    state: State,
    /// Bytes of the message so far.
    at: u64,
    /// Fields that lead to where it stands, and where the messages end that they hold.
    path: [u32; DEPTH_MAX],
    ends: [u64; DEPTH_MAX],
    depth: usize,
    /// A number as far as it has come.
    number: u64,
    shift: u32,
}

impl Skimmer {
    /// Begins a message.
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            slots: vec![Slot::default(); plan.len()],
            state: State::Key,
            at: 0,
            path: [0; DEPTH_MAX],
            ends: [0; DEPTH_MAX],
            depth: 0,
            number: 0,
            shift: 0,
        }
    }

    /// Forgets everything and begins the next message.
    pub(super) fn reset(&mut self) {
        self.slots.iter_mut().filter(|slot| slot.found || !slot.bytes.is_empty()).for_each(
            |slot| {
                slot.found = false;
                slot.bytes.clear();
                slot.number = 0;
            },
        );
        (self.state, self.at, self.depth) = (State::Key, 0, 0);
        (self.number, self.shift) = (0, 0);
    }

    /// Takes the next bytes; a broken message is given up quietly.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            bytes = match self.state {
                State::Broken => return,
                State::Bytes(left, slot) => self.bytes(bytes, left, slot),
                _ => {
                    self.octet(*byte);
                    rest
                }
            };
        }
    }

    /// Whether the bytes so far are a whole message.
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Key && self.depth == 0 && self.shift == 0
    }

    /// The fields in which something was found, in the order of the plan.
    pub(super) fn found(&self) -> impl Iterator<Item = (&'static Field, &Slot)> {
        self.plan.iter().zip(&self.slots).filter(|(_, slot)| slot.found)
    }

    /// Takes a byte of a number: seven bits a byte, the lowest first.
    fn octet(&mut self, byte: u8) {
        self.at = self.at.saturating_add(1);
        let Some(bits) = u64::from(byte & 0x7f).checked_shl(self.shift) else {
            self.state = State::Broken;
            return;
        };
        self.number |= bits;
        if byte & 0x80 != 0 {
            self.shift = self.shift.saturating_add(7).min(NUMBER_BITS);
            return;
        }
        let number = std::mem::take(&mut self.number);
        self.shift = 0;
        match self.state {
            State::Number(field) => {
                self.note(field, number);
                self.next();
            }
            State::Length(field) => self.open(field, number),
            _ => self.key(number),
        }
    }

    /// A field begins: its number, and how its value is written.
    fn key(&mut self, key: u64) {
        let field = u32::try_from(key >> 3).ok().filter(|field| *field != 0);
        match (field, key & 7) {
            (Some(field), 0) => self.state = State::Number(field),
            (Some(_), 1) => self.take(8, None),
            (Some(field), 2) => self.state = State::Length(field),
            (Some(_), 5) => self.take(4, None),
            // Groups are of a version before the one that these services are written in.
            _ => self.state = State::Broken,
        }
    }

    /// The place in the plan of a field of the message at hand, and whether something in it is wanted.
    fn wanted(&self, field: u32) -> (Option<usize>, bool) {
        let here = self.path.get(..self.depth).unwrap_or_default();
        let (mut place, mut inside) = (None, false);
        for (at, row) in self.plan.iter().enumerate() {
            if row.path.strip_prefix(here).is_some_and(|rest| rest.first() == Some(&field)) {
                let is_own = row.path.len() == here.len().saturating_add(1);
                place = place.or(is_own.then_some(at));
                inside |= !is_own;
            }
        }
        (place, inside)
    }

    fn note(&mut self, field: u32, number: u64) {
        let (place, _) = self.wanted(field);
        let number_wanted = |at: &usize| self.plan.get(*at).is_some_and(|row| row.fact.is_number());
        if let Some(slot) = place.filter(number_wanted).and_then(|at| self.slots.get_mut(at)) {
            // The last one counts.
            (slot.found, slot.number) = (true, number);
        }
    }

    /// A value of that length begins.
    fn open(&mut self, field: u32, length: u64) {
        let (place, inside) = self.wanted(field);
        let fact = place.and_then(|at| self.plan.get(at)).map(|row| row.fact);
        let slot = place.and_then(|at| self.slots.get_mut(at));
        let mut keeps = false;
        if let (Some(fact), Some(slot)) = (fact, slot) {
            match fact {
                _ if fact.is_text() => {
                    slot.bytes.clear();
                    slot.found = false;
                    keeps = length <= TEXT_MAX;
                }
                Fact::Usage(_) => {
                    // Parts of one message that come apart are one message.
                    let held = u64::try_from(slot.bytes.len()).unwrap_or(u64::MAX);
                    keeps = held.saturating_add(length) <= MESSAGE_MAX;
                }
                _ if fact.is_number() => {}
                _ if length > 0 => {
                    slot.found = true;
                    slot.number = slot.number.saturating_add(1);
                }
                _ => {}
            }
        }
        if inside && !keeps && self.depth < DEPTH_MAX {
            return self.enter(field, length);
        }
        self.take(length, place.filter(|_| keeps));
    }

    /// Goes into a message.
    fn enter(&mut self, field: u32, length: u64) {
        let Some(end) = self.end_of(length) else { return };
        if let (Some(path), Some(ends)) =
            (self.path.get_mut(self.depth), self.ends.get_mut(self.depth))
        {
            (*path, *ends) = (field, end);
            self.depth = self.depth.saturating_add(1);
        }
        self.next();
    }

    /// Begins to take so many bytes.
    fn take(&mut self, length: u64, slot: Option<usize>) {
        if self.end_of(length).is_none() {
            return;
        }
        self.state = State::Bytes(length, slot);
        if length == 0 {
            self.taken(slot);
        }
    }

    /// Where a value of that length ends; one that reaches out of its message breaks it.
    fn end_of(&mut self, length: u64) -> Option<u64> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.limit());
        if end.is_none() {
            self.state = State::Broken;
        }
        end
    }

    /// Where the message at hand ends.
    fn limit(&self) -> u64 {
        self.depth.checked_sub(1).and_then(|at| self.ends.get(at)).copied().unwrap_or(u64::MAX)
    }

    fn bytes<'a>(&mut self, bytes: &'a [u8], left: u64, slot: Option<usize>) -> &'a [u8] {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let (piece, rest) = bytes.split_at_checked(most).unwrap_or((bytes, &[]));
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.at = self.at.saturating_add(length);
        if let Some(slot) = slot.and_then(|at| self.slots.get_mut(at)) {
            slot.bytes.extend_from_slice(piece);
        }
        let left = left.saturating_sub(length);
        self.state = State::Bytes(left, slot);
        if left == 0 {
            self.taken(slot);
        }
        rest
    }

    fn taken(&mut self, slot: Option<usize>) {
        if let Some(slot) = slot.and_then(|at| self.slots.get_mut(at)) {
            slot.found = true;
        }
        self.next();
    }

    /// Goes on behind a value, out of the messages that end with it.
    fn next(&mut self) {
        self.state = State::Key;
        while self.depth > 0 && self.at >= self.limit() {
            if self.at > self.limit() {
                self.state = State::Broken;
                return;
            }
            self.depth = self.depth.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::grpc::Usage;

    const PLAN: Plan = &[
        Field { path: &[1], fact: Fact::Id },
        Field { path: &[2], fact: Fact::Input },
        Field { path: &[2, 1, 1], fact: Fact::Content },
        Field { path: &[2, 3], fact: Fact::Finish },
        Field { path: &[9], fact: Fact::Usage(Usage::Sampling) },
    ];

    /// Text 1; message 2 with a message that holds a text and a number; a fixed field; an unknown text; usage in parts.
    const MESSAGE: &[u8] = b"\x0a\x02r1\x12\x07\x0a\x03\x0a\x01x\x18\x02\x21\x01\x02\x03\x04\x05\x06\x07\x08\x1a\x03abc\
        \x35\x01\x02\x03\x04\x4a\x02\x08\x01\x12\x00\x4a\x03\x08\x80\x02";

    fn shown(skim: &Skimmer) -> String {
        let show = |(field, slot): (&Field, &Slot)| {
            format!("{:?}={}/{} ", field.path, slot.bytes.escape_ascii(), slot.number)
        };
        skim.found().map(show).collect()
    }

    #[test]
    fn values_are_found_however_a_message_is_cut() {
        for cut in 0..=MESSAGE.len() {
            let mut skim = Skimmer::new(PLAN);
            skim.push(&MESSAGE[..cut]);
            skim.push(&MESSAGE[cut..]);
            assert!(skim.is_whole(), "cut at {cut}");
            let expected =
                "[1]=r1/0 [2]=/1 [2, 1, 1]=/1 [2, 3]=/2 [9]=\\x08\\x01\\x08\\x80\\x02/0 ";
            assert_eq!(shown(&skim), expected, "cut at {cut}");
            skim.reset();
            assert_eq!(shown(&skim), "");
        }
    }

    #[test]
    fn what_breaks_the_format_is_given_up() {
        const CASES: &[&[u8]] = &[
            // A field of number 0, a group, an unknown way of writing.
            b"\x00\x01",
            b"\x0b\x0c",
            b"\x0f\x01",
            // A number of eleven bytes.
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            // A text, a number and a message that reach out of the message they are in.
            b"\x12\x02\x0a\x05hello",
            b"\x12\x02\x18\x80\x01",
            b"\x12\x02\x0a\x03\x0a\x01x",
            // A length that no message has.
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ];
        for bytes in CASES {
            let mut skim = Skimmer::new(PLAN);
            bytes.chunks(1).for_each(|byte| skim.push(byte));
            assert!(!skim.is_whole(), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_too_long_is_passed_over_and_not_kept() {
        let text = [&b"\x0a\x81\x08"[..], &[b'a'; 1025], b"\x12\x01\x00"].concat();
        let mut skim = Skimmer::new(&[Field { path: &[1], fact: Fact::Id }]);
        skim.push(&text);
        assert!(skim.is_whole() && skim.slots[0].bytes.capacity() == 0);
        assert_eq!(skim.found().count(), 0);
    }
}
