//! Bytes of a JSON document come in, split anywhere; the few values at the paths of a plan go out, nothing else is kept.
//!
//! ```text
//!   Value --{--> FirstKey --"--> Text(key) --> Colon --:--> Value
//!     |            ^ NextKey <--,-- After <---------------- Text | Scalar | Skip
//!     +--[--> FirstElement ---> Value                       } or ] closes, depth 0 is Done
//! ```
//!
//! Containers in which nothing is wanted are skipped by counting brackets; the grammar inside them is not checked.

use memchr::memchr2;

use crate::provider::skim::plan::NOWHERE;
use crate::provider::skim::plan::NodeId;
pub use crate::provider::skim::plan::Plan;
use crate::provider::skim::plan::ROOT;
pub use crate::provider::skim::plan::Want;
pub use crate::provider::skim::slot::Slot;
use crate::provider::skim::slot::unescape;
pub(super) use crate::provider::skim::slot::whole_number;

mod plan;
mod slot;
#[cfg(test)]
mod tests;
mod whole;

/// Longest kept text, in bytes as written (with escapes): a model name has some tens.
const TEXT_MAX: usize = 1024;
/// Longest object kept as JSON, in bytes: a usage object has some hundreds.
const JSON_MAX: usize = 16 * 1024;
/// Longest key that can match, in bytes as written: 32 letters, each as `\u0000`.
const KEY_MAX: usize = 192;
/// Deepest nesting; the same bound as `serde_json`.
const DEPTH_MAX: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    FirstElement,
    FirstKey,
    NextKey,
    Colon,
    After,
    Text,
    Scalar,
    Skip,
    SkipText,
    Done,
    Dead,
}

/// Where the bytes of the present string or number go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Nothing,
    Key,
    Slot(usize, Want),
}

/// Walks one document; memory is bounded by the plan, not by the document.
#[derive(Debug)]
pub struct Skimmer {
    plan: &'static Plan,
    state: State,
    /// Node of the value that comes next or is being read.
    node: NodeId,
    nodes: [NodeId; DEPTH_MAX],
    /// One bit a level: set for an object.
    objects: u128,
    depth: usize,
    /// Depth at which skipping ends.
    floor: usize,
    keep: Keep,
    escaped: bool,
    empty: bool,
    overflow: bool,
    key: Vec<u8>,
    slots: Vec<Slot>,
}

impl Skimmer {
    /// Begins a document.
    pub fn new(plan: &'static Plan) -> Self {
        let slots = plan.paths().iter().map(|(_, want)| {
            let counts = if let Want::Tally(words) = want { words.len() } else { 1 };
            Slot { counts: vec![0; counts], ..Slot::default() }
        });
        Self {
            plan,
            state: State::Value,
            node: ROOT,
            nodes: [NOWHERE; DEPTH_MAX],
            objects: 0,
            depth: 0,
            floor: 0,
            keep: Keep::Nothing,
            escaped: false,
            empty: true,
            overflow: false,
            key: Vec::new(),
            slots: slots.collect(),
        }
    }

    /// Forgets everything and begins the next document.
    pub fn reset(&mut self) {
        self.state = State::Value;
        self.node = ROOT;
        self.depth = 0;
        self.keep = Keep::Nothing;
        self.escaped = false;
        self.slots.iter_mut().filter(|slot| slot.found).for_each(Slot::clear);
    }

    /// Takes the next bytes. Once the document is over or broken the rest is ignored.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Done | State::Dead => return,
                State::Text => self.text(bytes),
                State::Scalar => self.scalar(bytes),
                State::Skip => self.skip(bytes),
                State::SkipText => self.skip_text(bytes),
                _ => self.structure(bytes),
            };
        }
    }

    /// Whether the input was not JSON.
    pub fn is_broken(&self) -> bool {
        self.state == State::Dead
    }

    /// The paths at which something was found, in the order of the plan.
    pub fn found(&self) -> impl Iterator<Item = (&'static str, &Slot)> {
        let paths = self.plan.paths().iter().map(|(path, _)| *path);
        paths.zip(&self.slots).filter(|(_, slot)| slot.found)
    }

    fn structure<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(at) = bytes.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r')) else {
            return &[];
        };
        let from = bytes.get(at..).unwrap_or_default();
        let Some((&byte, rest)) = from.split_first() else { return &[] };
        match (self.state, byte) {
            (State::Value | State::FirstElement, b'"') => return self.open_text(rest),
            (State::Value | State::FirstElement, b'{' | b'[') => self.open(byte),
            (State::Value | State::FirstElement, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                self.begin_value(State::Scalar);
                // Of the scalars only `null` and `false` count as empty.
                self.empty = matches!(byte, b'n' | b'f');
                return from;
            }
            (State::FirstKey | State::NextKey, b'"') => return self.open_key(rest),
            (State::Colon, b':') => self.state = State::Value,
            (State::After, b',') => self.next(),
            (State::FirstElement, b']') | (State::FirstKey, b'}') | (State::After, b'}' | b']') => {
                self.close(byte);
            }
            _ => self.state = State::Dead,
        }
        rest
    }

    fn begin(&mut self, state: State, keep: Keep) {
        self.state = state;
        self.keep = keep;
        self.escaped = false;
        self.empty = true;
        self.overflow = false;
    }

    /// Notes where the value's bytes go; what stood there before gives way (the last duplicate wins).
    fn begin_value(&mut self, state: State) {
        let keep = self.plan.slot(self.node).map_or(Keep::Nothing, |(at, w)| Keep::Slot(at, w));
        if let Keep::Slot(at, _) = keep
            && let Some(slot) = self.slots.get_mut(at)
        {
            slot.bytes.clear();
            slot.quoted = state == State::Text;
        }
        self.begin(state, keep);
    }

    fn open(&mut self, byte: u8) {
        let wanted = self.plan.slot(self.node);
        self.keep = Keep::Nothing;
        if let Some((at, want)) = wanted
            && let Some(slot) = self.slots.get_mut(at)
        {
            slot.container(want);
        }
        let json = matches!(wanted, Some((_, Want::Json)));
        if json || self.plan.is_leaf(self.node) {
            self.overflow = false;
            self.keep = wanted.filter(|_| json).map_or(Keep::Nothing, |(at, w)| Keep::Slot(at, w));
            self.store(&[byte]);
            self.floor = self.depth;
            self.enter(byte, State::Skip);
        } else if byte == b'{' {
            self.enter(byte, State::FirstKey);
        } else {
            self.enter(byte, State::FirstElement);
            self.node = self.plan.element(self.node);
        }
    }

    fn enter(&mut self, byte: u8, state: State) {
        let Some(level) = self.nodes.get_mut(self.depth) else {
            self.state = State::Dead;
            return;
        };
        *level = self.node;
        self.objects = (self.objects << 1) | u128::from(byte == b'{');
        self.depth = self.depth.saturating_add(1);
        self.state = state;
    }

    /// Leaves a container; `false` where the bracket does not fit.
    fn leave(&mut self, byte: u8) -> bool {
        if self.depth == 0 || (self.objects & 1 == 1) != (byte == b'}') {
            self.state = State::Dead;
            return false;
        }
        self.objects >>= 1;
        self.depth = self.depth.saturating_sub(1);
        true
    }

    fn close(&mut self, byte: u8) {
        if self.leave(byte) {
            self.after();
        }
    }

    fn after(&mut self) {
        self.state = if self.depth == 0 { State::Done } else { State::After };
    }

    fn container(&self) -> NodeId {
        self.depth.checked_sub(1).and_then(|at| self.nodes.get(at)).copied().unwrap_or(NOWHERE)
    }

    fn next(&mut self) {
        if self.objects & 1 == 1 {
            self.state = State::NextKey;
        } else {
            self.node = self.plan.element(self.container());
            self.state = State::Value;
        }
    }

    fn text<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (taken, rest, ended) = self.string_part(bytes);
        self.empty &= taken.is_empty();
        self.store(taken);
        if ended {
            self.end_text();
        }
        rest
    }

    /// Splits off the part of a string up to its end, an escape or the end of the input.
    fn string_part<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], &'a [u8], bool) {
        if std::mem::take(&mut self.escaped) {
            let (taken, rest) = bytes.split_at_checked(1).unwrap_or((bytes, &[]));
            return (taken, rest, false);
        }
        let Some(at) = memchr2(b'"', b'\\', bytes) else { return (bytes, &[], false) };
        if bytes.get(at) == Some(&b'"') {
            let (taken, rest) = bytes.split_at_checked(at).unwrap_or((bytes, &[]));
            return (taken, rest.get(1..).unwrap_or_default(), true);
        }
        self.escaped = true;
        let (taken, rest) = bytes.split_at_checked(at.saturating_add(1)).unwrap_or((bytes, &[]));
        (taken, rest, false)
    }

    fn store(&mut self, bytes: &[u8]) {
        let (slot, max) = match self.keep {
            Keep::Nothing | Keep::Slot(_, Want::Filled) => return,
            Keep::Key => (None, KEY_MAX),
            Keep::Slot(at, Want::Json) => (Some(at), JSON_MAX),
            Keep::Slot(at, Want::Text | Want::Distinct | Want::Tally(_)) => (Some(at), TEXT_MAX),
        };
        let slot = slot.and_then(|at| self.slots.get_mut(at));
        let buffer = slot.map_or(&mut self.key, |slot| &mut slot.bytes);
        self.overflow |= buffer.len().saturating_add(bytes.len()) > max;
        if self.overflow {
            // What came before the bound was crossed depends on the cuts, and nobody wants it.
            buffer.clear();
        } else {
            buffer.extend_from_slice(bytes);
        }
    }

    fn end_text(&mut self) {
        if self.keep == Keep::Key {
            self.node = self.member();
            self.state = State::Colon;
            return;
        }
        let (overflow, empty) = (self.overflow, self.empty);
        if let Keep::Slot(at, want) = self.keep
            && let Some(slot) = self.slots.get_mut(at)
        {
            slot.end_text(want, overflow, empty);
        }
        self.after();
    }

    fn member(&self) -> NodeId {
        if self.overflow {
            NOWHERE
        } else if self.key.contains(&b'\\') {
            let key = unescape(&self.key).unwrap_or_default();
            self.plan.member(self.container(), key.as_bytes())
        } else {
            self.plan.member(self.container(), &self.key)
        }
    }

    fn scalar<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = bytes.iter().position(|b| matches!(b, b',' | b']' | b'}' | b' ' | 9..=13));
        let (taken, rest) = end.and_then(|at| bytes.split_at_checked(at)).unwrap_or((bytes, &[]));
        self.store(taken);
        if end.is_some() {
            self.end_scalar();
        }
        rest
    }

    fn end_scalar(&mut self) {
        let (overflow, empty) = (self.overflow, self.empty);
        if let Keep::Slot(at, want) = self.keep
            && let Some(slot) = self.slots.get_mut(at)
        {
            slot.end_scalar(want, overflow, empty);
        }
        self.after();
    }

    fn skip<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let at = bytes.iter().position(|b| matches!(b, b'"' | b'{' | b'}' | b'[' | b']'));
        let end = at.map_or(bytes.len(), |at| at.saturating_add(1));
        let (taken, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        self.store(taken);
        match at.and_then(|at| bytes.get(at)) {
            Some(b'"') => {
                self.escaped = false;
                self.state = State::SkipText;
            }
            Some(byte @ (b'{' | b'[')) => {
                self.node = NOWHERE;
                self.enter(*byte, State::Skip);
            }
            Some(byte) if self.leave(*byte) && self.depth == self.floor => self.end_skip(),
            _ => {}
        }
        rest
    }

    fn skip_text<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (taken, rest, ended) = self.string_part(bytes);
        self.store(taken);
        if ended {
            self.store(b"\"");
            self.state = State::Skip;
        }
        rest
    }

    fn end_skip(&mut self) {
        let overflow = self.overflow;
        if let Keep::Slot(at, Want::Json) = self.keep
            && let Some(slot) = self.slots.get_mut(at)
        {
            slot.found = !overflow;
        }
        self.keep = Keep::Nothing;
        self.after();
    }
}
