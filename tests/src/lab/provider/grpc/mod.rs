//! A gRPC request comes in; its answer in messages and trailers, shaped by the scenario, goes out.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use hyper::Response;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::request::Parts;

use crate::lab::provider::answer::{Answer, Piece, words};
use crate::lab::provider::body::{Pace, PacedBody};
use crate::lab::provider::connection::Connection;
use crate::lab::provider::encoding::Encoding;
use crate::lab::provider::fact::{Outcome, Pending};
use crate::lab::provider::scenario::Scenario;
use crate::lab::provider::service::{REVOKED, Service, closing, key, text};
use crate::lab::provider::usage::{Shape, Usage};

mod gemini;
mod xai;

/// Bytes of a request's message, uncompressed.
const MESSAGE_BYTES_MAX: u64 = 64 << 20;

/// Length of what stands before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Codes that end calls (`google.rpc.Code`).
mod code {
    pub(super) const OK: u16 = 0;
    pub(super) const INVALID_ARGUMENT: u16 = 3;
    pub(super) const RESOURCE_EXHAUSTED: u16 = 8;
    pub(super) const UNIMPLEMENTED: u16 = 12;
    pub(super) const UNAVAILABLE: u16 = 14;
    pub(super) const UNAUTHENTICATED: u16 = 16;
}

/// One call, as the services see it.
#[derive(Debug)]
struct Call {
    model: String,
    usage: Usage,
    knobs: Scenario,
    /// Unique part of the identifiers in the answer.
    tag: String,
}

/// Reports whether a request is one of gRPC.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    text(headers, "content-type").is_some_and(|kind| kind.starts_with("application/grpc"))
}

impl Service {
    /// Answers a call.
    pub(super) fn rpc(
        &self,
        (head, body): (&Parts, &Bytes),
        tag: &str,
        mut pending: Pending,
        connection: Arc<Connection>,
    ) -> Response<PacedBody> {
        let message = message(&head.headers, body);
        let knobs = Scenario::of_call(
            text(&head.headers, "x-lab-scenario"),
            text(&head.headers, "x-lab-usage"),
            message.as_deref().unwrap_or_default(),
        );
        let Ok(knobs) = knobs else {
            return refuse(code::INVALID_ARGUMENT, pending, connection);
        };
        connection.split_writes(knobs.split);
        let mut answer = match self.rpc_answer(head, message.as_deref(), tag, &knobs) {
            Ok(answer) => answer,
            Err(code) => {
                let answer = Answer { status: 200, ..Answer::default() };
                pending.update(|fact| closing(fact, &answer, &knobs, Encoding::Identity));
                return refuse(code, pending, connection);
            }
        };
        let encoding = knobs.encoding.unwrap_or_default();
        frame(&mut answer, encoding == Encoding::Gzip);
        let broken = answer.shape(&knobs);
        // An error takes the place of the rest of a stream: here it is in the trailers.
        let fails = answer.stream && knobs.error.is_some();
        let last = if fails { code::UNAVAILABLE } else { code::OK };
        answer.pieces.retain(|piece| !piece.bytes.is_empty());
        pending.update(|fact| closing(fact, &answer, &knobs, encoding));
        let pace = Pace::new(&knobs, broken, None);
        let body = PacedBody::new(answer.pieces, pace, pending, connection);
        let mut response = Response::new(body.with_trailers(ending(last)));
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity, gzip"));
        if encoding == Encoding::Gzip {
            headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
        response
    }

    /// The answer, or the code of a refusal.
    fn rpc_answer(
        &self,
        head: &Parts,
        message: Option<&[u8]>,
        tag: &str,
        knobs: &Scenario,
    ) -> Result<Answer, u16> {
        if key(&head.headers).is_none_or(|key| key.contains(REVOKED)) {
            return Err(code::UNAUTHENTICATED);
        }
        if self.fails(knobs) {
            return Err(knobs.status.unwrap_or(code::RESOURCE_EXHAUSTED));
        }
        let message = message.ok_or(code::INVALID_ARGUMENT)?;
        let path = head.uri.path();
        let (service, name) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
        let call = |model: Option<String>| {
            let model = model.ok_or(code::INVALID_ARGUMENT)?;
            let usage = knobs.usage.unwrap_or_else(|| Usage::derived(&model, path));
            let usage = usage.as_told_by(Shape::Rpc);
            Ok::<_, u16>(Call { model, usage, knobs: knobs.clone(), tag: tag.to_owned() })
        };
        let answer = match (service, name) {
            ("xai_api.Chat", "GetCompletion") => xai::whole(&call(xai::model(message))?),
            ("xai_api.Chat", "GetCompletionChunk") => xai::stream(&call(xai::model(message))?),
            (_, "GenerateContent") if service.ends_with(".GenerativeService") => {
                gemini::whole(&call(gemini::model(message))?)
            }
            (_, "StreamGenerateContent") if service.ends_with(".GenerativeService") => {
                gemini::stream(&call(gemini::model(message))?)
            }
            _ => return Err(code::UNIMPLEMENTED),
        };
        Ok(Answer { status: 200, ..answer })
    }
}

/// The message of a request, uncompressed; `None` where there is none.
fn message(headers: &HeaderMap, body: &[u8]) -> Option<Vec<u8>> {
    let (prefix, rest) = body.split_first_chunk::<PREFIX_BYTES>()?;
    let [compressed, length @ ..] = *prefix;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    let message = rest.get(..length)?;
    match (compressed, text(headers, "grpc-encoding")) {
        (0, _) => Some(message.to_vec()),
        (1, Some("gzip")) => {
            let mut plain = Vec::new();
            GzDecoder::new(message).take(MESSAGE_BYTES_MAX).read_to_end(&mut plain).ok()?;
            Some(plain)
        }
        _ => None,
    }
}

/// Puts the prefix before each message, compressed or not.
fn frame(answer: &mut Answer, compress: bool) {
    for piece in &mut answer.pieces {
        let message = if compress { gzipped(&piece.bytes) } else { piece.bytes.to_vec() };
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let prefix = [&[u8::from(compress)][..], &length.to_be_bytes()].concat();
        piece.bytes = [prefix, message].concat().into();
    }
}

fn gzipped(message: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    // Reading from memory does not fail.
    drop(GzEncoder::new(message, Compression::fast()).read_to_end(&mut packed));
    packed
}

/// The fields that end a call.
fn ending(code: u16) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", HeaderValue::from(code));
    if code != code::OK {
        fields.insert("grpc-message", HeaderValue::from_static("The lab says no to your prompt."));
    }
    fields
}

/// An answer without a message: its trailers are its head.
fn refuse(code: u16, mut pending: Pending, connection: Arc<Connection>) -> Response<PacedBody> {
    pending.end(Outcome::Complete);
    let pace = Pace::new(&Scenario::default(), false, None);
    let mut response = Response::new(PacedBody::new(Vec::new(), pace, pending, connection));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.extend(ending(code));
    response
}

/// The pieces of a stream: what `part` makes of each word, and the last one.
fn pieces(call: &Call, part: impl Fn(u64, &str) -> Vec<u8>, last: Vec<u8>) -> Vec<Piece> {
    let words = words(&call.knobs);
    let parts = (1..).zip(&words).map(|(number, word)| Piece::content(part(number, word)));
    parts.chain([Piece::usage(last)]).collect()
}

/// A count as messages hold it.
fn count(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
