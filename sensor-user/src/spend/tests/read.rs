//! A provider's own usage object comes in; the counts that `spend` prices go out. Only as much as the vectors need.

use serde_json::Value;

use crate::provider::Operation;
use crate::provider::Usage;

/// The operation, the model that answered, and the counts.
pub(super) fn read(
    provider: &str,
    flavor: &str,
    body: &Value,
) -> (Operation, Option<String>, Usage) {
    let number = |path: &str| body.pointer(path).and_then(Value::as_u64);
    let model = body
        .get("model")
        .or_else(|| body.get("modelVersion"))
        .and_then(Value::as_str)
        .map(str::to_owned);
    let usage = match (provider, flavor) {
        ("anthropic", _) => anthropic(&number),
        ("google", _) => google(&number),
        ("aws", _) => Usage {
            input_uncached: number("/usage/inputTokens"),
            cache_read: number("/usage/cacheReadInputTokens"),
            cache_write_5m: number("/usage/cacheWriteInputTokens"),
            output: number("/usage/outputTokens"),
            ..Usage::default()
        },
        ("cohere", _) => Usage {
            input_uncached: number("/usage/billed_units/input_tokens"),
            output: number("/usage/billed_units/output_tokens"),
            ..Usage::default()
        },
        (_, "responses") => responses(&number),
        (_, "embeddings") => {
            Usage { input_uncached: number("/usage/prompt_tokens"), ..Usage::default() }
        }
        ("x-ai", _) => {
            let reasoning = number("/usage/completion_tokens_details/reasoning_tokens");
            let output = number("/usage/completion_tokens")
                .map(|output| output.saturating_add(reasoning.unwrap_or(0)));
            Usage { output, output_reasoning: reasoning, ..chat(&number) }
        }
        _ => chat(&number),
    };
    let operation = if flavor == "embeddings" { Operation::Embeddings } else { Operation::Chat };
    (operation, model, usage)
}

fn chat(number: &impl Fn(&str) -> Option<u64>) -> Usage {
    let cached = number("/usage/prompt_tokens_details/cached_tokens");
    Usage {
        input_uncached: number("/usage/prompt_tokens")
            .map(|all| all.saturating_sub(cached.unwrap_or(0))),
        cache_read: cached,
        output: number("/usage/completion_tokens"),
        output_reasoning: number("/usage/completion_tokens_details/reasoning_tokens"),
        ..Usage::default()
    }
}

fn responses(number: &impl Fn(&str) -> Option<u64>) -> Usage {
    let cached = number("/usage/input_tokens_details/cached_tokens");
    let written = number("/usage/input_tokens_details/cache_write_tokens");
    let split = number("/usage/input_tokens_details/cache_write_tokens_details/ttl_30m_tokens");
    Usage {
        input_uncached: number("/usage/input_tokens").map(|all| {
            all.saturating_sub(cached.unwrap_or(0)).saturating_sub(written.unwrap_or(0))
        }),
        cache_read: cached,
        cache_write_30m: split.or(written),
        cache_write_12h: number(
            "/usage/input_tokens_details/cache_write_tokens_details/ttl_12h_tokens",
        ),
        output: number("/usage/output_tokens"),
        output_reasoning: number("/usage/output_tokens_details/reasoning_tokens"),
        ..Usage::default()
    }
}

fn anthropic(number: &impl Fn(&str) -> Option<u64>) -> Usage {
    let split = number("/usage/cache_creation/ephemeral_5m_input_tokens");
    Usage {
        input_uncached: number("/usage/input_tokens"),
        cache_read: number("/usage/cache_read_input_tokens"),
        cache_write_5m: split.or_else(|| number("/usage/cache_creation_input_tokens")),
        cache_write_1h: number("/usage/cache_creation/ephemeral_1h_input_tokens"),
        output: number("/usage/output_tokens"),
        web_searches: number("/usage/server_tool_use/web_search_requests"),
        ..Usage::default()
    }
}

fn google(number: &impl Fn(&str) -> Option<u64>) -> Usage {
    let cached = number("/usageMetadata/cachedContentTokenCount");
    let thoughts = number("/usageMetadata/thoughtsTokenCount");
    Usage {
        input_uncached: number("/usageMetadata/promptTokenCount")
            .map(|all| all.saturating_sub(cached.unwrap_or(0))),
        cache_read: cached,
        output: number("/usageMetadata/candidatesTokenCount")
            .map(|output| output.saturating_add(thoughts.unwrap_or(0))),
        output_reasoning: thoughts,
        ..Usage::default()
    }
}
