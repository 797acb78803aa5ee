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

/// Kinds of resources whose ARN names a model; those of customers have names of their own, which say nothing of a price.
const NAMING: [&str; 2] = [":foundation-model", ":inference-profile"];

/// Finds operation and model in `/model/{id}/converse` and its like; the `OpenAI` and Anthropic paths work as well.
pub(super) fn route(method: Method, path: &[&str]) -> Option<Route> {
    let (model, verb) = match path {
        [.., "model", name, verb] => (named(name), *verb),
        // An ARN whose slash is none of an escape.
        [.., "model", arn, name, verb] if NAMING.iter().any(|kind| arn.ends_with(*kind)) => {
            (*name, *verb)
        }
        _ => {
            return anthropic::route(method, path)
                .or_else(|| openai::route(method, path, Dialect::Standard));
        }
    };
    let embeds = model.contains("embed");
    let (operation, shape) = match verb {
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
    route.model = Some(model.to_owned());
    route.streamed = verb.ends_with("stream");
    Some(route)
}

/// The model that an ARN names, or the whole name; the gate reads it alike (`enforce/scanner/arn.rs`).
fn named(name: &str) -> &str {
    let behind = |kind: &&str| {
        let (_, rest) = name.split_once(*kind)?;
        let model = rest.strip_prefix("%2F").or_else(|| rest.strip_prefix("%2f"));
        model.filter(|model| !model.is_empty())
    };
    NAMING.iter().find_map(behind).unwrap_or(name)
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
        const ARNS: [(&str, &str); 5] = [
            (
                "arn:aws:bedrock:us-east-1:1:inference-profile%2Fus.anthropic.claude-opus-5-5",
                "us.anthropic.claude-opus-5-5",
            ),
            ("arn:aws:bedrock:us-east-1::foundation-model%2fa.b-v1:0", "a.b-v1:0"),
            ("arn:a:b:c:1:inference-profile%2F", "arn:a:b:c:1:inference-profile%2F"),
            (
                "arn:a:b:c:1:application-inference-profile%2Fa",
                "arn:a:b:c:1:application-inference-profile%2Fa",
            ),
            ("arn:a:b:c:1:provisioned-model%2Fa", "arn:a:b:c:1:provisioned-model%2Fa"),
        ];
        let path = ["model", "global.anthropic.claude-x-v1:0", "converse-stream"];
        let found = route(Method::Write, &path).unwrap();
        assert_eq!((found.operation, found.shape), (Operation::Chat, Shape::Converse));
        assert_eq!(found.model.as_deref(), Some("global.anthropic.claude-x-v1:0"));
        for (arn, model) in ARNS {
            let found = route(Method::Write, &["model", arn, "converse"]).unwrap();
            assert_eq!(found.model.as_deref(), Some(model));
        }
        let parted = ["model", "arn:a:b:c:1:inference-profile", "us.x", "converse"];
        assert_eq!(route(Method::Write, &parted).unwrap().model.as_deref(), Some("us.x"));
        let mantle = route(Method::Write, &["anthropic", "v1", "messages"]).unwrap();
        assert_eq!(mantle.shape, Shape::Messages);
    }
}
