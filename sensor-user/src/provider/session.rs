//! Messages of both sides of a `WebSocket` come in; one exchange for each response that was made over it goes out.
//!
//! `OpenAI`'s responses and realtime APIs: the client sends `response.create`, the server says how the response gets on,
//! and at last what it used. A realtime server also begins responses of its own accord, and transcribes what it hears.

use std::collections::VecDeque;
use std::sync::LazyLock;

use crate::http::BodyEnd;
use crate::http::Message;
use crate::http::ResponseHead;
use crate::provider::Call;
use crate::provider::Dialect;
use crate::provider::Operation;
use crate::provider::Shape;
use crate::provider::answer::Answer;
use crate::provider::answer::Reader;
use crate::provider::exchange::Exchange;
use crate::provider::request::Asked;
use crate::provider::skim::Plan;
use crate::provider::skim::Skimmer;
use crate::provider::skim::Want;
use crate::provider::usage::clean;

/// Responses of one session under way at once; servers make one, realtime ones a few beside it.
const RESPONSES_MAX: usize = 32;

/// What matters of a client's message.
static ASKED: LazyLock<Plan> = LazyLock::new(|| {
    Plan::new(&[
        ("type", Want::Text),
        ("model", Want::Text),
        ("service_tier", Want::Text),
        ("response.model", Want::Text),
        ("session.model", Want::Text),
    ])
});

/// Events that end a response.
const LAST_EVENTS: &[&[u8]] = &[
    b"response.completed",
    b"response.incomplete",
    b"response.failed",
    b"response.cancelled",
    b"response.done",
];

/// Says what a transcription used; it is no response, and has a model of its own.
const TRANSCRIBED: &[u8] = b"conversation.item.input_audio_transcription.completed";
/// Where a session names the model that transcribes.
const TRANSCRIBERS: [&str; 2] =
    ["session.audio.input.transcription.model", "session.input_audio_transcription.model"];

/// A response under way.
#[derive(Debug)]
struct Open {
    /// Known from `response.created` on.
    id: Option<String>,
    exchange: Exchange,
}

/// A connection that speaks one of these APIs.
#[derive(Debug)]
pub(super) struct Session {
    /// What all responses have in common.
    handshake: Exchange,
    /// Model of the session, where it has one.
    model: Option<String>,
    transcriber: Option<String>,
    asking: Skimmer,
    answering: Reader,
    /// When the message under way began, of each side.
    asking_ns: Option<u64>,
    answering_ns: Option<u64>,
    open: VecDeque<Open>,
    /// Exchanges that have ended and were not taken yet: two a message at most.
    ended: Vec<(Exchange, BodyEnd)>,
    /// A client's message was lost: it may have begun a response.
    ask_lost: bool,
    /// An error has ended a response, and none has begun since: the event that ends it may still follow.
    errored: bool,
}

impl Session {
    /// Makes the session that a handshake has led to; gives the exchange back where it leads to another API.
    pub(super) fn begin(
        mut exchange: Exchange,
        head: &ResponseHead,
        at_ns: u64,
    ) -> Result<Self, Box<Exchange>> {
        if !matches!(exchange.shape(), Shape::Responses(_)) || exchange.call().repeated {
            return Err(Box::new(exchange));
        }
        exchange.accepted(head, at_ns);
        Ok(Self {
            model: exchange.call().request_model.clone(),
            handshake: exchange,
            transcriber: None,
            asking: Skimmer::new(&ASKED),
            answering: Reader::new(),
            asking_ns: None,
            answering_ns: None,
            open: VecDeque::new(),
            ended: Vec::new(),
            ask_lost: false,
            errored: false,
        })
    }

    /// The responses under way.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &Call> {
        self.open.iter().map(|open| open.exchange.call())
    }

    /// Takes bytes of a message.
    pub(super) fn data(&mut self, of: Message, bytes: &[u8], at_ns: u64) {
        match of {
            Message::Request => {
                self.asking_ns.get_or_insert(at_ns);
                self.asking.push(bytes);
            }
            Message::Response => {
                self.answering_ns.get_or_insert(at_ns);
                self.answering.push(bytes);
            }
        }
    }

    /// Ends a message.
    pub(super) fn end(&mut self, of: Message, end: BodyEnd, at_ns: u64) {
        match of {
            Message::Request => {
                let began_ns = self.asking_ns.take().unwrap_or(at_ns);
                self.asked(end, began_ns);
                self.asking.reset();
            }
            Message::Response => {
                let began_ns = self.answering_ns.take().unwrap_or(at_ns);
                if end == BodyEnd::Complete {
                    return self.answered(began_ns);
                }
                self.answering.end_document(&mut Answer::default());
                self.open.iter_mut().for_each(|open| open.exchange.hole());
            }
        }
    }

    /// Gives out an exchange that has ended, and how.
    pub(super) fn take_ended(&mut self) -> Option<(Exchange, BodyEnd)> {
        self.ended.pop()
    }

    /// Ends the session: what is under way was cut.
    pub(super) fn close(self) -> impl Iterator<Item = Exchange> {
        self.open.into_iter().map(|open| open.exchange)
    }

    /// Takes a whole message of the client.
    fn asked(&mut self, end: BodyEnd, at_ns: u64) {
        if end != BodyEnd::Complete {
            self.ask_lost = true;
            return;
        }
        let mut asked = Asked { has_input: true, stream: true, ..Asked::default() };
        let (mut creates, mut updates) = (false, false);
        for (path, slot) in self.asking.found() {
            let text = || slot.text().as_deref().and_then(clean);
            match path {
                "type" => {
                    creates = matches!(slot.written(), b"response.create" | b"response.append");
                    updates = slot.written() == b"session.update";
                }
                "service_tier" => asked.service_tier = text(),
                _ => asked.model = text(),
            }
        }
        if updates && asked.model.is_some() {
            self.model = asked.model.take();
        }
        if creates {
            self.begin_response(None, asked, at_ns);
        }
    }

    /// Begins a response; what gives way to it was never answered.
    fn begin_response(&mut self, id: Option<String>, asked: Asked, at_ns: u64) {
        self.errored = false;
        let model = asked.model.clone().or_else(|| self.model.clone());
        let exchange = self.handshake.response_of_session(asked, model, at_ns);
        self.open.push_back(Open { id, exchange });
        if self.open.len() > RESPONSES_MAX
            && let Some(open) = self.open.pop_front()
        {
            self.ended.push((open.exchange, BodyEnd::Aborted));
        }
    }

    /// Takes a whole message of the server.
    fn answered(&mut self, at_ns: u64) {
        let kind = self.answering.written("type").unwrap_or_default().to_vec();
        match kind.as_slice() {
            TRANSCRIBED => return self.transcribed(at_ns),
            b"session.created" | b"session.updated" => self.describe(),
            b"error" => return self.failed(at_ns),
            kind if kind.starts_with(b"response.") => return self.progress(kind, at_ns),
            _ => {}
        }
        self.answering.end_document(&mut Answer::default());
    }

    /// Keeps the models that the server says the session has.
    fn describe(&mut self) {
        let told = self.answering.text("session.model");
        self.model = told.as_deref().and_then(clean).or_else(|| self.model.take());
        let told = TRANSCRIBERS.iter().find_map(|path| self.answering.text(path));
        self.transcriber = told.as_deref().and_then(clean).or_else(|| self.transcriber.take());
    }

    fn progress(&mut self, kind: &[u8], at_ns: u64) {
        let id = ["response.id", "response_id"].iter().find_map(|path| self.answering.text(path));
        let found = self.find(id.as_deref());
        if found.is_none() && LAST_EVENTS.contains(&kind) && std::mem::take(&mut self.errored) {
            // The call is told already, with the error that came first.
            return self.answering.end_document(&mut Answer::default());
        }
        let index = found.unwrap_or_else(|| {
            let asked = Asked { has_input: true, stream: true, ..Asked::default() };
            self.begin_response(id.clone(), asked, at_ns);
            self.open.len().saturating_sub(1)
        });
        let Some(open) = self.open.get_mut(index) else { return };
        open.id = open.id.take().or(id);
        if std::mem::take(&mut self.ask_lost) {
            open.exchange.hole();
        }
        open.exchange.message(&mut self.answering, at_ns);
        if LAST_EVENTS.contains(&kind) {
            self.end_response(index);
        }
    }

    /// A response has no name before the server gives it one; later events of the responses API name none.
    fn find(&self, id: Option<&str>) -> Option<usize> {
        let Some(id) = id else { return (!self.open.is_empty()).then_some(0) };
        let named = self.open.iter().position(|open| open.id.as_deref() == Some(id));
        named.or_else(|| self.open.iter().position(|open| open.id.is_none()))
    }

    fn end_response(&mut self, index: usize) {
        let open = self.open.remove(index);
        self.ended.extend(open.map(|open| (open.exchange, BodyEnd::Complete)));
    }

    /// An error ends the response that has not begun; one that has begun says itself how it ends, in realtime.
    fn failed(&mut self, at_ns: u64) {
        let status = self.answering.text("status").and_then(|text| text.parse().ok());
        let nameless = self.open.iter().position(|open| open.id.is_none());
        let realtime = self.model.is_some();
        let index = nameless.or_else(|| (!realtime && !self.open.is_empty()).then_some(0));
        let Some((index, open)) = index.and_then(|at| Some((at, self.open.get_mut(at)?))) else {
            return self.answering.end_document(&mut Answer::default());
        };
        open.exchange.message(&mut self.answering, at_ns);
        open.exchange.refused(status);
        self.end_response(index);
        self.errored = true;
    }

    fn transcribed(&mut self, at_ns: u64) {
        let asked = Asked { has_input: true, ..Asked::default() };
        let model = self.transcriber.clone();
        let mut exchange = self.handshake.response_of_session(asked, model, at_ns);
        let dialect = match exchange.shape() {
            Shape::Responses(dialect) => dialect,
            _ => Dialect::default(),
        };
        exchange.becomes(Operation::Transcription, Shape::Media(dialect));
        exchange.message(&mut self.answering, at_ns);
        self.ended.push((exchange, BodyEnd::Complete));
    }
}
