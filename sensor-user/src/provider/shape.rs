//! The name of a wire shape from a data row comes in; which reader understands its usage figures goes out.

use std::str::FromStr;

/// How a provider departs from the usual usage figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Reasoning is inside the output.
    #[default]
    Standard,
    /// xAI: chat counts reasoning beside the output; the cost is reported in ticks of 10^-10 USD.
    Xai,
    /// `OpenRouter`: `usage.cost` is what is charged.
    Openrouter,
    /// Perplexity: chat counts reasoning beside the output; `usage.cost.total_cost` is what is charged.
    Perplexity,
    /// Google's answers in `OpenAI`'s words: thoughts are in the total, and in no other count.
    Gemini,
}

/// Wire shape of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Chat completions and legacy completions.
    Chat(Dialect),
    /// The Responses API.
    Responses(Dialect),
    /// Embeddings: there is no output.
    Embeddings(Dialect),
    /// Images, transcription and speech: `input_tokens` and `output_tokens` by modality, or seconds.
    Media(Dialect),
    /// Anthropic messages.
    Messages,
    /// Gemini and Vertex `generateContent`.
    Gemini,
    /// Gemini and Vertex interactions.
    Interaction,
    /// Bedrock Converse.
    Converse,
    /// Bedrock `InvokeModel`: the body is the model's own, the headers carry totals.
    Invoke,
    /// Cohere: only `billed_units` are priced.
    Cohere,
    /// Ollama's own API.
    Ollama,
    /// watsonx text generation.
    Watsonx,
    /// `usage_info.pages_processed`.
    Ocr,
    /// The path is unknown: the names in the usage object decide.
    Guess,
    /// No usage is known to be in the response.
    None,
}

/// Names of the shapes as data rows write them.
const NAMES: &[(&str, Shape)] = &[
    ("openai.chat", Shape::Chat(Dialect::Standard)),
    ("openai.completions", Shape::Chat(Dialect::Standard)),
    ("mistral.chat", Shape::Chat(Dialect::Standard)),
    ("groq.chat", Shape::Chat(Dialect::Standard)),
    ("deepseek.chat", Shape::Chat(Dialect::Standard)),
    ("snowflake.cortex", Shape::Chat(Dialect::Standard)),
    ("cloudflare.run", Shape::Chat(Dialect::Standard)),
    ("reka.chat", Shape::Chat(Dialect::Standard)),
    ("xai.chat", Shape::Chat(Dialect::Xai)),
    ("openrouter.chat", Shape::Chat(Dialect::Openrouter)),
    ("perplexity.chat", Shape::Chat(Dialect::Perplexity)),
    ("openai.responses", Shape::Responses(Dialect::Standard)),
    ("xai.responses", Shape::Responses(Dialect::Xai)),
    ("perplexity.responses", Shape::Responses(Dialect::Perplexity)),
    ("openai.embeddings", Shape::Embeddings(Dialect::Standard)),
    ("voyage.embed", Shape::Embeddings(Dialect::Standard)),
    ("openai.images", Shape::Media(Dialect::Standard)),
    ("openai.audio.transcription", Shape::Media(Dialect::Standard)),
    ("openai.audio.speech", Shape::Media(Dialect::Standard)),
    ("anthropic.messages", Shape::Messages),
    ("gemini.generate", Shape::Gemini),
    ("gemini.interactions", Shape::Interaction),
    ("bedrock.converse", Shape::Converse),
    ("bedrock.invoke", Shape::Invoke),
    ("cohere.v2.chat", Shape::Cohere),
    ("cohere.v1.chat", Shape::Cohere),
    ("cohere.embed", Shape::Cohere),
    ("cohere.rerank", Shape::Cohere),
    ("ollama.chat", Shape::Ollama),
    ("watsonx.text", Shape::Watsonx),
    ("mistral.ocr", Shape::Ocr),
    ("none", Shape::None),
];

impl FromStr for Shape {
    type Err = UnknownShape;

    fn from_str(name: &str) -> Result<Self, UnknownShape> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, shape)| *shape).ok_or_else(|| UnknownShape(name.to_owned()))
    }
}

/// No shape has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown shape {0:?}")]
pub struct UnknownShape(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_once() {
        for (name, shape) in NAMES {
            assert_eq!(name.parse(), Ok(*shape));
        }
        assert_eq!("openai".parse::<Shape>(), Err(UnknownShape("openai".into())));
    }
}
