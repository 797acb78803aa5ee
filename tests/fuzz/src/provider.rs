//! Bodies of a request and its answer come in; one call, the same however they are cut, and its price go out.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use sensor_user::credential::{FleetKey, Keyring};
use sensor_user::http::{
    BodyEnd, Event, ExchangeId, Header, Headers, RequestHead, ResponseHead, Sink, Version,
};
use sensor_user::provider::{Call, Catalogue, Config, Tracker, UsageQuality};
use sensor_user::redact::Redacted;
use sensor_user::spend::{Prices, Query};

use crate::input::{Choices, SINGLE_MAX};

/// Between the two bodies; no JSON holds it.
const SEPARATOR: u8 = 0xff;
/// Longest text that a call may carry out, in bytes.
const TEXT_MAX: usize = 256;
/// When the price is asked for, in seconds since 1970.
const AT_UNIX_SECONDS: i64 = 1_790_000_000;
/// A key that is obviously none.
pub(crate) const KEY: &str = "Bearer sk-proj-FUZZFAKEfuzzFAKE0000";

/// Where requests go, and how their answers are declared.
pub(crate) struct Service {
    host: &'static str,
    targets: [&'static str; 4],
    kinds: [&'static str; 4],
    listed: bool,
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream; charset=utf-8";
const FRAMES: &str = "application/vnd.amazon.eventstream";
const LINES: &str = "application/x-ndjson";

pub(crate) const OPENAI_CHAT: Service = Service {
    host: "api.openai.com",
    targets: [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/audio/transcriptions",
    ],
    kinds: [JSON, EVENTS, "", JSON],
    listed: true,
};
pub(crate) const OPENAI_RESPONSES: Service = Service {
    host: "eu.api.openai.com",
    targets: ["/v1/responses", "/v1/responses/resp_1", "/v1/images/generations", "/v1/batches"],
    kinds: [JSON, EVENTS, "", EVENTS],
    listed: true,
};
pub(crate) const ANTHROPIC: Service = Service {
    host: "api.anthropic.com",
    targets: ["/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches", "/v1/complete"],
    kinds: [JSON, EVENTS, "", LINES],
    listed: true,
};
pub(crate) const AZURE: Service = Service {
    host: "corp.openai.azure.com",
    targets: [
        "/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
        "/openai/v1/responses",
        "/openai/deployments/emb/embeddings?api-version=2024-10-21",
        "/openai/responses?api-version=preview",
    ],
    kinds: [JSON, EVENTS, "", JSON],
    listed: true,
};
pub(crate) const COMPATIBLE: Service = Service {
    host: "openrouter.ai",
    targets: [
        "/api/v1/chat/completions",
        "/api/v1/completions",
        "/api/v1/messages",
        "/api/v1/embeddings",
    ],
    kinds: [JSON, EVENTS, "", JSON],
    listed: true,
};
pub(crate) const UNLISTED: Service = Service {
    host: "llm.corp.example",
    targets: [
        "/v1/chat/completions",
        "/api/chat",
        "/v1/messages",
        "/v1beta/models/m:generateContent",
    ],
    kinds: [JSON, EVENTS, LINES, ""],
    listed: false,
};
pub(crate) const GEMINI: Service = Service {
    host: "generativelanguage.googleapis.com",
    targets: [
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse&key=not-a-real-key",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
        "/v1beta/interactions",
    ],
    kinds: [JSON, EVENTS, "", JSON],
    listed: true,
};
pub(crate) const BEDROCK: Service = Service {
    host: "bedrock-runtime.us-east-1.amazonaws.com",
    targets: [
        "/model/eu.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse",
        "/model/m/converse-stream",
        "/model/anthropic.claude-x/invoke-with-response-stream",
        "/model/m/invoke",
    ],
    kinds: [JSON, FRAMES, FRAMES, EVENTS],
    listed: true,
};
pub(crate) const COHERE: Service = Service {
    host: "api.cohere.com",
    targets: ["/v2/chat", "/v1/chat", "/v2/rerank", "/v2/embed"],
    kinds: [JSON, EVENTS, LINES, JSON],
    listed: true,
};

pub(crate) static CATALOGUE: LazyLock<Arc<Catalogue>> =
    LazyLock::new(|| Arc::new(Catalogue::bundled().expect("the bundled rows are good")));
static PRICES: LazyLock<Prices> =
    LazyLock::new(|| Prices::bundled().expect("the bundled prices are good"));
static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::new(FleetKey::new([7; 32])));

/// What the options say of one exchange.
struct Story<'a> {
    service: &'a Service,
    options: u8,
}

/// Runs one input: a byte of options, the request's body, a separator, the answer's body.
pub(crate) fn run(service: &Service, data: &[u8]) {
    let Some((options, bodies)) = data.split_first() else { return };
    let at = bodies.iter().position(|byte| *byte == SEPARATOR).unwrap_or(bodies.len());
    let (asked, answer) = bodies.split_at(at);
    let answer = answer.get(1..).unwrap_or_default();
    let story = Story { service, options: *options };
    let whole = story.tell(&[asked], &[answer]);
    let mut choices = Choices::of(data);
    let cut = story.tell(&choices.parts(asked), &choices.parts(answer));
    assert_eq!(show(&cut), show(&whole), "cut anywhere");
    if bodies.len() <= SINGLE_MAX {
        let bytes = |body| <[u8]>::chunks(body, 1).collect::<Vec<_>>();
        let (asked, answer) = (bytes(asked), bytes(answer));
        assert_eq!(show(&story.tell(&asked, &answer)), show(&whole), "by bytes");
    }
    assert!(whole.len() == 1 || whole.is_empty() && !service.listed, "one request is one call");
    whole.iter().for_each(assert_bounded);
}

impl Story<'_> {
    fn pick<T: Copy>(&self, from: &[T; 4], shift: u32) -> T {
        from[usize::from(self.options.wrapping_shr(shift) & 3)]
    }

    /// Tells the story with bodies in the given parts; gives the calls that come of it.
    fn tell(&self, asked: &[&[u8]], answer: &[&[u8]]) -> Vec<Call> {
        let mut tracker = Tracker::new(Arc::clone(&CATALOGUE), Config::default(), "");
        let id = ExchangeId(1);
        let request = RequestHead {
            version: Version::Http11,
            method: Bytes::from_static(b"POST"),
            target: Redacted::new(self.pick(&self.service.targets, 0)),
            authority: Bytes::from_static(self.service.host.as_bytes()),
            headers: headers(&[("authorization", KEY), ("content-type", JSON)]),
        };
        tracker.event(id, 100, Event::Request(&request));
        for part in asked.iter().filter(|part| !part.is_empty()) {
            tracker.event(id, 200, Event::RequestBody(part));
        }
        tracker.event(id, 200, Event::RequestEnd(BodyEnd::Complete));
        let status = self.pick(&[Some(200), Some(200), Some(429), None], 4);
        let kind = self.pick(&self.service.kinds, 2);
        let response = ResponseHead {
            version: Version::Http11,
            status,
            headers: headers(&[("content-type", kind)]),
        };
        tracker.event(id, 300, Event::Response(&response));
        for part in answer.iter().filter(|part| !part.is_empty()) {
            tracker.event(id, 400, Event::ResponseBody(part));
        }
        let end = self
            .pick(&[BodyEnd::Complete, BodyEnd::Aborted, BodyEnd::Gap, BodyEnd::Undecodable], 6);
        tracker.event(id, 500, Event::ResponseEnd(end));
        tracker.close(600);
        tracker.take_calls().collect()
    }
}

pub(crate) fn headers(fields: &[(&'static str, &str)]) -> Headers {
    let field = |(name, value): &(&'static str, &str)| Header {
        name: Some(Bytes::from_static(name.as_bytes())),
        value: Redacted::new(*value),
    };
    Headers { fields: fields.iter().map(field).collect(), incomplete: false }
}

fn show(calls: &[Call]) -> String {
    format!("{calls:?}")
}

/// Nothing that leaves the sensor is long, breaks a terminal, or holds a key; a price is never below nothing.
pub(crate) fn assert_bounded(call: &Call) {
    let texts = [&call.request_model, &call.response_model, &call.response_id, &call.error_type];
    let texts =
        texts.into_iter().flatten().chain(&call.context.service_tier).chain(&call.context.speed);
    for text in texts.chain(&call.context.geo) {
        assert!(
            text.len() <= TEXT_MAX && !text.contains(char::is_control),
            "a text is over its bound"
        );
    }
    let shown = format!("{call:?}");
    assert!(!shown.contains("FUZZFAKE") && !shown.contains("not-a-real-key"), "a key is shown");
    if call.usage_quality == UsageQuality::Reported {
        assert_ne!(
            call.usage,
            sensor_user::provider::Usage::default(),
            "nothing is reported as something"
        );
    }
    if let Some(place) = &call.credential {
        let identity = format!("{:?}", KEYRING.identify(place, &call.provider));
        assert!(!identity.contains("FUZZFAKE"), "a key is shown");
    }
    let cost = PRICES.price(&Query::of(call, AT_UNIX_SECONDS));
    let own = call.usage.reported_picodollars;
    assert!(
        own.is_some() || cost.picodollars.is_none_or(|amount| amount >= 0),
        "a price below nothing"
    );
}
