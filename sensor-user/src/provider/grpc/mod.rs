//! The path, header fields and messages of a gRPC call come in; what it asks for, what is answered and how it ended go out.
//!
//! A provider's SDK speaks it where its messages are protobuf. What they hold is told in the words of the same provider's
//! JSON, so that one reader of usage figures understands both.

mod frames;
mod google;
mod status;
mod wire;
mod xai;

use serde_json::Value;

use crate::http::Headers;
use crate::provider::Dialect;
use crate::provider::Operation;
use crate::provider::Provider;
use crate::provider::answer::Answer;
use crate::provider::catalogue::Api;
use crate::provider::gemini;
use crate::provider::grpc::frames::Frames;
use crate::provider::grpc::frames::MessageSink;
use crate::provider::grpc::wire::Skimmer;
use crate::provider::grpc::wire::Slot;
use crate::provider::request::Asked;
use crate::provider::route::Method;
use crate::provider::route::Route;
use crate::provider::usage::clean;

#[cfg(test)]
pub(in crate::provider) use frames::tests::framed;
#[cfg(test)]
pub(in crate::provider) use frames::tests::gzipped;
pub(super) use status::http_status;
pub(super) use status::name;

/// What every content type of gRPC begins with.
const CONTENT_TYPE: &[u8] = b"application/grpc";

/// The wanted fields of a message.
type Plan = &'static [Field];

/// A field, by the numbers that lead to it, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    path: &'static [u32],
    fact: Fact,
}

/// What a field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    /// Identifier of the answer.
    Id,
    /// A model's name, or the name of the resource that it is.
    Model,
    /// A service tier, by its number.
    Tier(&'static [&'static str]),
    /// There is something for a model to read.
    Input,
    /// The usage figures.
    Usage(Usage),
    /// Generated content.
    Content,
    /// A number other than 0 ends the answer.
    Finish,
    /// Searches that were made for an answer.
    Searches,
    /// xAI's figures in a part of a stream, the model's name in a whole answer.
    UsageOrModel,
}

impl Fact {
    fn is_text(self) -> bool {
        matches!(self, Self::Id | Self::Model | Self::UsageOrModel)
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Tier(_) | Self::Finish)
    }
}

/// Which message holds the usage figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    /// xAI's.
    Sampling,
    /// Gemini's.
    Gemini,
    /// Vertex's.
    Vertex,
}

impl Usage {
    /// The figures as the same provider writes them in JSON.
    fn read(self, message: &[u8]) -> Option<Value> {
        match self {
            Self::Sampling => xai::usage(message),
            Self::Gemini => google::gemini_usage(message),
            Self::Vertex => google::vertex_usage(message),
        }
    }
}

/// What is wanted of the two messages of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rpc {
    asked: Plan,
    answered: Plan,
    /// The model that is asked for tells the operation.
    by_model: bool,
    /// The path was not seen: whether these are messages at all, their first byte tells.
    is_guess: bool,
}

impl Rpc {
    const fn new(asked: Plan, answered: Plan) -> Self {
        Self { asked, answered, by_model: false, is_guess: false }
    }

    /// The messages of a body of which nothing is known but its first byte.
    pub(super) fn begun_by(self, byte: u8) -> Option<Self> {
        // Neither JSON nor an event begins with what says whether a message is compressed.
        Some(self).filter(|rpc| rpc.is_guess && byte <= 1)
    }

    /// The operation, where only the model tells it.
    pub(super) fn operation(self, model: Option<&str>) -> Option<Operation> {
        model.filter(|_| self.by_model).and_then(gemini::predicted)
    }
}

/// Finds the route of `/package.Service/Method`; `None` where no known service has such a method.
pub(super) fn route(method: Method, path: &[&str]) -> Option<Route> {
    let [service, name] = path else { return None };
    let (package, service) = service.rsplit_once('.')?;
    if method == Method::Read {
        return None;
    }
    match package {
        "xai_api" => Some(xai::route(service, name)),
        _ if package.starts_with("google.ai.generativelanguage.") => {
            Some(google::gemini(service, name))
        }
        _ if package.starts_with("google.cloud.aiplatform.") => Some(google::vertex(service, name)),
        _ => None,
    }
}

/// The messages that calls of a provider have, where no path was seen.
pub(super) fn guessed(provider: &Provider) -> Option<Rpc> {
    let (asked, answered) = match provider.api {
        Api::Gemini => google::guessed(&provider.id),
        _ if provider.dialect == Dialect::Xai => xai::GUESSED,
        _ => return None,
    };
    Some(Rpc { is_guess: true, ..Rpc::new(asked, answered) })
}

/// What a body is by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Of another protocol.
    Foreign,
    /// Messages of which nothing is known.
    Opaque,
    /// Messages that are understood.
    Known(Rpc),
}

impl Body {
    /// Chooses by content type; one that was not seen is that of the path.
    pub(super) fn of(headers: &Headers, rpc: Option<Rpc>) -> Self {
        let Some(kind) = headers.get("content-type") else {
            return rpc.filter(|rpc| !rpc.is_guess).map_or(Self::Foreign, Self::Known);
        };
        let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let Some((begin, format)) = kind.split_at_checked(CONTENT_TYPE.len()) else {
            return Self::Foreign;
        };
        if !begin.eq_ignore_ascii_case(CONTENT_TYPE) || format.starts_with(b"-web") {
            return Self::Foreign;
        }
        let is_protobuf = format.is_empty() || format.eq_ignore_ascii_case(b"+proto");
        rpc.filter(|_| is_protobuf).map_or(Self::Opaque, Self::Known)
    }
}

/// The code of `grpc-status`, in trailers or in the head of an answer without messages. The text beside it may quote a
/// prompt: it is not read.
pub(super) fn status(fields: &Headers) -> Option<u16> {
    std::str::from_utf8(fields.get("grpc-status")?).ok()?.trim().parse().ok()
}

/// Reads the messages of a body.
#[derive(Debug)]
struct Messages {
    frames: Frames,
    skim: Skimmer,
    /// Messages that could not be read.
    broken: u64,
}

impl Messages {
    fn new(headers: &Headers, plan: Plan) -> Self {
        let coding = headers.get("grpc-encoding");
        Self { frames: Frames::new(coding), skim: Skimmer::new(plan), broken: 0 }
    }

    fn push(&mut self, bytes: &[u8], note: &mut dyn FnMut(&Field, &Slot)) {
        let Self { frames, skim, broken } = self;
        frames.push(bytes, &mut Each { skim, broken, note });
    }

    fn broken(&self) -> u64 {
        self.broken.saturating_add(u64::from(self.frames.is_broken()))
    }
}

/// Skims one message after the other, and tells what was found in each at its end.
struct Each<'a> {
    skim: &'a mut Skimmer,
    broken: &'a mut u64,
    note: &'a mut dyn FnMut(&Field, &Slot),
}

impl MessageSink for Each<'_> {
    fn piece(&mut self, bytes: &[u8]) {
        self.skim.push(bytes);
    }

    fn end(&mut self, is_whole: bool) {
        let broken = !is_whole || !self.skim.is_whole();
        *self.broken = self.broken.saturating_add(u64::from(broken));
        if is_whole {
            self.skim.found().for_each(|(field, slot)| (self.note)(field, slot));
        }
        self.skim.reset();
    }
}

/// Reads what is asked for.
#[derive(Debug)]
pub(super) struct Asking {
    messages: Messages,
    asked: Asked,
}

impl Asking {
    /// Begins a request's body.
    pub(super) fn new(headers: &Headers, rpc: Rpc) -> Self {
        Self { messages: Messages::new(headers, rpc.asked), asked: Asked::default() }
    }

    /// Takes the next bytes of the body.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let asked = &mut self.asked;
        self.messages.push(bytes, &mut |field, slot| match field.fact {
            Fact::Model => {
                let named = text(slot);
                let (model, place) = google::model(&named);
                asked.model = clean(model);
                asked.geo = place.and_then(clean);
            }
            Fact::Tier(names) => asked.service_tier = tier(names, slot),
            Fact::Input => asked.has_input = true,
            _ => {}
        });
    }

    /// What is known so far.
    pub(super) fn asked(&self) -> Asked {
        self.asked.clone()
    }

    /// Whether the body was not what its type said.
    pub(super) fn is_broken(&self) -> bool {
        self.messages.broken() > 0
    }
}

/// Reads what is answered.
#[derive(Debug)]
pub(super) struct Answering(Messages);

impl Answering {
    /// Begins an answer's body.
    pub(super) fn new(headers: &Headers, rpc: Rpc) -> Self {
        Self(Messages::new(headers, rpc.answered))
    }

    /// Takes the next bytes of the body; whole messages are added to the answer.
    pub(super) fn push(&mut self, bytes: &[u8], answer: &mut Answer) {
        self.0.push(bytes, &mut |field, slot| note(answer, field.fact, slot));
        answer.broken = self.0.broken();
    }
}

fn note(answer: &mut Answer, fact: Fact, slot: &Slot) {
    match fact {
        Fact::Id if answer.id.is_none() => answer.id = clean(&text(slot)),
        Fact::Model if answer.model.is_none() => answer.model = clean(google::model(&text(slot)).0),
        Fact::Tier(names) => {
            answer.service_tier = tier(names, slot).or_else(|| answer.service_tier.take());
        }
        Fact::Usage(usage) => answer.merge(usage.read(&slot.bytes)),
        Fact::UsageOrModel => match xai::usage(&slot.bytes) {
            Some(usage) => answer.merge(Some(usage)),
            None => note(answer, Fact::Model, slot),
        },
        Fact::Content => answer.speaks = true,
        Fact::Finish => answer.finished |= slot.number != 0,
        Fact::Searches => answer.grounding_queries = answer.grounding_queries.max(slot.number),
        Fact::Id | Fact::Model | Fact::Input => {}
    }
}

fn text(slot: &Slot) -> String {
    String::from_utf8_lossy(&slot.bytes).into_owned()
}

fn tier(names: &[&str], slot: &Slot) -> Option<String> {
    let name = usize::try_from(slot.number).ok().and_then(|number| names.get(number))?;
    (!name.is_empty()).then(|| (*name).to_owned())
}
