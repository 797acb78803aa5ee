//! Bodies of a gRPC call come in; one call, the same however they are cut, goes out.

use std::sync::Arc;

use bytes::Bytes;
use sensor_user::http::{BodyEnd, Event, ExchangeId, RequestHead, ResponseHead, Sink, Version};
use sensor_user::provider::{Call, Config, Tracker};
use sensor_user::redact::Redacted;

use crate::input::{Choices, SINGLE_MAX, has};
use crate::provider::{CATALOGUE, KEY, assert_bounded, headers};

/// Option: the bodies are messages, which get their prefix here, so that its length is right.
const FRAMED: u8 = 1 << 3;
/// Option: messages may be compressed.
const CODED: u8 = 1 << 4;

/// Host and path, by the low bits of the options.
const PLACES: [(&str, &str); 8] = [
    ("api.x.ai", "/xai_api.Chat/GetCompletion"),
    ("api.x.ai", "/xai_api.Chat/GetCompletionChunk"),
    ("api.x.ai", "/xai_api.Chat/GetDeferredCompletion"),
    ("api.x.ai", "/xai_api.Sample/SampleTextStreaming"),
    (
        "generativelanguage.googleapis.com",
        "/google.ai.generativelanguage.v1beta.GenerativeService/StreamGenerateContent",
    ),
    ("aiplatform.googleapis.com", "/google.cloud.aiplatform.v1.PredictionService/GenerateContent"),
    ("aiplatform.googleapis.com", "/google.cloud.aiplatform.v1.PredictionService/Predict"),
    ("api.x.ai", "/other.Service/Method"),
];

/// Runs one input: a byte of options, how long the request is (in fours), the request, the answer.
pub(crate) fn run(data: &[u8]) {
    let [options, length, bodies @ ..] = data else { return };
    let place = usize::from(*length).saturating_mul(4).min(bodies.len());
    let (asked, answer) = bodies.split_at(place);
    let (asked, answer) = (framed(*options, asked), framed(*options, answer));
    let (whole, broken) = tell(*options, &[&asked], &[&answer]);
    assert_bounded(&whole);
    let mut choices = Choices::of(data);
    let mut cuts = vec![(choices.parts(&asked), choices.parts(&answer))];
    if bodies.len() <= SINGLE_MAX {
        cuts.push((asked.chunks(1).collect(), answer.chunks(1).collect()));
    }
    for (asked, answer) in cuts {
        let (cut, cut_broken) = tell(*options, &asked, &answer);
        // Where a coded message is over its bound depends on how much of it has come.
        if !has(*options, CODED) || broken == 0 && cut_broken == 0 {
            assert_eq!(format!("{cut:?}"), format!("{whole:?}"));
            assert_eq!(broken, cut_broken);
        }
    }
}

/// The body as it is, or as messages that end with a byte no text holds.
fn framed(options: u8, body: &[u8]) -> Vec<u8> {
    if !has(options, FRAMED) {
        return body.to_vec();
    }
    let message = |message: &[u8]| {
        let length = u32::try_from(message.len()).unwrap_or(0).to_be_bytes();
        [&[0], &length[..], message].concat()
    };
    body.split(|byte| *byte == 0xff).flat_map(message).collect()
}

/// Tells of the call with bodies in the given parts; gives it back with the number of broken bodies.
fn tell(options: u8, asked: &[&[u8]], answer: &[&[u8]]) -> (Call, u64) {
    let mut tracker = Tracker::new(Arc::clone(&CATALOGUE), Config::default(), "");
    let id = ExchangeId(1);
    let (host, target) = PLACES[usize::from(options & 7)];
    let coding = if has(options, CODED) { "gzip" } else { "identity" };
    let fields = [("content-type", "application/grpc"), ("grpc-encoding", coding)];
    let request = RequestHead {
        version: Version::Http2,
        method: Bytes::from_static(b"POST"),
        target: Redacted::new(target),
        authority: Bytes::from_static(host.as_bytes()),
        headers: headers(&[("authorization", KEY), fields[0], fields[1]]),
    };
    tracker.event(id, 100, Event::Request(&request));
    for part in asked.iter().filter(|part| !part.is_empty()) {
        tracker.event(id, 200, Event::RequestBody(part));
    }
    tracker.event(id, 200, Event::RequestEnd(BodyEnd::Complete));
    let head =
        ResponseHead { version: Version::Http2, status: Some(200), headers: headers(&fields) };
    tracker.event(id, 300, Event::Response(&head));
    for part in answer.iter().filter(|part| !part.is_empty()) {
        tracker.event(id, 400, Event::ResponseBody(part));
    }
    let status = ["0", "8", "999999", ""][usize::from(options >> 5 & 3)];
    if !status.is_empty() {
        tracker.event(id, 450, Event::Trailers(&headers(&[("grpc-status", status)])));
    }
    let end = if has(options, 1 << 7) { BodyEnd::Aborted } else { BodyEnd::Complete };
    tracker.event(id, 500, Event::ResponseEnd(end));
    let mut calls: Vec<_> = tracker.take_calls().collect();
    assert_eq!(calls.len(), 1, "one request is one call");
    (calls.remove(0), tracker.metrics().bodies_broken)
}
