//! A request body comes in, split anywhere; the model asked for and what decides the price go out, never the prompt.

use std::sync::LazyLock;

use crate::http::Headers;
use crate::provider::Shape;
use crate::provider::grpc::Asking;
use crate::provider::grpc::Body;
use crate::provider::grpc::Rpc;
use crate::provider::multipart::Form;
use crate::provider::route::Route;
use crate::provider::skim::Plan;
use crate::provider::skim::Skimmer;
use crate::provider::skim::Want;
use crate::provider::usage::clean;

macro_rules! asked_paths {
    ($($more:expr),*) => {
        Plan::new(&[
            ("model", Want::Text),
            ("model_id", Want::Text),
            ("stream", Want::Filled),
            ("service_tier", Want::Text),
            ("speed", Want::Text),
            ("inference_geo", Want::Text),
            ("messages", Want::Filled),
            ("input", Want::Filled),
            ("prompt", Want::Filled),
            ("contents", Want::Filled),
            ("texts", Want::Filled),
            ("documents", Want::Filled),
            $($more),*
        ])
    };
}

static PLAN: LazyLock<Plan> = LazyLock::new(|| asked_paths!());

/// Cached prompts mark their parts at any depth; only this shape pays for looking at every key.
static CACHING_PLAN: LazyLock<Plan> =
    LazyLock::new(|| asked_paths!(("**.cache_control.ttl", Want::Tally(&["1h"]))));

/// What a request body asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) model: Option<String>,
    pub(super) stream: bool,
    pub(super) service_tier: Option<String>,
    pub(super) speed: Option<String>,
    pub(super) geo: Option<String>,
    /// A part of the prompt is to be cached for an hour.
    pub(super) long_cache: bool,
    /// There is something for a model to read.
    pub(super) has_input: bool,
}

/// Fields of forms that matter; `file` says that there is audio or an image.
const FORM_FIELDS: &[&str] = &["model", "stream", "prompt"];

/// Reads one request body.
#[derive(Debug)]
pub(super) enum Reader {
    /// JSON, or what turns out not to be.
    Json(Box<Skimmer>),
    /// A form with files.
    Form(Box<Form>),
    /// Messages of gRPC.
    Rpc(Box<Asking>),
    /// Messages or JSON, as the first byte will tell.
    Unknown(Rpc),
    /// Nothing that could be read.
    Opaque,
}

impl Reader {
    /// Chooses by content type; where there is none the body is taken for JSON.
    pub(super) fn new(headers: &Headers, route: &Route) -> Self {
        match Body::of(headers, route.rpc) {
            Body::Known(rpc) => return Self::Rpc(Box::new(Asking::new(headers, rpc))),
            Body::Opaque => return Self::Opaque,
            Body::Foreign => {}
        }
        let kind = headers.get("content-type").unwrap_or_default();
        if let (true, Some(rpc)) = (kind.is_empty(), route.rpc) {
            return Self::Unknown(rpc);
        }
        let is = |name: &str| {
            kind.get(..name.len()).is_some_and(|k| k.eq_ignore_ascii_case(name.as_bytes()))
        };
        if is("multipart/form-data") {
            let form = Form::new(kind, FORM_FIELDS);
            return form.map_or(Self::Opaque, |form| Self::Form(Box::new(form)));
        }
        if is("audio/") || is("image/") || is("video/") || is("application/octet-stream") {
            return Self::Opaque;
        }
        Self::json(route.shape)
    }

    fn json(shape: Shape) -> Self {
        let caches = matches!(shape, Shape::Messages | Shape::Invoke | Shape::Guess);
        let plan: &'static Plan = if caches { &CACHING_PLAN } else { &PLAN };
        Self::Json(Box::new(Skimmer::new(plan)))
    }

    /// Takes the next bytes of the body.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let (Self::Unknown(rpc), Some(first)) = (&*self, bytes.first()) {
            let messages = rpc.begun_by(*first);
            let rpc =
                messages.map(|rpc| Self::Rpc(Box::new(Asking::new(&Headers::default(), rpc))));
            *self = rpc.unwrap_or_else(|| Self::json(Shape::Guess));
        }
        match self {
            Self::Json(skim) => skim.push(bytes),
            Self::Form(form) => form.push(bytes),
            Self::Rpc(rpc) => rpc.push(bytes),
            Self::Opaque | Self::Unknown(_) => {}
        }
    }

    /// What is known so far.
    pub(super) fn asked(&self) -> Asked {
        let mut asked = Asked::default();
        match self {
            Self::Json(skim) => read(skim, &mut asked),
            Self::Form(form) => {
                asked.model = form.value("model").and_then(clean);
                asked.stream = form.value("stream").is_some_and(|v| v.eq_ignore_ascii_case("true"));
                asked.has_input = true;
            }
            Self::Rpc(rpc) => return rpc.asked(),
            Self::Opaque | Self::Unknown(_) => {}
        }
        asked
    }

    /// Whether the body was not what its type said.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Self::Json(skim) => skim.is_broken(),
            Self::Rpc(rpc) => rpc.is_broken(),
            Self::Form(_) | Self::Opaque | Self::Unknown(_) => false,
        }
    }
}

fn read(skim: &Skimmer, asked: &mut Asked) {
    for (path, slot) in skim.found() {
        let text = || slot.text().as_deref().and_then(clean);
        match path {
            "model" | "model_id" => asked.model = text(),
            "stream" => asked.stream = true,
            "service_tier" => asked.service_tier = text(),
            "speed" => asked.speed = text(),
            "inference_geo" => asked.geo = text(),
            "**.cache_control.ttl" => asked.long_cache = slot.count(0) > 0,
            _ => asked.has_input = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Header;
    use crate::provider::Dialect;
    use crate::provider::Operation;
    use crate::redact::Redacted;

    fn reader(kind: &'static str, shape: Shape) -> Reader {
        let name = Some(bytes::Bytes::from_static(b"content-type"));
        let fields = vec![Header { name, value: Redacted::new(kind) }];
        let route = Route::new(Operation::Other, shape);
        Reader::new(&Headers { fields, incomplete: false }, &route)
    }

    const CHAT: &[u8] = br#"{"messages":[{"role":"user","content":"say \"model\": {}"}],"stream":true,"tools":[{"model":"no",
        "cache_control":{"type":"ephemeral","ttl":"1h"}}],"service_tier":"flex","model":"gpt-x"}"#;

    #[test]
    fn the_model_is_found_behind_the_messages() {
        for cut in 0..=CHAT.len() {
            let mut reader = reader("application/json", Shape::Messages);
            reader.push(&CHAT[..cut]);
            reader.push(&CHAT[cut..]);
            let expected = Asked {
                model: Some("gpt-x".into()),
                stream: true,
                service_tier: Some("flex".into()),
                long_cache: true,
                has_input: true,
                ..Asked::default()
            };
            assert_eq!(reader.asked(), expected, "cut at {cut}");
        }
    }

    #[test]
    fn stream_false_is_no_stream() {
        let mut reader = reader("application/json", Shape::None);
        reader.push(br#"{"model":"m","stream":false,"input":""}"#);
        let asked = reader.asked();
        assert!(!asked.stream && !asked.has_input);
    }

    #[test]
    fn forms_name_their_model() {
        let mut reader = reader("multipart/form-data; boundary=x", Shape::Media(Dialect::Standard));
        reader.push(
            b"--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x--\r\n",
        );
        assert_eq!(reader.asked().model.as_deref(), Some("whisper-1"));
    }

    #[test]
    fn a_broken_body_is_given_up_quietly() {
        let mut reader = reader("application/json", Shape::None);
        reader.push(b"model=gpt-x&input=1");
        assert!(reader.is_broken());
        assert_eq!(reader.asked(), Asked::default());
    }
}
