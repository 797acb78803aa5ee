//! Head and decoded body of a response come in; the answer they add up to, and when it began to speak, go out.

use memchr::memmem;
use serde_json::json;

use crate::http::Headers;
use crate::http::ResponseHead;
use crate::http::sse;
use crate::provider::Operation;
use crate::provider::Shape;
use crate::provider::answer::Answer;
use crate::provider::answer::Reader;
use crate::provider::frames::FrameSink;
use crate::provider::frames::Frames;
use crate::provider::frames::Unwrapper;
use crate::provider::grpc::Answering;
use crate::provider::grpc::Body;
use crate::provider::grpc::Rpc;
use crate::provider::route::Route;

/// Bytes kept of the first line of a file: in results of a batch, what they answer stands behind a short id.
const FIRST_LINE_MAX: usize = 512;

/// How a body is cut into JSON documents.
#[derive(Debug)]
enum Mode {
    /// The first byte will tell; those may be messages of gRPC.
    Unknown(Option<Rpc>),
    Whole,
    Lines,
    Events(Box<sse::Parser>),
    /// Messages, and what unwraps their payloads (`InvokeModelWithResponseStream`).
    Frames(Frames, Option<Unwrapper>),
    /// Messages of gRPC.
    Rpc(Box<Answering>),
    /// Messages of a `WebSocket`, each a document, read elsewhere.
    Messages,
    /// Audio, images, pages of HTML.
    Opaque,
}

/// Reads one response.
#[derive(Debug)]
pub(super) struct Response {
    mode: Mode,
    reader: Reader,
    pub(super) answer: Answer,
    /// The path asked for a stream, whatever the content type says.
    streamed: bool,
    /// How a file begins that may be the results of a batch; `None` for anything else.
    first_line: Option<Vec<u8>>,
    pub(super) first_token_ns: Option<u64>,
}

impl Response {
    /// Chooses the mode by content type.
    pub(super) fn new(head: &ResponseHead, route: &Route) -> Self {
        let mode = match Body::of(&head.headers, route.rpc) {
            Body::Known(rpc) => Mode::Rpc(Box::new(Answering::new(&head.headers, rpc))),
            Body::Opaque => Mode::Opaque,
            Body::Foreign => mode_of(head, route),
        };
        let mut answer = Answer::default();
        let number = |name: &str| {
            std::str::from_utf8(head.headers.get(name)?).ok()?.trim().parse::<u64>().ok()
        };
        let (input, output) = (
            number("x-amzn-bedrock-input-token-count"),
            number("x-amzn-bedrock-output-token-count"),
        );
        if input.is_some() || output.is_some() {
            answer.merge(Some(json!({ "inputTokenCount": input, "outputTokenCount": output })));
        }
        let (reader, streamed) = (Reader::new(), route.streamed);
        let is_file = route.unread && route.operation == Operation::Files;
        let first_line = is_file.then(Vec::new);
        Self { mode, reader, answer, streamed, first_line, first_token_ns: None }
    }

    /// Makes the response that messages of a `WebSocket` add up to.
    pub(super) fn of_messages() -> Self {
        let (reader, answer) = (Reader::new(), Answer::default());
        let (streamed, first_line, first_token_ns) = (false, None, None);
        Self { mode: Mode::Messages, reader, answer, streamed, first_line, first_token_ns }
    }

    /// Whether it may hold answers that are billed and not read. A file says by its first line whether it is the results
    /// of a batch; one whose beginning was missed may be.
    pub(super) fn may_be_results(&self, is_complete: bool) -> bool {
        let Some(kept) = &self.first_line else { return true };
        let line = kept.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if !line.starts_with(b"{") {
            return !is_complete;
        }
        memmem::find(line, b"\"custom_id\"").is_some()
    }

    /// Takes a whole message.
    pub(super) fn message(&mut self, reader: &mut Reader, at_ns: u64) {
        reader.end_document(&mut self.answer);
        if self.first_token_ns.is_none() && self.answer.speaks {
            self.first_token_ns = Some(at_ns);
        }
    }

    /// Whether the answer comes in parts.
    pub(super) fn is_stream(&self) -> bool {
        let in_parts =
            matches!(self.mode, Mode::Events(_) | Mode::Lines | Mode::Frames(..) | Mode::Messages);
        in_parts || (self.streamed && matches!(self.mode, Mode::Whole | Mode::Rpc(_)))
    }

    /// Takes the next bytes of the body.
    pub(super) fn push(&mut self, bytes: &[u8], at_ns: u64) {
        if let Some(kept) = &mut self.first_line {
            let room = FIRST_LINE_MAX.saturating_sub(kept.len());
            kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
        let bytes = self.choose(bytes);
        match &mut self.mode {
            Mode::Unknown(_) | Mode::Messages | Mode::Opaque => {}
            Mode::Whole => self.reader.push(bytes),
            Mode::Lines => push_lines(&mut self.reader, &mut self.answer, bytes),
            Mode::Rpc(messages) => messages.push(bytes, &mut self.answer),
            Mode::Events(parser) => {
                let mut documents = Documents::new(&mut self.reader, &mut self.answer, None);
                parser.push(bytes, &mut documents);
            }
            Mode::Frames(frames, unwrapper) => {
                let unwrapper = unwrapper.as_mut();
                let mut documents = Documents::new(&mut self.reader, &mut self.answer, unwrapper);
                frames.push(bytes, &mut documents);
            }
        }
        if self.first_token_ns.is_none() && self.is_stream() {
            let early = matches!(self.mode, Mode::Whole) && self.reader.speaks();
            self.first_token_ns = (early || self.answer.speaks).then_some(at_ns);
        }
    }

    /// Ends the body.
    pub(super) fn end(&mut self) {
        match &mut self.mode {
            Mode::Events(parser) => {
                let mut documents = Documents::new(&mut self.reader, &mut self.answer, None);
                parser.finish(&mut documents);
            }
            Mode::Whole | Mode::Lines => self.reader.end_document(&mut self.answer),
            Mode::Unknown(_) | Mode::Frames(..) | Mode::Rpc(_) | Mode::Messages | Mode::Opaque => {}
        }
    }

    /// Tells the form of a body without content type by its first byte that is no space of JSON; the body begins there.
    fn choose<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Mode::Unknown(rpc) = self.mode else { return bytes };
        let at = bytes.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        let rest = at.and_then(|at| bytes.get(at..)).unwrap_or_default();
        let messages = rest.first().and_then(|byte| rpc?.begun_by(*byte));
        if let Some(rpc) = messages {
            self.mode = Mode::Rpc(Box::new(Answering::new(&Headers::default(), rpc)));
            return rest;
        }
        self.mode = match rest.first() {
            None => Mode::Unknown(rpc),
            Some(b'{' | b'[') => Mode::Whole,
            // `data:`, `event:`, `id:`, or a comment.
            Some(b'd' | b'e' | b'i' | b':') => Mode::Events(Box::default()),
            Some(_) => Mode::Opaque,
        };
        rest
    }
}

/// The form of a body by its content type.
fn mode_of(head: &ResponseHead, route: &Route) -> Mode {
    let kind = head.headers.get("content-type").unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    match kind.to_ascii_lowercase().as_slice() {
        b"" => Mode::Unknown(route.rpc),
        b"text/plain" => Mode::Unknown(None),
        b"text/event-stream" => Mode::Events(Box::default()),
        b"application/x-ndjson" | b"application/jsonl" | b"application/stream+json" => Mode::Lines,
        b"application/vnd.amazon.eventstream" => {
            Mode::Frames(Frames::new(), (route.shape == Shape::Invoke).then(Unwrapper::default))
        }
        other if other.ends_with(b"json") => Mode::Whole,
        _ => Mode::Opaque,
    }
}

/// Every line is a document; a line feed cannot stand inside one.
fn push_lines(reader: &mut Reader, answer: &mut Answer, bytes: &[u8]) {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        reader.push(line);
        if line.ends_with(b"\n") {
            reader.end_document(answer);
        }
    }
}

/// Feeds the parts of a stream to the reader.
struct Documents<'a> {
    reader: &'a mut Reader,
    answer: &'a mut Answer,
    unwrapper: Option<&'a mut Unwrapper>,
    decoded: Vec<u8>,
}

impl<'a> Documents<'a> {
    fn new(
        reader: &'a mut Reader,
        answer: &'a mut Answer,
        unwrapper: Option<&'a mut Unwrapper>,
    ) -> Self {
        Self { reader, answer, unwrapper, decoded: Vec::new() }
    }
}

impl sse::SseSink for Documents<'_> {
    fn event_name(&mut self, _name: &[u8]) {}

    fn data(&mut self, piece: &[u8]) {
        self.reader.push(piece);
    }

    fn dispatch(&mut self) {
        self.reader.end_document(self.answer);
    }
}

impl FrameSink for Documents<'_> {
    fn payload(&mut self, piece: &[u8]) {
        match &mut self.unwrapper {
            Some(unwrapper) => {
                unwrapper.push(piece, &mut self.decoded);
                self.reader.push(&self.decoded);
                self.decoded.clear();
            }
            None => self.reader.push(piece),
        }
    }

    fn end(&mut self, exception: Option<&str>) {
        self.reader.end_document(self.answer);
        if let Some(name) = exception {
            self.answer.fail(name);
        }
        if let Some(unwrapper) = &mut self.unwrapper {
            **unwrapper = Unwrapper::default();
        }
    }
}
