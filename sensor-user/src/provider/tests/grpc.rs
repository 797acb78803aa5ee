//! gRPC calls of xAI, Gemini and Vertex come in, whole and streamed; names, usage and how they ended are compared.

use crate::http::BodyEnd;
use crate::http::Event;
use crate::http::ExchangeId;
use crate::http::Sink;
use crate::provider::Call;
use crate::provider::Operation;
use crate::provider::UsageQuality;
use crate::provider::grpc::framed;
use crate::provider::grpc::gzipped;
use crate::provider::tests::counts;
use crate::provider::tests::facts;
use crate::provider::tests::headers;
use crate::provider::tests::request;
use crate::provider::tests::response;
use crate::provider::tests::tracker;

const XAI: &str = "api.x.ai";
const GEMINI: &str = "generativelanguage.googleapis.com";
const VERTEX: &str = "europe-west4-aiplatform.googleapis.com";
const GRPC: (&str, &str) = ("content-type", "application/grpc");
const GZIP: (&str, &str) = ("grpc-encoding", "gzip");
const OK: (&str, &str) = ("grpc-status", "0");

/// A number as protobuf writes it.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

/// A field that is a number.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field that is text or a message.
fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    let length = u64::try_from(value.len()).unwrap();
    [varint((field << 3) | 2), varint(length), value.to_vec()].concat()
}

/// `GetCompletionsRequest`: the model stands behind the prompt.
fn asked(prompt: usize) -> Vec<u8> {
    let content = bytes(1, &bytes(1, &vec![b'p'; prompt]));
    [bytes(1, &content), bytes(2, b"grok-4"), number(7, 100), number(31, 2)].concat()
}

/// `SamplingUsage`: 3 of 20 are cached, 4 tokens of reasoning beside the completion.
fn sampling(completion: u64) -> Vec<u8> {
    let counts = [number(1, completion), number(2, 20), number(6, 4), number(7, 3)].concat();
    [counts, bytes(9, &[1, 1]), number(11, 15)].concat()
}

/// `GetChatCompletionResponse`.
fn completed() -> Vec<u8> {
    let output = bytes(2, &bytes(3, &bytes(1, b"an answer")));
    [bytes(1, b"id-1"), output, bytes(6, b"grok-4-0709"), bytes(9, &sampling(7)), number(15, 1)]
        .concat()
}

/// `GetChatCompletionChunk`.
fn chunk(text: &[u8], completion: u64) -> Vec<u8> {
    let output = bytes(2, &bytes(1, &bytes(1, text)));
    [bytes(1, b"id-1"), output, bytes(4, b"grok-4-0709"), bytes(6, &sampling(completion))].concat()
}

/// One call over gRPC.
struct Rpc<'a> {
    host: &'a str,
    target: &'a str,
    asked: Vec<u8>,
    head: Vec<(&'a str, &'a str)>,
    answer: Vec<u8>,
    trailers: Vec<(&'a str, &'a str)>,
    end: BodyEnd,
}

impl<'a> Rpc<'a> {
    fn new(host: &'a str, target: &'a str, asked: &[u8], answers: &[Vec<u8>]) -> Self {
        Self {
            host,
            target,
            asked: framed(false, asked),
            head: vec![GRPC],
            answer: answers.iter().flat_map(|message| framed(false, message)).collect(),
            trailers: vec![OK],
            end: BodyEnd::Complete,
        }
    }

    fn told(&self, asked: &[&[u8]], answer: &[&[u8]]) -> Call {
        let (mut tracker, id) = (tracker(""), ExchangeId(1));
        let fields = [GRPC, GZIP, ("authorization", "Bearer fake-key")];
        let head = request("POST", self.host, self.target, &fields);
        tracker.event(id, 100, Event::Request(&head));
        for part in asked {
            tracker.event(id, 200, Event::RequestBody(part));
        }
        tracker.event(id, 200, Event::RequestEnd(BodyEnd::Complete));
        tracker.event(id, 300, Event::Response(&response(Some(200), &self.head)));
        for part in answer {
            tracker.event(id, 400, Event::ResponseBody(part));
        }
        if !self.trailers.is_empty() {
            tracker.event(id, 500, Event::Trailers(&headers(&self.trailers)));
        }
        tracker.event(id, 900, Event::ResponseEnd(self.end));
        let mut calls: Vec<_> = tracker.take_calls().collect();
        assert_eq!((calls.len(), tracker.metrics().bodies_broken), (1, 0));
        calls.remove(0)
    }

    /// The call that comes of it, the same however the bodies are cut.
    fn call(&self) -> Call {
        let whole = self.told(&[&self.asked], &[&self.answer]);
        for cut in 0..=self.answer.len() {
            let (a, b) = self.answer.split_at(cut);
            assert_eq!(facts(&self.told(&[&self.asked], &[a, b])), facts(&whole), "cut at {cut}");
        }
        for cut in 0..=self.asked.len() {
            let (a, b) = self.asked.split_at(cut);
            assert_eq!(facts(&self.told(&[a, b], &[&self.answer])), facts(&whole), "cut at {cut}");
        }
        whole
    }
}

/// What xAI's figures come to: as in JSON, reasoning is added and the cached part taken out of the prompt.
const SAMPLED: &str = "in=17 read=3 in_image=0 out=11 think=4 usd=1500";

#[test]
fn a_whole_completion_is_read() {
    let call = Rpc::new(XAI, "/xai_api.Chat/GetCompletion", &asked(9), &[completed()]).call();
    assert_eq!((call.provider.as_str(), call.operation), ("x_ai", Operation::Chat));
    assert_eq!(call.request_model.as_deref(), Some("grok-4"));
    assert_eq!(call.response_model.as_deref(), Some("grok-4-0709"));
    assert_eq!(call.response_id.as_deref(), Some("id-1"));
    assert_eq!(
        (counts(&call.usage).as_str(), call.usage_quality),
        (SAMPLED, UsageQuality::Reported)
    );
    assert_eq!(call.context.service_tier.as_deref(), Some("default"));
    assert_eq!((call.status, call.rpc_status, call.error_type), (Some(200), Some(0), None));
    assert_eq!((call.stream, call.path.as_str()), (false, "/xai_api.Chat/GetCompletion"));
    assert_eq!(call.credential.map(|place| place.name).as_deref(), Some("authorization"));
}

#[test]
fn figures_are_those_that_json_gives() {
    let body = r#"{"id":"id-1","model":"grok-4-0709","choices":[{}],"service_tier":"default","usage":{"prompt_tokens":20,
        "completion_tokens":7,"prompt_tokens_details":{"cached_tokens":3,"image_tokens":0},
        "completion_tokens_details":{"reasoning_tokens":4},"cost_in_usd_ticks":15}}"#;
    let ask = r#"{"model":"grok-4","messages":[{}]}"#;
    let json = crate::provider::tests::Story::new(XAI, "/v1/chat/completions", ask, body).call();
    let rpc = Rpc::new(XAI, "/xai_api.Chat/GetCompletion", &asked(9), &[completed()]).call();
    assert_eq!((rpc.usage, rpc.context), (json.usage, json.context));
    assert_eq!(
        (rpc.price_provider, rpc.response_model),
        (json.price_provider, json.response_model)
    );
}

#[test]
fn a_model_behind_a_long_prompt_is_found() {
    let rpc = Rpc::new(XAI, "/xai_api.Chat/GetCompletion", &asked(3 << 20), &[completed()]);
    let call = rpc.told(&rpc.asked.chunks(16_384).collect::<Vec<_>>(), &[&rpc.answer]);
    assert_eq!(call.request_model.as_deref(), Some("grok-4"));
}

#[test]
fn a_stream_counts_its_last_figures_and_a_cut_makes_them_partial() {
    let chunks = [chunk(b"", 0), chunk(b"H", 1), chunk(b"i", 7)];
    let mut rpc = Rpc::new(XAI, "/xai_api.Chat/GetCompletionChunk", &asked(9), &chunks);
    let call = rpc.call();
    assert_eq!(
        (counts(&call.usage).as_str(), call.usage_quality),
        (SAMPLED, UsageQuality::Reported)
    );
    assert!(call.stream && call.first_token_ns == Some(400));
    rpc.trailers.clear();
    rpc.end = BodyEnd::Aborted;
    let call = rpc.call();
    assert_eq!(call.usage_quality, UsageQuality::Partial);
    assert_eq!((call.error_type.as_deref(), call.rpc_status), (Some("aborted"), None));
    rpc.trailers = vec![("grpc-status", "14"), ("grpc-message", "a prompt that is quoted")];
    rpc.end = BodyEnd::Complete;
    let call = rpc.call();
    assert_eq!((call.error_type.as_deref(), call.rpc_status), (Some("UNAVAILABLE"), Some(14)));
    assert_eq!((call.usage_quality, call.outcome()), (UsageQuality::Partial, Some(200)));
    assert!(!format!("{call:?}").contains("quoted"));
}

#[test]
fn compressed_messages_are_read_in_both_directions() {
    let target = "/xai_api.Chat/GetCompletionChunk";
    let mut rpc = Rpc::new(XAI, target, &asked(9), &[]);
    rpc.asked = framed(true, &gzipped(&asked(900)));
    rpc.head.push(GZIP);
    rpc.answer = [framed(true, &gzipped(&chunk(b"H", 1))), framed(false, &chunk(b"i", 7))].concat();
    let call = rpc.call();
    assert_eq!(
        (counts(&call.usage).as_str(), call.usage_quality),
        (SAMPLED, UsageQuality::Reported)
    );
    assert_eq!(call.request_model.as_deref(), Some("grok-4"));
}

#[test]
fn a_refusal_without_a_message_counts_as_its_status() {
    let mut rpc = Rpc::new(XAI, "/xai_api.Chat/GetCompletion", &asked(9), &[]);
    rpc.head = vec![GRPC, ("grpc-status", "8"), ("grpc-message", "quoted")];
    rpc.trailers.clear();
    let call = rpc.call();
    assert_eq!(call.error_type.as_deref(), Some("RESOURCE_EXHAUSTED"));
    assert_eq!((call.status, call.rpc_status, call.outcome()), (Some(200), Some(8), Some(429)));
    assert_eq!(
        (call.usage_quality, call.request_model.as_deref()),
        (UsageQuality::Missing, Some("grok-4"))
    );
}

#[test]
fn every_method_has_its_operation_and_model() {
    let model = |field, name: &str| [bytes(2, b"x"), bytes(field, name.as_bytes())].concat();
    let own = "projects/p/locations/eu/publishers/google/models/";
    let cases = [
        (XAI, "/xai_api.Embedder/Embed", model(2, "v1"), Operation::Embeddings, Some("v1")),
        (
            XAI,
            "/xai_api.Image/GenerateImage",
            model(2, "aurora"),
            Operation::ImageGeneration,
            Some("aurora"),
        ),
        (
            XAI,
            "/xai_api.Sample/SampleText",
            model(3, "grok-3"),
            Operation::TextCompletion,
            Some("grok-3"),
        ),
        (
            XAI,
            "/xai_api.Tokenize/TokenizeText",
            model(2, "grok-4"),
            Operation::CountTokens,
            Some("grok-4"),
        ),
        (XAI, "/xai_api.Models/ListLanguageModels", vec![], Operation::Models, None),
        (XAI, "/xai_api.Files/ListFiles", vec![], Operation::Files, None),
        (XAI, "/xai_api.Chat/GetStoredCompletion", bytes(1, b"id-1"), Operation::Other, None),
        (XAI, "/xai_api.Video/GenerateVideo", model(3, "grok-v"), Operation::Other, Some("grok-v")),
        (
            GEMINI,
            "/google.ai.generativelanguage.v1beta.GenerativeService/CountTokens",
            model(1, "models/gemini-2.5-flash"),
            Operation::CountTokens,
            Some("gemini-2.5-flash"),
        ),
        (
            GEMINI,
            "/google.ai.generativelanguage.v1alpha.GenerativeService/BatchEmbedContents",
            model(1, "models/embedding-001"),
            Operation::Embeddings,
            Some("embedding-001"),
        ),
        (
            VERTEX,
            "/google.cloud.aiplatform.v1.PredictionService/Predict",
            model(1, &format!("{own}imagen-4")),
            Operation::ImageGeneration,
            Some("imagen-4"),
        ),
        (
            VERTEX,
            "/google.cloud.aiplatform.v1beta1.PredictionService/StreamRawPredict",
            model(1, "projects/p/locations/eu/publishers/anthropic/models/claude-x"),
            Operation::Chat,
            Some("claude-x"),
        ),
    ];
    for (host, target, asked, operation, name) in cases {
        let call = Rpc::new(host, target, &asked, &[vec![]]).call();
        assert_eq!((call.operation, call.request_model.as_deref()), (operation, name), "{target}");
        let outcome = (call.usage_quality, call.error_type);
        assert_eq!(outcome, (UsageQuality::Missing, None), "{target}");
    }
}

#[test]
fn a_stored_answer_is_marked_as_repeated() {
    let rpc = Rpc::new(XAI, "/xai_api.Chat/GetDeferredCompletion", &[], &[bytes(1, &completed())]);
    let call = rpc.call();
    assert_eq!((counts(&call.usage).as_str(), call.repeated), (SAMPLED, true));
    assert_eq!(call.response_id.as_deref(), Some("id-1"));
}

/// Ten of the prompt, four cached, two answered, eight thoughts.
const THOUGHT: &str = "in=6 read=4 out=10 think=8";

#[test]
fn gemini_streams_are_read() {
    let part = |text: &[u8]| bytes(1, &bytes(1, &bytes(1, &bytes(2, text))));
    let usage = [number(1, 10), number(2, 2), number(3, 20), number(4, 4), number(10, 8)].concat();
    let searches = bytes(9, &[bytes(5, b"a"), bytes(5, b"b")].concat());
    let last = bytes(1, &[bytes(1, &bytes(1, &bytes(2, b"i"))), number(2, 1), searches].concat());
    let named = [bytes(4, b"gemini-2.5-flash"), bytes(5, b"r1")].concat();
    let answers = [
        [part(b"H"), bytes(3, &[number(1, 10), number(3, 10)].concat()), named.clone()].concat(),
        [last, bytes(3, &usage), named].concat(),
    ];
    let asked = [bytes(1, b"models/gemini-2.5-flash"), bytes(2, b"x")].concat();
    let target = "/google.ai.generativelanguage.v1beta.GenerativeService/StreamGenerateContent";
    let call = Rpc::new(GEMINI, target, &asked, &answers).call();
    assert_eq!((call.provider.as_str(), call.operation), ("gcp.gemini", Operation::Chat));
    assert_eq!(counts(&call.usage), format!("{THOUGHT} web=2"));
    assert_eq!((call.usage_quality, call.stream), (UsageQuality::Reported, true));
    assert_eq!(call.request_model.as_deref(), Some("gemini-2.5-flash"));
    assert_eq!((call.response_id.as_deref(), call.first_token_ns), (Some("r1"), Some(400)));
}

#[test]
fn vertex_counts_by_kind_and_names_traffic_and_place() {
    let parts = |count| [number(1, 4), number(2, count)].concat();
    let kinds = [bytes(9, &parts(5)), bytes(10, &parts(1))].concat();
    let usage = [
        number(1, 10),
        number(2, 2),
        number(3, 20),
        number(5, 4),
        number(8, 2),
        kinds,
        number(14, 8),
    ]
    .concat();
    let answer = [
        bytes(2, &[bytes(2, &bytes(2, &bytes(1, b"Hi"))), number(3, 1)].concat()),
        bytes(4, &usage),
        bytes(11, b"gemini-2.5-pro"),
        bytes(13, b"r2"),
    ];
    let resource = "projects/p/locations/europe-west4/publishers/google/models/gemini-2.5-pro";
    let asked = [bytes(2, b"x"), bytes(5, resource.as_bytes())].concat();
    let target = "/google.cloud.aiplatform.v1.PredictionService/GenerateContent";
    let call = Rpc::new(VERTEX, target, &asked, &[answer.concat()]).call();
    assert_eq!(call.provider, "gcp.vertex_ai");
    assert_eq!(counts(&call.usage), "in=6 read=4 in_audio=4 out=10 think=8");
    assert_eq!(call.request_model.as_deref(), Some("gemini-2.5-pro"));
    assert_eq!(call.context.service_tier.as_deref(), Some("provisioned"));
    assert_eq!(call.context.geo.as_deref(), Some("europe-west4"));
}

#[test]
fn what_is_no_protobuf_is_named_and_counted() {
    for kind in ["application/grpc+json", "application/grpc"] {
        let (mut tracker, id) = (tracker(""), ExchangeId(1));
        let target = if kind.ends_with("json") { "/xai_api.Chat/GetCompletion" } else { "/x.Y/Z" };
        let fields = [("content-type", kind)];
        tracker.event(id, 1, Event::Request(&request("POST", XAI, target, &fields)));
        tracker.event(id, 2, Event::RequestBody(&framed(false, b"{}")));
        tracker.event(id, 2, Event::RequestEnd(BodyEnd::Complete));
        tracker.event(id, 3, Event::Response(&response(Some(200), &fields)));
        tracker.event(id, 4, Event::ResponseBody(&framed(false, b"{}")));
        tracker.event(id, 5, Event::Trailers(&headers(&[("grpc-status", "16")])));
        tracker.event(id, 6, Event::ResponseEnd(BodyEnd::Complete));
        let call = tracker.take_calls().next().unwrap();
        assert_eq!(call.error_type.as_deref(), Some("UNAUTHENTICATED"), "{kind}");
        assert_eq!(tracker.metrics().bodies_broken, 0, "{kind}");
    }
}

#[test]
fn a_gateway_that_is_not_listed_is_seen_by_its_messages() {
    let call =
        Rpc::new("grok.corp.example", "/xai_api.Chat/GetCompletion", &asked(9), &[completed()])
            .call();
    assert_eq!((call.provider.as_str(), call.listed), ("unlisted", false));
    assert_eq!(counts(&call.usage), SAMPLED);
}
