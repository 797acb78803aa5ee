//! The usage objects of the cost vectors come in as whole bodies; their token classes are compared.

use crate::provider::Shape;
use crate::provider::UsageQuality;
use crate::provider::tests::counts;
use crate::provider::usage::extract;

/// Name, shape, body, counts.
const VECTORS: &[(&str, &str, &str, &str)] = &[
    (
        "cached chat",
        "openai.chat",
        r#"{"model":"gpt-4o-mini-2024-07-18","object":"chat.completion","usage":{"prompt_tokens":10000,"completion_tokens":500,
        "total_tokens":10500,"prompt_tokens_details":{"cached_tokens":8000,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}"#,
        "in=2000 read=8000 in_audio=0 out=500 think=0",
    ),
    (
        "cache write",
        "openai.responses",
        r#"{"object":"response","usage":{"input_tokens":20000,"input_tokens_details":{"cached_tokens":12000,"cache_write_tokens":4000},
        "output_tokens":1000,"output_tokens_details":{"reasoning_tokens":300},"total_tokens":21000}}"#,
        "in=4000 read=12000 w30m=4000 out=1000 think=300",
    ),
    (
        "cache write for twelve hours",
        "openai.responses",
        r#"{"object":"response","usage":{"input_tokens":20000,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":10000,
        "cache_write_tokens_details":{"ttl_30m_tokens":4000,"ttl_12h_tokens":6000}},"output_tokens":100,
        "output_tokens_details":{"reasoning_tokens":0},"total_tokens":20100}}"#,
        "in=10000 read=0 w30m=4000 w12h=6000 out=100 think=0",
    ),
    (
        "long context",
        "openai.responses",
        r#"{"object":"response","usage":{"input_tokens":272001,"input_tokens_details":{"cached_tokens":200000},"output_tokens":100}}"#,
        "in=72001 read=200000 out=100",
    ),
    (
        "embeddings",
        "openai.embeddings",
        r#"{"object":"list","usage":{"prompt_tokens":50000,"total_tokens":50000}}"#,
        "in=50000 out=0",
    ),
    (
        "messages with cache",
        "anthropic.messages",
        r#"{"type":"message","usage":{"input_tokens":100,"cache_creation_input_tokens":2000,"cache_read_input_tokens":50000,
        "cache_creation":{"ephemeral_5m_input_tokens":2000,"ephemeral_1h_input_tokens":0},"output_tokens":800}}"#,
        "in=100 read=50000 w5m=2000 w1h=0 out=800",
    ),
    (
        "messages with a cache of one hour",
        "anthropic.messages",
        r#"{"type":"message","usage":{"input_tokens":100,"cache_creation_input_tokens":3000,"cache_read_input_tokens":0,
        "cache_creation":{"ephemeral_5m_input_tokens":1000,"ephemeral_1h_input_tokens":2000},"output_tokens":10}}"#,
        "in=100 read=0 w5m=1000 w1h=2000 out=10",
    ),
    (
        "messages with web search",
        "anthropic.messages",
        r#"{"type":"message","usage":{"input_tokens":6000,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,
        "output_tokens":900,"server_tool_use":{"web_search_requests":3}}}"#,
        "in=6000 read=0 w5m=0 out=900 web=3",
    ),
    (
        "gemini with thoughts",
        "gemini.generate",
        r#"{"usageMetadata":{"promptTokenCount":1000,"candidatesTokenCount":200,"thoughtsTokenCount":800,"totalTokenCount":2000}}"#,
        "in=1000 out=1000 think=800",
    ),
    (
        "gemini with cache",
        "gemini.generate",
        r#"{"usageMetadata":{"promptTokenCount":100000,"cachedContentTokenCount":90000,"candidatesTokenCount":1000,"totalTokenCount":101000}}"#,
        "in=10000 read=90000 out=1000",
    ),
    (
        "converse",
        "bedrock.converse",
        r#"{"usage":{"inputTokens":100,"outputTokens":50,"cacheReadInputTokens":1000,"cacheWriteInputTokens":0,"totalTokens":1150}}"#,
        "in=100 read=1000 w5m=0 out=50",
    ),
    (
        "deepseek",
        "deepseek.chat",
        r#"{"usage":{"prompt_tokens":10000,"completion_tokens":1000,"total_tokens":11000,"prompt_cache_hit_tokens":8000,
        "prompt_cache_miss_tokens":2000,"prompt_tokens_details":{"cached_tokens":8000}}}"#,
        "in=2000 read=8000 out=1000",
    ),
    (
        "xai",
        "xai.chat",
        r#"{"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1400,"completion_tokens_details":{"reasoning_tokens":300}}}"#,
        "in=1000 out=400 think=300",
    ),
    (
        "groq",
        "groq.chat",
        r#"{"usage":{"prompt_tokens":1000,"completion_tokens":1000,"total_tokens":2000}}"#,
        "in=1000 out=1000",
    ),
    (
        "mistral",
        "mistral.chat",
        r#"{"usage":{"prompt_tokens":1000,"completion_tokens":1000}}"#,
        "in=1000 out=1000",
    ),
    (
        "mistral with a search",
        "mistral.chat",
        r#"{"object":"conversation.response","outputs":[{"type":"message.output","model":"mistral-small-latest"}],"usage":{"prompt_tokens":177,
        "completion_tokens":134,"total_tokens":4240,"connector_tokens":3929,"connectors":{"web_search":1}}}"#,
        "in=4106 out=134 web=1",
    ),
    (
        "cohere",
        "cohere.v2.chat",
        r#"{"usage":{"billed_units":{"input_tokens":500,"output_tokens":100},"tokens":{"input_tokens":700,"output_tokens":110}}}"#,
        "in=500 out=100",
    ),
    (
        "cloudflare",
        "cloudflare.run",
        r#"{"success":true,"result":{"response":"x","usage":{"prompt_tokens":3,"completion_tokens":4}}}"#,
        "in=3 out=4",
    ),
    (
        "voyage",
        "voyage.embed",
        r#"{"data":[{"embedding":[0.1,-2e-3]}],"usage":{"total_tokens":10}}"#,
        "in=10 out=0",
    ),
    ("reka", "reka.chat", r#"{"usage":{"input_tokens":21,"output_tokens":5}}"#, "in=21 out=5"),
];

#[test]
fn every_vector_gives_its_token_classes() {
    for (name, shape, body, expected) in VECTORS {
        let shape: Shape = shape.parse().unwrap();
        let (usage, quality, _) = extract(shape, &serde_json::from_str(body).unwrap());
        assert_eq!(
            (counts(&usage).as_str(), quality),
            (*expected, UsageQuality::Reported),
            "{name}"
        );
    }
}

#[test]
fn an_unknown_path_is_read_by_the_names_in_the_usage() {
    for (name, shape, body, expected) in VECTORS {
        // These three need to know the provider.
        if matches!(*shape, "xai.chat" | "cohere.v2.chat" | "openai.embeddings" | "voyage.embed") {
            continue;
        }
        let (usage, _, _) = extract(Shape::Guess, &serde_json::from_str(body).unwrap());
        assert_eq!(counts(&usage), *expected, "{name}");
    }
}

#[test]
fn an_answer_without_figures_is_missing_for_every_shape() {
    for (name, shape, _, _) in VECTORS {
        let (usage, quality, _) =
            extract(shape.parse().unwrap(), &serde_json::json!({"id": "x", "choices": []}));
        assert_eq!((counts(&usage).as_str(), quality), ("", UsageQuality::Missing), "{name}");
    }
}
