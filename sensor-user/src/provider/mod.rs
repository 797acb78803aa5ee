//! HTTP events of one connection come in; calls to AI providers, with usage and the place of the credential, go out.

use crate::redact::Redacted;

mod row;
pub mod catalogue;
mod target;
mod place;
mod route;
mod tails;
mod openai;
mod azure;
mod anthropic;
mod compatible;
mod gemini;
mod bedrock;
mod cohere;
mod unlisted;
mod shape;
pub mod skim;
mod multipart;
mod request;
mod answer;
mod frames;
mod grpc;
mod response;
pub mod usage;
mod exchange;
mod session;
mod tracker;
#[cfg(test)]
mod tests;

pub use catalogue::Catalogue;
pub use catalogue::Error;
pub use catalogue::Provider;
pub use shape::Dialect;
pub use shape::Shape;
pub use shape::UnknownShape;
pub use tails::names_model_in_path;
pub use tails::tails;
pub use tracker::Config;
pub use tracker::Metrics;
pub use tracker::Tracker;
pub use tracker::Verdict;

/// What a call does, in OpenTelemetry's `gen_ai.operation.name` words where they exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// `chat`: chat completions, responses, messages.
    Chat,
    /// `text_completion`: legacy completions.
    TextCompletion,
    /// `embeddings`.
    Embeddings,
    /// `image_generation`: images made or edited.
    ImageGeneration,
    /// `speech`: text to audio.
    Speech,
    /// `transcription`: audio to text.
    Transcription,
    /// `moderation`.
    Moderation,
    /// `rerank`.
    Rerank,
    /// `count_tokens`: never billed.
    CountTokens,
    /// `batch`: batches made, listed, polled.
    Batch,
    /// `files`: uploads and downloads.
    Files,
    /// `models`: lists of models.
    Models,
    /// `other`: another path of a known provider.
    Other,
}

/// Operations with the words that events carry.
const OPERATIONS: &[(Operation, &str)] = &[
    (Operation::Chat, "chat"),
    (Operation::TextCompletion, "text_completion"),
    (Operation::Embeddings, "embeddings"),
    (Operation::ImageGeneration, "image_generation"),
    (Operation::Speech, "speech"),
    (Operation::Transcription, "transcription"),
    (Operation::Moderation, "moderation"),
    (Operation::Rerank, "rerank"),
    (Operation::CountTokens, "count_tokens"),
    (Operation::Batch, "batch"),
    (Operation::Files, "files"),
    (Operation::Models, "models"),
    (Operation::Other, "other"),
];

impl Operation {
    /// The word that events, metrics and data rows carry.
    pub fn as_str(self) -> &'static str {
        OPERATIONS
            .iter()
            .find(|(operation, _)| *operation == self)
            .map_or("other", |(_, word)| word)
    }

    /// All operations.
    pub fn all() -> impl Iterator<Item = Self> {
        OPERATIONS.iter().map(|(operation, _)| *operation)
    }

    /// The operation of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        OPERATIONS.iter().find(|(_, word)| *word == name).map(|(operation, _)| *operation)
    }
}

/// Whether the token counts can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UsageQuality {
    /// The provider's final figures.
    Reported,
    /// A stream was cut: the figures are lower bounds.
    Partial,
    /// The provider gave no figures. Missing is not zero.
    Missing,
}

/// Token counts in disjoint classes; `None` is unknown, never zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens that were neither read from nor written to a cache; includes modality classes below.
    pub input_uncached: Option<u64>,
    /// Input tokens read from a cache.
    pub cache_read: Option<u64>,
    /// Input tokens written to a cache for five minutes (Anthropic's default).
    pub cache_write_5m: Option<u64>,
    /// Input tokens written to a cache for thirty minutes (the default of `OpenAI`).
    pub cache_write_30m: Option<u64>,
    /// Input tokens written to a cache for one hour.
    pub cache_write_1h: Option<u64>,
    /// Input tokens written to a cache for twelve hours.
    pub cache_write_12h: Option<u64>,
    /// Audio part of `input_uncached`.
    pub input_audio: Option<u64>,
    /// Image part of `input_uncached`.
    pub input_image: Option<u64>,
    /// Cached audio part of `cache_read`.
    pub cache_read_audio: Option<u64>,
    /// Cached image part of `cache_read`.
    pub cache_read_image: Option<u64>,
    /// All output tokens, reasoning included.
    pub output: Option<u64>,
    /// Reasoning part of `output`.
    pub output_reasoning: Option<u64>,
    /// Audio part of `output`.
    pub output_audio: Option<u64>,
    /// Image part of `output`.
    pub output_image: Option<u64>,
    /// Web searches billed by the piece.
    pub web_searches: Option<u64>,
    /// File searches billed by the piece.
    pub file_searches: Option<u64>,
    /// Rerank units billed by the piece.
    pub search_units: Option<u64>,
    /// Pages read by OCR, billed by the piece.
    pub pages: Option<u64>,
    /// Media billed by its duration, in milliseconds.
    pub audio_millis: Option<u64>,
    /// The provider's own figure in pico-dollars, where it gives one.
    pub reported_picodollars: Option<i64>,
}

/// What, besides tokens, decides the price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceContext {
    /// `service_tier` as the response says it (`default`, `flex`, `priority`, …).
    pub service_tier: Option<String>,
    /// The call is part of a batch.
    pub batch: bool,
    /// `speed` (Anthropic `fast`).
    pub speed: Option<String>,
    /// `inference_geo` or the region of the host (`us`, `eu`, …).
    pub geo: Option<String>,
    /// What is billed stands in figures that are not read: the lines of a file, an answer that is yet to come.
    pub unread: bool,
}

/// Where the credential stood in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialPlace {
    /// `header`, `query` or `cookie`.
    pub location: &'static str,
    /// Name of the header field or query parameter.
    pub name: String,
    /// Authorization scheme (`Bearer`), where there is one.
    pub scheme: Option<String>,
    /// The key itself; goes to `credential` and is dropped there.
    pub secret: Redacted,
}

/// One call to an AI provider, ended or cut.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one call")]
pub struct Call {
    /// `gen_ai.provider.name` (`openai`, `azure.ai.openai`, `anthropic`, …), or `unlisted`.
    pub provider: String,
    /// Key of the provider in the price table.
    pub price_provider: String,
    /// Whether the host stands in the catalogue.
    pub listed: bool,
    /// What the call does.
    pub operation: Operation,
    /// Host the request was sent to.
    pub server_address: String,
    /// `http.request.method`.
    pub method: String,
    /// Path without query, each identifier replaced by `{id}`.
    pub path: String,
    /// HTTP version (`1.1`, `2`).
    pub protocol_version: &'static str,
    /// Model asked for.
    pub request_model: Option<String>,
    /// Model that answered.
    pub response_model: Option<String>,
    /// `gen_ai.response.id`.
    pub response_id: Option<String>,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// HTTP status; `None` where no response was seen.
    pub status: Option<u16>,
    /// The code that a gRPC call ended with; its HTTP status is 200 whatever became of it.
    pub rpc_status: Option<u16>,
    /// `error.type`: the provider's error type, the status, or `aborted`.
    pub error_type: Option<String>,
    /// Token counts.
    pub usage: Usage,
    /// How far `usage` can be trusted.
    pub usage_quality: UsageQuality,
    /// What else decides the price.
    pub context: PriceContext,
    /// Where the key stood, and the key.
    pub credential: Option<CredentialPlace>,
    /// `x-stainless-retry-count` or like: which try this is.
    pub retry_count: Option<u32>,
    /// First byte of the request, kernel monotonic nanoseconds.
    pub started_ns: u64,
    /// First byte of the response's head.
    pub first_byte_ns: Option<u64>,
    /// First token of a streamed answer.
    pub first_token_ns: Option<u64>,
    /// Last byte.
    pub ended_ns: u64,
    /// Whether all of the plaintext was seen.
    pub complete: bool,
    /// The answer repeats a stored one (a response fetched again, a batch polled): of all calls with the same
    /// `response_id` only one may be priced. Once `spend::Repeats` has seen the call: its figures were counted before.
    pub repeated: bool,
    /// Kind of service the host is; `None` for an unlisted one.
    pub category: Option<catalogue::Category>,
    /// Every field of the request's head was read: a credential that was not found is not there.
    pub head_complete: bool,
}

impl Call {
    /// The HTTP status as which the call counts: where gRPC ended it before anything was answered, the one that says the
    /// same as its code.
    pub fn outcome(&self) -> Option<u16> {
        let is_empty = self.usage_quality == UsageQuality::Missing && self.first_token_ns.is_none();
        let refused = self.rpc_status.filter(|code| *code != 0 && is_empty);
        refused.map(grpc::http_status).or(self.status)
    }

    /// Whether the call failed: refused, without an answer, or with an error in an answer that had begun with 200. Who
    /// cancels an answer that has begun had no failure.
    pub fn failed(&self) -> bool {
        let erred = self.error_type.as_deref().is_some_and(|word| word != "aborted");
        erred || self.outcome().is_none_or(|status| status >= 400)
    }
}
