//! Realistic exchanges come in, whole and cut at every byte; the calls that the tracker makes of them are compared.

use std::sync::Arc;
use std::sync::LazyLock;

use bytes::Bytes;

use crate::http::BodyEnd;
use crate::http::Event;
use crate::http::ExchangeId;
use crate::http::Header;
use crate::http::Headers;
use crate::http::RequestHead;
use crate::http::ResponseHead;
use crate::http::Sink;
use crate::http::Version;
use crate::provider::Call;
use crate::provider::Catalogue;
use crate::provider::Config;
use crate::provider::Tracker;
use crate::provider::Usage;
use crate::redact::Redacted;

mod anthropic;
mod compatible;
mod connection;
mod google_aws;
mod grpc;
mod hostile;
mod openai;
mod session;
mod vectors;

static CATALOGUE: LazyLock<Arc<Catalogue>> =
    LazyLock::new(|| Arc::new(Catalogue::bundled().unwrap()));

/// One request and its response, as the decoder would tell them.
#[derive(Clone, Copy)]
struct Story<'a> {
    host: &'a str,
    method: &'a str,
    target: &'a str,
    asked: &'a [u8],
    asked_type: &'a str,
    status: Option<u16>,
    answer: &'a [u8],
    answer_type: &'a str,
    end: BodyEnd,
}

impl<'a> Story<'a> {
    fn new(host: &'a str, target: &'a str, asked: &'a str, answer: &'a str) -> Self {
        let answer_type = if answer.starts_with(['d', 'e', ':']) {
            "text/event-stream; charset=utf-8"
        } else {
            "application/json"
        };
        Self {
            host,
            method: "POST",
            target,
            asked: asked.as_bytes(),
            asked_type: "application/json",
            status: Some(200),
            answer: answer.as_bytes(),
            answer_type,
            end: BodyEnd::Complete,
        }
    }

    fn cut(self, end: BodyEnd) -> Self {
        Self { end, ..self }
    }

    fn status(self, status: u16) -> Self {
        Self { status: Some(status), ..self }
    }

    /// Tells the story with bodies in the given parts; the head of the answer comes at 300, its body from 400 on.
    fn tell(&self, tracker: &mut Tracker, id: u64, (asked, answer): (&[&[u8]], &[&[u8]])) {
        let id = ExchangeId(id);
        let head =
            request(self.method, self.host, self.target, &[("content-type", self.asked_type)]);
        tracker.event(id, 100, Event::Request(&head));
        for part in asked {
            tracker.event(id, 200, Event::RequestBody(part));
        }
        tracker.event(id, 200, Event::RequestEnd(BodyEnd::Complete));
        if self.status.is_some() {
            let head = response(self.status, &[("content-type", self.answer_type)]);
            tracker.event(id, 300, Event::Response(&head));
        }
        for (at, part) in (400..).zip(answer) {
            tracker.event(id, at, Event::ResponseBody(part));
        }
        tracker.event(id, 900_000, Event::ResponseEnd(self.end));
    }

    /// The call that comes of it, the same however the bodies are cut.
    fn call(&self) -> Call {
        let told = |asked: &[&[u8]], answer: &[&[u8]]| {
            let mut tracker = tracker("");
            self.tell(&mut tracker, 1, (asked, answer));
            let mut calls: Vec<Call> = tracker.take_calls().collect();
            assert_eq!(calls.len(), 1);
            calls.remove(0)
        };
        let whole = told(&[self.asked], &[self.answer]);
        for cut in 0..=self.answer.len() {
            let (a, b) = self.answer.split_at(cut);
            assert_eq!(facts(&told(&[self.asked], &[a, b])), facts(&whole), "answer cut at {cut}");
        }
        for cut in 0..=self.asked.len() {
            let (a, b) = self.asked.split_at(cut);
            assert_eq!(
                facts(&told(&[a, b], &[self.answer])),
                facts(&whole),
                "request cut at {cut}"
            );
        }
        let bytes = |body: &'a [u8]| body.chunks(1).collect::<Vec<_>>();
        assert_eq!(
            facts(&told(&bytes(self.asked), &bytes(self.answer))),
            facts(&whole),
            "by bytes"
        );
        whole
    }
}

fn tracker(server_name: &str) -> Tracker {
    Tracker::new(Arc::clone(&CATALOGUE), Config::default(), server_name)
}

fn headers(fields: &[(&str, &str)]) -> Headers {
    let field = |(name, value): &(&str, &str)| Header {
        name: Some(Bytes::copy_from_slice(name.as_bytes())),
        value: Redacted::new(*value),
    };
    Headers { fields: fields.iter().map(field).collect(), incomplete: false }
}

fn request(method: &str, host: &str, target: &str, fields: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        version: Version::Http11,
        method: Bytes::copy_from_slice(method.as_bytes()),
        target: Redacted::new(target),
        authority: Bytes::copy_from_slice(host.as_bytes()),
        headers: headers(fields),
    }
}

fn response(status: Option<u16>, fields: &[(&str, &str)]) -> ResponseHead {
    ResponseHead { version: Version::Http11, status, headers: headers(fields) }
}

/// What does not depend on the arrival of the parts.
fn facts(call: &Call) -> String {
    format!(
        "{} {} {:?} {:?} {:?} stream={} {:?} {:?} {} {:?} token={}",
        call.provider,
        call.operation.as_str(),
        call.request_model,
        call.response_model,
        call.response_id,
        call.stream,
        call.error_type,
        call.usage_quality,
        counts(&call.usage),
        call.context,
        call.first_token_ns.is_some(),
    )
}

/// The known counts, by short names.
fn counts(usage: &Usage) -> String {
    let all = [
        ("in", usage.input_uncached),
        ("read", usage.cache_read),
        ("w5m", usage.cache_write_5m),
        ("w30m", usage.cache_write_30m),
        ("w1h", usage.cache_write_1h),
        ("w12h", usage.cache_write_12h),
        ("in_audio", usage.input_audio),
        ("in_image", usage.input_image),
        ("out", usage.output),
        ("think", usage.output_reasoning),
        ("web", usage.web_searches),
        ("files", usage.file_searches),
        ("units", usage.search_units),
        ("millis", usage.audio_millis),
        ("usd", usage.reported_picodollars.and_then(|usd| u64::try_from(usd).ok())),
    ];
    let known = all.iter().filter_map(|(name, count)| Some(format!("{name}={}", (*count)?)));
    known.collect::<Vec<_>>().join(" ")
}
