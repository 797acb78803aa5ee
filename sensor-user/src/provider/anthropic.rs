//! Paths and usage objects of the Anthropic API come in; operations and token classes go out.

use serde_json::Value;

use crate::provider::Operation;
use crate::provider::PriceContext;
use crate::provider::Shape;
use crate::provider::Usage;
use crate::provider::route::Method;
use crate::provider::route::Route;
use crate::provider::usage::Reading;
use crate::provider::usage::count;
use crate::provider::usage::sum;
use crate::provider::usage::text;

/// Finds the operation by the last segments of a path; `None` where the path is none of the API.
pub(super) fn route(method: Method, path: &[&str]) -> Option<Route> {
    let post = method != Method::Read;
    match path {
        // Threads of other APIs have messages too.
        ["messages"] | [.., "v1", "messages"] if post => {
            Some(Route::new(Operation::Chat, Shape::Messages))
        }
        [.., "messages", "count_tokens"] => Some(Route::new(Operation::CountTokens, Shape::None)),
        // One answer a line, each with its own model and figures.
        [.., "messages", "batches", _, "results"] if !post => Some(Route::unread(Operation::Batch)),
        [.., "messages", "batches"]
        | [.., "messages", "batches", _]
        | [.., "messages", "batches", _, _] => {
            Some(Route { batch: true, ..Route::repeated(Operation::Batch, Shape::None) })
        }
        [.., "v1", "complete"] if post => Some(Route::new(Operation::TextCompletion, Shape::None)),
        _ => None,
    }
}

/// Reads a usage object; the input excludes what was read from or written to the cache.
///
/// For a stream the object is that of `message_start`, overwritten by the cumulative one of `message_delta`, which
/// has no split of the written tokens by time to live: a surplus goes to what the request asked for (`long_cache`).
pub(super) fn usage(usage: &Value, long_cache: bool) -> Reading {
    let iterations =
        usage.get("iterations").and_then(Value::as_array).filter(|all| !all.is_empty());
    // The top level leaves out compaction and fallback; the iterations are everything that is billed.
    let mut reading = match iterations {
        Some(all) => {
            all.iter().fold(Reading::default(), |sum, one| add(sum, tokens(one, long_cache)))
        }
        None => tokens(usage, long_cache),
    };
    if let Some(all) = iterations {
        reading.partial |= names_two_models(all);
    }
    reading.usage.web_searches = count(usage, "server_tool_use.web_search_requests");
    reading.context = PriceContext {
        service_tier: text(usage, "service_tier"),
        speed: text(usage, "speed"),
        // The API says `not_available` for models that cannot choose.
        geo: text(usage, "inference_geo").filter(|geo| geo != "not_available"),
        ..PriceContext::default()
    };
    reading
}

fn tokens(usage: &Value, long_cache: bool) -> Reading {
    let written = count(usage, "cache_creation_input_tokens");
    let mut short = count(usage, "cache_creation.ephemeral_5m_input_tokens");
    let mut long = count(usage, "cache_creation.ephemeral_1h_input_tokens");
    let split = sum(short, long);
    let surplus = written.unwrap_or(0).saturating_sub(split.unwrap_or(0));
    // Without a split and without a one-hour request everything was written for five minutes.
    let partial = surplus > 0 && (split.is_some() || long_cache);
    if surplus > 0 && long_cache {
        long = sum(long, Some(surplus));
    } else if surplus > 0 || split.is_none() {
        short = sum(short, written.map(|_| surplus));
    }
    Reading {
        usage: Usage {
            input_uncached: count(usage, "input_tokens"),
            cache_read: count(usage, "cache_read_input_tokens"),
            cache_write_5m: short,
            cache_write_1h: long,
            output: count(usage, "output_tokens"),
            output_reasoning: count(usage, "output_tokens_details.thinking_tokens"),
            ..Usage::default()
        },
        partial,
        ..Reading::default()
    }
}

fn add(a: Reading, b: Reading) -> Reading {
    let (left, right) = (a.usage, b.usage);
    Reading {
        usage: Usage {
            input_uncached: sum(left.input_uncached, right.input_uncached),
            cache_read: sum(left.cache_read, right.cache_read),
            cache_write_5m: sum(left.cache_write_5m, right.cache_write_5m),
            cache_write_1h: sum(left.cache_write_1h, right.cache_write_1h),
            output: sum(left.output, right.output),
            output_reasoning: sum(left.output_reasoning, right.output_reasoning),
            ..Usage::default()
        },
        partial: a.partial || b.partial,
        ..Reading::default()
    }
}

/// Whether a part of the answer was another model's than this one: an advisor's, which is billed at its own rate.
pub(super) fn asks_other_model(usage: &Value, model: &str) -> bool {
    let iterations = usage.get("iterations").and_then(Value::as_array);
    let mut models = iterations.into_iter().flatten().filter_map(|one| one.get("model")?.as_str());
    models.any(|other| other != model)
}

/// One price cannot hold for two models.
fn names_two_models(iterations: &[Value]) -> bool {
    let mut models = iterations.iter().filter_map(|one| one.get("model")?.as_str());
    let first = models.next();
    models.any(|model| Some(model) != first)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::UsageQuality;
    use crate::provider::usage::extract;

    #[test]
    fn cache_classes_stand_beside_the_input() {
        let body = json!({"type": "message", "usage": {"input_tokens": 100, "cache_creation_input_tokens": 3000,
            "cache_read_input_tokens": 7, "cache_creation": {"ephemeral_5m_input_tokens": 1000,
            "ephemeral_1h_input_tokens": 2000}, "output_tokens": 10, "service_tier": "batch",
            "server_tool_use": {"web_search_requests": 3}, "inference_geo": "us"}});
        let (usage, quality, context) = extract(Shape::Messages, &body);
        let expected = Usage {
            input_uncached: Some(100),
            cache_read: Some(7),
            cache_write_5m: Some(1000),
            cache_write_1h: Some(2000),
            output: Some(10),
            web_searches: Some(3),
            ..Usage::default()
        };
        assert_eq!((usage, quality), (expected, UsageQuality::Reported));
        assert!(context.batch && context.geo.as_deref() == Some("us"));
    }

    #[test]
    fn a_surplus_over_the_split_follows_the_request_and_is_partial() {
        let merged = json!({"cache_creation_input_tokens": 500, "cache_creation":
            {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200}});
        let short = usage(&merged, false);
        assert_eq!(
            (short.usage.cache_write_5m, short.usage.cache_write_1h),
            (Some(300), Some(200))
        );
        let long = usage(&merged, true);
        assert_eq!((long.usage.cache_write_5m, long.usage.cache_write_1h), (Some(100), Some(400)));
        assert!(short.partial && long.partial);
    }

    #[test]
    fn without_a_split_the_default_is_five_minutes() {
        let plain = usage(&json!({"cache_creation_input_tokens": 0, "input_tokens": 1}), false);
        assert_eq!((plain.usage.cache_write_5m, plain.usage.cache_write_1h), (Some(0), None));
        assert!(!plain.partial);
        assert_eq!(usage(&json!({"input_tokens": 1}), true).usage.cache_write_5m, None);
    }

    #[test]
    fn iterations_are_summed_instead_of_the_top_level() {
        let body = json!({"input_tokens": 5, "output_tokens": 5, "iterations": [
            {"type": "compaction", "input_tokens": 1000, "output_tokens": 50},
            {"type": "message", "input_tokens": 5, "output_tokens": 5, "cache_read_input_tokens": 9}]});
        let found = usage(&body, false).usage;
        assert_eq!(
            (found.input_uncached, found.output, found.cache_read),
            (Some(1005), Some(55), Some(9))
        );
    }

    #[test]
    fn iterations_of_two_models_are_partial() {
        let body = json!({"iterations": [{"model": "a", "input_tokens": 1}, {"model": "b", "input_tokens": 1}]});
        assert!(usage(&body, false).partial);
    }

    #[test]
    fn an_advisor_of_another_model_makes_the_figures_partial() {
        let quality = |advisor: &str| {
            let body = json!({"model": "claude-sonnet-5-5", "usage": {"input_tokens": 9, "output_tokens": 9,
                "iterations": [{"type": "message", "input_tokens": 5, "output_tokens": 5},
                {"type": "advisor_message", "model": advisor, "input_tokens": 4, "output_tokens": 4}]}});
            extract(Shape::Messages, &body).1
        };
        assert_eq!(quality("claude-opus-5-5"), UsageQuality::Partial);
        assert_eq!(quality("claude-sonnet-5-5"), UsageQuality::Reported);
    }
}
