//! Words and JSON values come in; the pieces of one answer, ready to be paced and sent, go out.

use bytes::Bytes;
use serde_json::Value;

use crate::lab::provider::scenario::Scenario;
use crate::lab::provider::usage::Usage;

/// Stands, as a JSON string, where a [`Template`] is filled in.
pub const HOLE: &str = "@@";

/// Bytes of each piece of a whole answer that is to be broken off.
const BROKEN_PIECE_BYTES: usize = 64;

/// Content pieces of a stream that asks for no number.
const CHUNKS_DEFAULT: u64 = 8;

/// Characters of the padding that hides the length of a token, as `OpenAI`'s streams carry it.
const PADDING: &str = "kT3vQx9LmB2wZr7c";

/// One piece of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether it carries text of the answer.
    pub content: bool,
    /// Whether the usage is known to a reader who has got this far.
    pub usage: bool,
}

impl Piece {
    /// Makes a piece that carries no text.
    pub fn frame(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), ..Self::default() }
    }

    /// Makes a piece that carries text.
    pub fn content(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), content: true, usage: false }
    }

    /// Makes a piece with which the usage is complete.
    pub fn usage(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), content: false, usage: true }
    }
}

/// A complete answer before pacing and encoding.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header fields beyond the usual ones.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub pieces: Vec<Piece>,
    /// Whether the body is a stream of events.
    pub stream: bool,
    /// Identifier in the body.
    pub id: String,
    /// Model asked for.
    pub model: String,
    /// Model named in the body.
    pub served_model: String,
    /// What the body says the call cost, in dollars.
    pub cost_usd: Option<String>,
    /// Usage of the call.
    pub usage: Option<Usage>,
    /// Event that a failing stream ends with.
    pub error_event: Bytes,
}

impl Answer {
    /// Makes a whole answer of one JSON value.
    pub fn whole(status: u16, body: &Value) -> Self {
        Self::text(status, body.to_string())
    }

    /// Makes a whole answer of text that is JSON already.
    pub fn text(status: u16, body: String) -> Self {
        let usage = status == 200;
        let piece = Piece { bytes: body.into(), content: true, usage };
        Self { status, pieces: vec![piece], ..Self::default() }
    }

    /// Applies the knobs that change the body: an error event, a break, smaller pieces.
    ///
    /// Returns whether the body ends in a break.
    pub fn shape(&mut self, knobs: &Scenario) -> bool {
        if let (true, Some(limit)) = (self.stream, knobs.error) {
            self.pieces.truncate(place_after(&self.pieces, limit));
            self.pieces.push(Piece::frame(self.error_event.clone()));
        }
        match (knobs.piece, knobs.abort, self.stream) {
            (Some(bytes), _, _) => self.recut(bytes),
            (None, Some(_), false) => self.recut(BROKEN_PIECE_BYTES),
            _ => {}
        }
        let Some(limit) = knobs.abort else { return false };
        self.pieces.truncate(place_after(&self.pieces, limit));
        true
    }

    fn recut(&mut self, bytes: usize) {
        let mut cut = Vec::new();
        for piece in self.pieces.drain(..) {
            let mut rest = piece.bytes;
            while rest.len() > bytes {
                // A whole body counts every part as text, so that it can be broken off in the middle.
                cut.push(Piece {
                    bytes: rest.split_to(bytes),
                    content: piece.content && !self.stream,
                    usage: false,
                });
            }
            cut.push(Piece { bytes: rest, ..piece });
        }
        self.pieces = cut;
    }
}

fn place_after(pieces: &[Piece], contents: usize) -> usize {
    let mut places = pieces.iter().enumerate().filter(|(_, piece)| piece.content);
    places.nth(contents).map_or(pieces.len(), |(place, _)| place)
}

/// JSON text with holes: many events of a stream differ in one or two values only.
#[derive(Clone, Debug)]
pub struct Template(Vec<String>);

impl Template {
    /// Splits a value at its strings [`HOLE`]; `event` is the name line of a server-sent event, or empty.
    pub fn event(event: &str, data: &Value) -> Self {
        let name = if event.is_empty() { String::new() } else { format!("event: {event}\n") };
        Self::text(&format!("{name}data: {data}\n\n"))
    }

    /// Splits JSON text at its strings [`HOLE`].
    pub fn text(text: &str) -> Self {
        Self(text.split(&format!("\"{HOLE}\"")).map(str::to_owned).collect())
    }

    /// Fills the holes in order with JSON text.
    pub fn fill(&self, values: &[&str]) -> String {
        let mut out = String::new();
        for (place, part) in self.0.iter().enumerate() {
            out.push_str(part);
            if place.saturating_add(1) < self.0.len() {
                out.push_str(values.get(place).copied().unwrap_or("null"));
            }
        }
        out
    }
}

/// Makes one server-sent event.
pub fn event(name: &str, data: &Value) -> String {
    Template::event(name, data).fill(&[])
}

/// Returns the words of an answer: plain letters, some of more than one byte, nothing JSON would escape.
pub fn words(knobs: &Scenario) -> Vec<String> {
    let count = knobs.chunks.unwrap_or(CHUNKS_DEFAULT).max(1);
    let size = knobs.size.and_then(|size| size.checked_div(count)).unwrap_or(0);
    let length = usize::try_from(size).unwrap_or(0);
    (0..count)
        .map(|number| {
            let word = format!("wörd{number} ");
            let missing = length.saturating_sub(word.len());
            word + &"x".repeat(missing)
        })
        .collect()
}

/// Returns padding whose length follows from the place of the chunk.
pub fn padding(place: usize) -> &'static str {
    let length = place.wrapping_mul(7).wrapping_add(3).checked_rem(PADDING.len()).unwrap_or(0);
    PADDING.get(..length).unwrap_or(PADDING)
}

/// Puts words into the quotes of JSON; they hold nothing to escape.
pub fn quoted(word: &str) -> String {
    format!("\"{word}\"")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stream() -> Answer {
        let pieces = vec![
            Piece::frame("head"),
            Piece::content("one"),
            Piece::content("two"),
            Piece::usage("tail"),
        ];
        Answer {
            status: 200,
            pieces,
            stream: true,
            error_event: "oops".into(),
            ..Answer::default()
        }
    }

    fn text(answer: &Answer) -> String {
        answer.pieces.iter().map(|piece| String::from_utf8_lossy(&piece.bytes)).collect()
    }

    #[test]
    fn knobs_break_fail_and_cut_a_body() {
        const CASES: &[(&str, &str, bool, usize)] = &[
            ("", "headonetwotail", false, 4),
            ("abort=1", "headone", true, 2),
            ("abort=9", "headonetwotail", true, 4),
            ("error=1", "headoneoops", false, 3),
            ("piece=2", "headonetwotail", false, 8),
        ];
        for (knobs, body, broken, pieces) in CASES {
            let mut answer = stream();
            let knobs = Scenario::of_call(Some(knobs), None, b"").unwrap();
            assert_eq!(answer.shape(&knobs), *broken, "{knobs:?}");
            assert_eq!(
                (text(&answer).as_str(), answer.pieces.len()),
                (*body, *pieces),
                "{knobs:?}"
            );
        }
    }

    #[test]
    fn a_template_is_filled_with_json_text() {
        let template = Template::event("x", &json!({"n": HOLE, "t": HOLE}));
        assert_eq!(template.fill(&["7", "\"a\""]), "event: x\ndata: {\"n\":7,\"t\":\"a\"}\n\n");
    }

    #[test]
    fn words_have_the_size_asked_for() {
        let knobs = Scenario::of_call(Some("chunks=10,size=1000"), None, b"").unwrap();
        assert_eq!(words(&knobs).concat().len(), 1000);
    }
}
