//! Paths, usage objects and headers of Amazon Bedrock come in; operations, models and token classes go out.

use serde_json::Value;

use crate::provider::Dialect;
use crate::provider::Operation;
use crate::provider::Shape;
use crate::provider::Usage;
use crate::provider::anthropic;
use crate::provider::openai;
use crate::provider::route::Method;
use crate::provider::route::Route;
use crate::provider::usage::Reading;
use crate::provider::usage::count;
use crate::provider::usage::first_count;
use crate::provider::usage::sum;

/// Finds operation and model in `/model/{id}/converse` and its like; the `OpenAI` and Anthropic paths work as well.
pub(super) fn route(method: Method, path: &[&str]) -> Option<Route> {
    let [.., "model", model, verb] = path else {
        return anthropic::route(method, path)
            .or_else(|| openai::route(method, path, Dialect::Standard));
    };
    let embeds = model.contains("embed");
    let (operation, shape) = match *verb {
        "converse" | "converse-stream" => (Operation::Chat, Shape::Converse),
        "invoke" | "invoke-with-response-stream" if embeds => {
            (Operation::Embeddings, Shape::Invoke)
        }
        "invoke" | "invoke-with-response-stream" => (Operation::Chat, Shape::Invoke),
        "invoke-with-bidirectional-stream" => (Operation::Chat, Shape::None),
        "count-tokens" => (Operation::CountTokens, Shape::None),
        _ => return None,
    };
    let mut route = Route::new(operation, shape);
    route.model = Some((*model).to_owned());
    route.streamed = verb.ends_with("stream");
    Some(route)
}

/// Reads Converse's usage; the input excludes what was read from or written to the cache.
pub(super) fn converse(usage: &Value) -> Reading {
    let written = count(usage, "cacheWriteInputTokens");
    let by_ttl = |ttl: &str| {
        let entries = usage.get("cacheDetails")?.as_array()?.iter();
        let of_ttl = entries.filter(|e| e.get("ttl").and_then(Value::as_str) == Some(ttl));
        of_ttl.map(|entry| count(entry, "inputTokens")).fold(None, sum)
    };
    let long = by_ttl("1h");
    // What is not said to be written for an hour has the default of five minutes.
    let short = written.map(|all| all.saturating_sub(long.unwrap_or(0))).or_else(|| by_ttl("5m"));
    let usage = Usage {
        input_uncached: count(usage, "inputTokens"),
        cache_read: count(usage, "cacheReadInputTokens"),
        cache_write_5m: short,
        cache_write_1h: long,
        output: count(usage, "outputTokens"),
        ..Usage::default()
    };
    Reading { usage, ..Reading::default() }
}

/// Reads the figures of `InvokeModel`: the model's own, or the metrics that headers and the last chunk carry.
pub(super) fn invoke(usage: &Value, long_cache: bool) -> Reading {
    if usage.get("input_tokens").is_some() {
        return anthropic::usage(usage, long_cache);
    }
    if usage.get("prompt_tokens").is_some() {
        return openai::chat(usage);
    }
    let usage = Usage {
        input_uncached: first_count(usage, &["inputTokenCount", "inputTokens"]),
        cache_read: first_count(usage, &["cacheReadInputTokenCount", "cacheReadInputTokens"]),
        cache_write_5m: first_count(usage, &["cacheWriteInputTokenCount", "cacheWriteInputTokens"]),
        output: first_count(usage, &["outputTokenCount", "outputTokens"]),
        ..Usage::default()
    };
    Reading { usage, ..Reading::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn converse_splits_the_cache_by_time_to_live() {
        let found = converse(
            &json!({"inputTokens": 100, "outputTokens": 50, "cacheReadInputTokens": 1000,
            "cacheWriteInputTokens": 30, "cacheDetails": [{"ttl": "1h", "inputTokens": 20}, {"ttl": "5m", "inputTokens": 10}]}),
        );
        let expected = Usage {
            input_uncached: Some(100),
            cache_read: Some(1000),
            cache_write_5m: Some(10),
            cache_write_1h: Some(20),
            output: Some(50),
            ..Usage::default()
        };
        assert_eq!(found.usage, expected);
    }

    #[test]
    fn invoke_reads_the_models_own_figures_or_the_metrics() {
        let own = invoke(
            &json!({"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3}),
            false,
        )
        .usage;
        assert_eq!((own.input_uncached, own.cache_read, own.output), (Some(1), Some(3), Some(2)));
        let metrics = invoke(&json!({"inputTokenCount": 4, "outputTokenCount": 5}), false).usage;
        assert_eq!(
            (metrics.input_uncached, metrics.cache_read, metrics.output),
            (Some(4), None, Some(5))
        );
    }

    #[test]
    fn paths_name_the_model() {
        let path = ["model", "global.anthropic.claude-x-v1:0", "converse-stream"];
        let found = route(Method::Write, &path).unwrap();
        assert_eq!((found.operation, found.shape), (Operation::Chat, Shape::Converse));
        assert_eq!(found.model.as_deref(), Some("global.anthropic.claude-x-v1:0"));
        let mantle = route(Method::Write, &["anthropic", "v1", "messages"]).unwrap();
        assert_eq!(mantle.shape, Shape::Messages);
    }
}
