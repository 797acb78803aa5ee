//! Paths and usage objects of the Gemini and Vertex APIs come in; operations, models and token classes go out.

use serde_json::Value;

use crate::provider::Dialect;
use crate::provider::Operation;
use crate::provider::Shape;
use crate::provider::Usage;
use crate::provider::openai;
use crate::provider::route::Method;
use crate::provider::route::Route;
use crate::provider::usage::Reading;
use crate::provider::usage::count;
use crate::provider::usage::first_count;
use crate::provider::usage::rest;
use crate::provider::usage::sum;
use crate::provider::usage::text;

/// Finds operation, model and location in a path such as `…/locations/eu/publishers/google/models/m:generateContent`.
pub(super) fn route(method: Method, path: &[&str]) -> Option<Route> {
    let mut found = match path.last()?.split_once(':') {
        Some((model, verb)) => verb_route(path, model, verb)?,
        None => match path {
            [.., "v1" | "v1beta" | "openai" | "openapi", "models"] | [.., "models", _]
                if method == Method::Read =>
            {
                Route::new(Operation::Models, Shape::None)
            }
            [.., "files"] | [.., "files", _] => Route::new(Operation::Files, Shape::None),
            [.., "interactions"] if method == Method::Write => {
                Route::new(Operation::Chat, Shape::Interaction)
            }
            [.., "interactions", _] if method == Method::Read => {
                Route::retrieved(Shape::Interaction)
            }
            [.., "interactions", _, "cancel"] => Route::retrieved(Shape::Interaction),
            _ => openai::route(method, path, Dialect::Gemini)?,
        },
    };
    found.geo = after(path, "locations").map(str::to_owned);
    Some(found)
}

fn verb_route(path: &[&str], model: &str, verb: &str) -> Option<Route> {
    let publisher = after(path, "publishers").unwrap_or("google");
    let (operation, shape) = match verb {
        "generateContent" | "streamGenerateContent" => (Operation::Chat, Shape::Gemini),
        "rawPredict" | "streamRawPredict" if model.starts_with("count-tokens") => {
            (Operation::CountTokens, Shape::None)
        }
        "rawPredict" | "streamRawPredict" if publisher == "anthropic" => {
            (Operation::Chat, Shape::Messages)
        }
        "rawPredict" | "streamRawPredict" => (Operation::Chat, Shape::Chat(Dialect::Standard)),
        "embedContent" | "batchEmbedContents" => (Operation::Embeddings, Shape::None),
        "countTokens" | "computeTokens" => (Operation::CountTokens, Shape::None),
        // What the batch costs is told when its results are fetched, answer by answer.
        "batchGenerateContent" | "asyncBatchEmbedContent" => (Operation::Batch, Shape::None),
        "predict" | "predictLongRunning" if model.starts_with("imagen") => {
            (Operation::ImageGeneration, Shape::None)
        }
        "predict" if model.contains("embedding") => (Operation::Embeddings, Shape::None),
        "predict" | "predictLongRunning" | "serverStreamingPredict" => {
            (Operation::Other, Shape::None)
        }
        _ => return None,
    };
    let mut route = Route::new(operation, shape);
    // `/v1internal:generateContent` names the model in the body.
    let named = after(path, "models").is_some() || after(path, "endpoints").is_some();
    route.model = named.then(|| model.to_owned());
    route.streamed = verb.starts_with("stream");
    route.unread = operation == Operation::Batch;
    Some(route)
}

/// What predicting with a model makes, as far as its name says.
pub(super) fn predicted(model: &str) -> Option<Operation> {
    verb_route(&[], model, "predict").map(|route| route.operation)
}

fn after<'a>(path: &[&'a str], name: &str) -> Option<&'a str> {
    let at = path.iter().position(|segment| *segment == name)?;
    path.get(at.checked_add(1)?).copied()
}

/// How an API calls its figures.
struct Names {
    prompt: &'static str,
    tool: &'static str,
    cached: &'static str,
    made: &'static [&'static str],
    thoughts: &'static str,
    total: &'static str,
    /// Lists of the parts of prompt, tool prompt, cached part and answer, by modality.
    parts: [&'static str; 4],
    /// The figure of such a part.
    part: &'static str,
}

const GENERATE: Names = Names {
    prompt: "promptTokenCount",
    tool: "toolUsePromptTokenCount",
    cached: "cachedContentTokenCount",
    made: &["candidatesTokenCount", "responseTokenCount"],
    thoughts: "thoughtsTokenCount",
    total: "totalTokenCount",
    parts: [
        "promptTokensDetails",
        "toolUsePromptTokensDetails",
        "cacheTokensDetails",
        "candidatesTokensDetails",
    ],
    part: "tokenCount",
};

const INTERACT: Names = Names {
    prompt: "total_input_tokens",
    tool: "total_tool_use_tokens",
    cached: "total_cached_tokens",
    made: &["total_output_tokens"],
    thoughts: "total_thought_tokens",
    total: "total_tokens",
    parts: [
        "input_tokens_by_modality",
        "tool_use_tokens_by_modality",
        "cached_tokens_by_modality",
        "output_tokens_by_modality",
    ],
    part: "tokens",
};

/// Reads `usageMetadata`.
pub(super) fn usage(usage: &Value) -> Reading {
    let mut reading = figures(usage, &GENERATE);
    reading.context.service_tier = text(usage, "trafficType").map(|kind| tier(&kind));
    reading
}

/// Reads the usage of an interaction; what else than searches its tools have asked is billed at rates of its own.
pub(super) fn interaction(usage: &Value) -> Reading {
    let mut reading = figures(usage, &INTERACT);
    let grounded = usage.get("grounding_tool_count").and_then(Value::as_array);
    for entry in grounded.into_iter().flatten() {
        let asked = count(entry, "count");
        if entry.get("type").and_then(Value::as_str) == Some("google_search") {
            reading.usage.web_searches = sum(reading.usage.web_searches, asked);
        } else {
            reading.partial |= asked != Some(0);
        }
    }
    reading
}

/// The cached part is inside the prompt, thoughts and tool prompts stand beside.
fn figures(usage: &Value, names: &Names) -> Reading {
    let tool = count(usage, names.tool);
    let cached = count(usage, names.cached);
    let made = first_count(usage, names.made);
    let thoughts = count(usage, names.thoughts);
    let total = count(usage, names.total);
    let asked = sum(count(usage, names.prompt), tool);
    // Where the total leaves no room for the thoughts they are already inside the answer.
    let inside = total.is_some() && made.is_some() && sum(asked, made) == total;
    let output = match (made, inside) {
        (Some(_), true) => made,
        (None, _) if thoughts.is_none() && total.is_some() && total == asked => Some(0),
        _ => sum(made, thoughts),
    };
    let (uncached, partial) = rest(asked, &[cached]);
    let [of_prompt, of_tool, of_cached, of_made] = names.parts;
    let part = |list, kind| modality(usage, (list, names.part), kind);
    let uncached_of =
        |kind| rest(sum(part(of_prompt, kind), part(of_tool, kind)), &[part(of_cached, kind)]).0;
    Reading {
        usage: Usage {
            input_uncached: uncached,
            cache_read: cached,
            input_audio: uncached_of("AUDIO"),
            input_image: uncached_of("IMAGE"),
            cache_read_audio: part(of_cached, "AUDIO"),
            output,
            output_reasoning: thoughts,
            output_audio: part(of_made, "AUDIO"),
            output_image: part(of_made, "IMAGE"),
            ..Usage::default()
        },
        partial,
        ..Reading::default()
    }
}

/// Vertex's traffic type as the service tier it is billed at.
fn tier(traffic: &str) -> String {
    match traffic {
        "PROVISIONED_THROUGHPUT" => "provisioned".to_owned(),
        "ON_DEMAND" => "default".to_owned(),
        other => other.strip_prefix("ON_DEMAND_").unwrap_or(other).to_lowercase(),
    }
}

/// Adds the figures of one kind in a list of parts; an interaction writes kinds in small letters.
fn modality(usage: &Value, (list, figure): (&str, &str), kind: &str) -> Option<u64> {
    let is_kind = |part: &&Value| {
        let said = part.get("modality").and_then(Value::as_str);
        said.is_some_and(|said| said.eq_ignore_ascii_case(kind))
    };
    let parts = usage.get(list)?.as_array()?.iter().filter(is_kind);
    parts.map(|part| count(part, figure)).fold(None, sum)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn thoughts_are_added_unless_the_total_says_they_are_inside() {
        let beside = usage(
            &json!({"promptTokenCount": 1000, "candidatesTokenCount": 200, "thoughtsTokenCount": 800,
            "totalTokenCount": 2000}),
        );
        assert_eq!((beside.usage.output, beside.usage.output_reasoning), (Some(1000), Some(800)));
        let inside = usage(
            &json!({"promptTokenCount": 1000, "candidatesTokenCount": 1000, "thoughtsTokenCount": 800,
            "totalTokenCount": 2000}),
        );
        assert_eq!(inside.usage.output, Some(1000));
    }

    #[test]
    fn tool_prompts_are_added_and_the_cached_part_is_taken_out() {
        let found = usage(
            &json!({"promptTokenCount": 100, "cachedContentTokenCount": 90, "toolUsePromptTokenCount": 5,
            "candidatesTokenCount": 1, "totalTokenCount": 106, "trafficType": "ON_DEMAND_FLEX",
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 60}, {"modality": "TEXT", "tokenCount": 40}],
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}]}),
        );
        assert_eq!((found.usage.input_uncached, found.usage.cache_read), (Some(15), Some(90)));
        assert_eq!((found.usage.input_audio, found.usage.cache_read_audio), (Some(10), Some(50)));
        assert_eq!(found.context.service_tier.as_deref(), Some("flex"));
    }

    #[test]
    fn interactions_say_the_same_in_other_words() {
        let body = json!({"total_input_tokens": 100, "total_cached_tokens": 90, "total_tool_use_tokens": 5,
            "total_output_tokens": 10, "total_thought_tokens": 3, "total_tokens": 118,
            "input_tokens_by_modality": [{"modality": "audio", "tokens": 60}, {"modality": "text", "tokens": 40}],
            "cached_tokens_by_modality": [{"modality": "audio", "tokens": 50}],
            "grounding_tool_count": [{"type": "google_search", "count": 2}]});
        let found = interaction(&body);
        assert_eq!((found.usage.input_uncached, found.usage.cache_read), (Some(15), Some(90)));
        assert_eq!((found.usage.input_audio, found.usage.cache_read_audio), (Some(10), Some(50)));
        assert_eq!((found.usage.output, found.usage.output_reasoning), (Some(13), Some(3)));
        assert_eq!((found.usage.web_searches, found.partial), (Some(2), false));
        let maps = json!({"grounding_tool_count": [{"type": "google_maps", "count": 1}]});
        assert!(interaction(&maps).partial);
    }

    #[test]
    fn an_answer_without_candidates_is_empty_only_if_the_total_says_so() {
        let blocked = usage(&json!({"promptTokenCount": 7, "totalTokenCount": 7}));
        assert_eq!(blocked.usage.output, Some(0));
        assert_eq!(usage(&json!({"promptTokenCount": 7})).usage.output, None);
    }

    #[test]
    fn paths_name_model_location_and_operation() {
        const CASES: &[(&str, Operation, Option<&str>, Option<&str>)] = &[
            (
                "v1beta/models/gemini-2.5-pro:streamGenerateContent",
                Operation::Chat,
                Some("gemini-2.5-pro"),
                None,
            ),
            (
                "v1/projects/p/locations/eu/publishers/anthropic/models/claude-x:rawPredict",
                Operation::Chat,
                Some("claude-x"),
                Some("eu"),
            ),
            (
                "v1/projects/p/locations/eu/publishers/anthropic/models/count-tokens:rawPredict",
                Operation::CountTokens,
                Some("count-tokens"),
                Some("eu"),
            ),
            ("v1beta/models/m:countTokens", Operation::CountTokens, Some("m"), None),
            (
                "v1beta/models/text-embedding-004:embedContent",
                Operation::Embeddings,
                Some("text-embedding-004"),
                None,
            ),
            ("v1internal:generateContent", Operation::Chat, None, None),
            ("v1beta/interactions", Operation::Chat, None, None),
            ("v1beta/interactions/i1/cancel", Operation::Other, None, None),
            ("v1beta1/projects/p/locations/eu/interactions", Operation::Chat, None, Some("eu")),
            ("v1beta/openai/chat/completions", Operation::Chat, None, None),
        ];
        for (path, operation, model, geo) in CASES {
            let path: Vec<&str> = path.split('/').collect();
            let found = route(Method::Write, &path).unwrap();
            assert_eq!(
                (found.operation, found.model.as_deref(), found.geo.as_deref()),
                (*operation, *model, *geo)
            );
        }
    }
}
