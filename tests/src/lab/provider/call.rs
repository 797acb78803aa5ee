//! The head and body of a request come in; what is asked, of which service and in which dialect, goes out.

use hyper::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::lab::provider::scenario::Scenario;
use crate::lab::provider::usage::{Shape, Usage};

/// Names that a service resolves to a dated one in its answer.
const ALIASES: &[(&str, &str)] = &[
    ("gpt-4o", "gpt-4o-2024-08-06"),
    ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
];

/// Model behind an Azure deployment, whose name says nothing.
const AZURE_MODEL: &str = "gpt-4o-2024-08-06";

/// What a path and method ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `POST …/chat/completions`
    Chat,
    /// `POST …/responses`
    Responses,
    /// `POST …/completions`
    Completions,
    /// `POST …/embeddings`
    Embeddings,
    /// `POST …/images/generations`
    Images,
    /// `POST …/moderations`
    Moderations,
    /// `POST …/files`
    Files,
    /// `POST …/batches`
    Batches,
    /// `GET …/models`
    Models,
    /// `GET …/responses/resp_…`
    StoredResponse,
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /v1/messages/batches`
    MessageBatches,
}

/// Endings of paths, the longest first where one ends like another.
const ROUTES: &[(&str, Operation, &str)] = &[
    ("/chat/completions", Operation::Chat, "chat"),
    ("/messages/count_tokens", Operation::CountTokens, "count_tokens"),
    ("/messages/batches", Operation::MessageBatches, "message_batches"),
    ("/messages", Operation::Messages, "messages"),
    ("/responses", Operation::Responses, "responses"),
    ("/completions", Operation::Completions, "completions"),
    ("/embeddings", Operation::Embeddings, "embeddings"),
    ("/images/generations", Operation::Images, "images"),
    ("/moderations", Operation::Moderations, "moderations"),
    ("/files", Operation::Files, "files"),
    ("/batches", Operation::Batches, "batches"),
    (":generateContent", Operation::Chat, "chat"),
    ("/GenerateContent", Operation::Chat, "chat"),
    ("/StreamGenerateContent", Operation::Chat, "chat"),
    ("/GetCompletion", Operation::Chat, "chat"),
    ("/GetCompletionChunk", Operation::Chat, "chat"),
    ("/invoke", Operation::Chat, "chat"),
];

impl Operation {
    /// Finds what a request asks for.
    pub fn of(method: &Method, path: &str) -> Option<Self> {
        if method == Method::HEAD || method == Method::GET {
            return match path.rsplit('/').next() {
                Some("models") => Some(Self::Models),
                Some(id) if id.starts_with("resp_") => Some(Self::StoredResponse),
                _ => None,
            };
        }
        let path = decoded(path);
        let route = ROUTES.iter().find(|(end, _, _)| path.ends_with(end));
        route.filter(|_| method == Method::POST).map(|(_, operation, _)| *operation)
    }

    /// Returns the name that facts carry.
    pub fn name(self) -> &'static str {
        match self {
            Self::Models => "models",
            Self::StoredResponse => "stored_response",
            _ => ROUTES
                .iter()
                .find(|(_, operation, _)| *operation == self)
                .map_or("", |(_, _, name)| name),
        }
    }

    /// Returns the form of the usage object, for operations that cost tokens.
    pub fn shape(self) -> Option<Shape> {
        match self {
            Self::Chat | Self::Completions => Some(Shape::Chat),
            Self::Responses | Self::Images => Some(Shape::Responses),
            Self::Messages => Some(Shape::Messages),
            Self::Embeddings => Some(Shape::Embeddings),
            _ => None,
        }
    }

    /// Reports whether errors are written the way Anthropic writes them.
    pub fn is_anthropic(self) -> bool {
        matches!(self, Self::Messages | Self::CountTokens | Self::MessageBatches)
    }
}

/// A path without its escapes, as many frameworks look for its route; an encoded slash parts segments there.
fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        match u8::from_str_radix(hex, 16) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend(hex.as_bytes()),
        }
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How a service departs from `OpenAI`'s chat format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Not at all.
    OpenAi,
    /// Content filter results; a first chunk without choices.
    Azure,
    /// `x_groq` on the last chunk of a stream.
    Groq,
    /// Cache hits and misses beside the prompt tokens.
    DeepSeek,
    /// Comment lines, the provider behind, and what the call cost.
    OpenRouter,
    /// Usage on the last chunk of every stream, asked for or not.
    Mistral,
}

impl Dialect {
    /// Finds the dialect of a host.
    pub fn of(host: &str) -> Self {
        const HOSTS: &[(&str, Dialect)] = &[
            (".openai.azure.com", Dialect::Azure),
            ("api.groq.com", Dialect::Groq),
            ("api.deepseek.com", Dialect::DeepSeek),
            ("openrouter.ai", Dialect::OpenRouter),
            ("api.mistral.ai", Dialect::Mistral),
        ];
        HOSTS
            .iter()
            .find(|(end, _)| host.ends_with(end))
            .map_or(Self::OpenAi, |(_, dialect)| *dialect)
    }
}

/// The fields of a request body that change an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Model.
    pub model: String,
    /// Whether a stream is wanted.
    pub stream: Option<bool>,
    /// Options of a chat stream.
    pub stream_options: Option<StreamOptions>,
    /// Present where tools are offered.
    pub tools: Option<IgnoredAny>,
    /// What is to be embedded.
    pub input: Option<Value>,
    /// `base64` or `float` embeddings.
    pub encoding_format: Option<String>,
    /// Number of images.
    pub n: Option<u64>,
}

/// `stream_options` of chat completions.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StreamOptions {
    /// Whether a last chunk tells the usage.
    pub include_usage: bool,
    /// Whether chunks carry padding; on unless switched off.
    pub include_obfuscation: Option<bool>,
}

/// One call, as the formats see it.
#[derive(Debug)]
pub struct Call {
    /// What is asked for.
    pub operation: Operation,
    /// How chat is written.
    pub dialect: Dialect,
    /// The request's fields.
    pub asked: Asked,
    /// The knobs.
    pub knobs: Scenario,
    /// What the call costs.
    pub usage: Usage,
    /// Unique part of the identifiers in the answer.
    pub tag: String,
    /// Model named in the answer.
    pub served_model: String,
    /// Path without query.
    pub path: String,
}

impl Call {
    /// Puts a call together.
    pub fn new(operation: Operation, host: &str, path: &str, mut asked: Asked) -> Self {
        let deployment =
            path.split_once("/deployments/").and_then(|(_, rest)| rest.split('/').next());
        if let Some(deployment) = deployment {
            deployment.clone_into(&mut asked.model);
        }
        let dialect = Dialect::of(host);
        let served_model = match ALIASES.iter().find(|(alias, _)| *alias == asked.model) {
            _ if dialect == Dialect::Azure => AZURE_MODEL.to_owned(),
            Some((_, dated)) => (*dated).to_owned(),
            None => asked.model.clone(),
        };
        Self {
            operation,
            dialect,
            asked,
            knobs: Scenario::default(),
            usage: Usage::default(),
            tag: String::new(),
            served_model,
            path: path.to_owned(),
        }
    }

    /// Adds the knobs of the call and what they (or else model and path) say about its usage.
    #[must_use]
    pub fn with_knobs(mut self, knobs: Scenario, tag: String) -> Self {
        let usage = knobs.usage.unwrap_or_else(|| Usage::derived(&self.asked.model, &self.path));
        self.usage = self.operation.shape().map_or(usage, |shape| usage.as_told_by(shape));
        if let Some(served) = &knobs.served {
            served.clone_into(&mut self.served_model);
        }
        self.knobs = knobs;
        self.tag = tag;
        self
    }

    /// Reports whether the answer is a stream of events.
    pub fn is_stream(&self) -> bool {
        self.asked.stream == Some(true)
    }

    /// Reports whether the answer is a tool call: asked for by a knob, so that offering tools alone changes nothing.
    pub fn is_tool_call(&self) -> bool {
        self.knobs.tools
    }

    /// Returns the service tier named in the answer.
    pub fn tier(&self) -> &str {
        self.knobs.tier.as_deref().unwrap_or("default")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_every_service_are_understood() {
        const CASES: &[(&str, &str, Option<Operation>)] = &[
            ("POST", "/v1/chat/completions", Some(Operation::Chat)),
            ("POST", "/openai/deployments/prod/chat/completions", Some(Operation::Chat)),
            ("POST", "/api/v1/chat/completions", Some(Operation::Chat)),
            ("POST", "/v1/completions", Some(Operation::Completions)),
            ("POST", "/v1/messages/batches", Some(Operation::MessageBatches)),
            ("POST", "/v1/chat%2Fcompletions", Some(Operation::Chat)),
            ("POST", "/v1/%63hat/completions", Some(Operation::Chat)),
            ("POST", "/v1beta/models/gemini-2.5-pro:generateContent", Some(Operation::Chat)),
            ("POST", "/xai_api.Chat/GetCompletion", Some(Operation::Chat)),
            ("POST", "/model/anthropic.claude-v1%3A0/invoke", Some(Operation::Chat)),
            ("POST", "/v1/batches", Some(Operation::Batches)),
            ("GET", "/v1/models", Some(Operation::Models)),
            ("GET", "/v1/responses/resp_1", Some(Operation::StoredResponse)),
            ("GET", "/v1/chat/completions", None),
            ("POST", "/healthz", None),
        ];
        for (method, path, operation) in CASES {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Operation::of(&method, path), *operation, "{path}");
        }
    }

    #[test]
    fn an_azure_deployment_is_asked_for_but_a_model_answers() {
        let path = "/openai/deployments/prod-chat/chat/completions";
        let call = Call::new(Operation::Chat, "myco.openai.azure.com", path, Asked::default());
        assert_eq!(
            (call.asked.model.as_str(), call.served_model.as_str()),
            ("prod-chat", AZURE_MODEL)
        );
    }
}
