//! Paths and usage objects of the `OpenAI` API come in; operations and token classes go out.

use serde_json::Value;

use crate::provider::Dialect;
use crate::provider::Operation;
use crate::provider::Shape;
use crate::provider::Usage;
use crate::provider::route::Method;
use crate::provider::route::Route;
use crate::provider::usage::Reading;
use crate::provider::usage::count;
use crate::provider::usage::first_count;
use crate::provider::usage::rest;
use crate::provider::usage::scaled;

/// Finds the operation by the last segments of a path; `None` where the path is none of the API.
pub(super) fn route(method: Method, path: &[&str], dialect: Dialect) -> Option<Route> {
    let chat = Shape::Chat(dialect);
    let responses = Shape::Responses(dialect);
    let media = Shape::Media(dialect);
    let made = |operation, shape| Some(Route::new(operation, shape));
    let post = method != Method::Read;
    match path {
        [.., "chat", "completions"] if post => made(Operation::Chat, chat),
        [.., "completions"] if post => made(Operation::TextCompletion, chat),
        [.., "responses"] | [.., "responses", "compact"] if post => {
            made(Operation::Chat, responses)
        }
        [.., "responses", "input_tokens"] => made(Operation::CountTokens, Shape::None),
        // A stored answer comes again, with the figures it had the first time.
        [.., "responses", _] if !post => Some(Route::retrieved(responses)),
        [.., "responses", _, "cancel"] if post => Some(Route::retrieved(responses)),
        // The second are xAI's answers that the client comes back for.
        [.., "chat", "completions" | "deferred-completion", _] if !post => {
            Some(Route::retrieved(chat))
        }
        [.., "embeddings"] if post => made(Operation::Embeddings, Shape::Embeddings(dialect)),
        [.., "images", "generations" | "edits" | "variations"] if post => {
            made(Operation::ImageGeneration, media)
        }
        [.., "audio", "speech"] if post => made(Operation::Speech, media),
        [.., "audio", "transcriptions" | "translations"] if post => {
            made(Operation::Transcription, media)
        }
        [.., "moderations"] if post => made(Operation::Moderation, Shape::None),
        [.., "rerank"] if post => made(Operation::Rerank, Shape::Cohere),
        [.., "realtime"] => made(Operation::Chat, responses),
        [.., "batches"] | [.., "batches", _] | [.., "batches", _, "cancel"] => {
            Some(Route { batch: true, ..Route::repeated(Operation::Batch, responses) })
        }
        // What a tool has made is no answer.
        [.., "containers", _, "files", _, "content"] => made(Operation::Files, Shape::None),
        // The results of a batch are such a file, one answer a line: its first line will tell.
        [.., "files", _, "content"] if !post => Some(Route::unread(Operation::Files)),
        [.., "files" | "uploads"]
        | [.., "files" | "uploads", _]
        | [.., "files" | "uploads", _, _] => made(Operation::Files, Shape::None),
        [.., "models"] | [.., "models", _] if !post => made(Operation::Models, Shape::None),
        _ => None,
    }
}

/// Reads `prompt_tokens`, `completion_tokens` and their details; cached and written tokens are inside the prompt.
pub(super) fn chat(usage: &Value) -> Reading {
    let cached = first_count(
        usage,
        &[
            "prompt_tokens_details.cached_tokens",
            "prompt_cache_hit_tokens",
            "cached_tokens",
            "cache_read_input_tokens",
        ],
    );
    let input = Input {
        total: first_count(usage, &["prompt_tokens", "input_tokens"]),
        cached,
        written: first_count(
            usage,
            &["prompt_tokens_details.cache_write_tokens", "cache_creation_input_tokens"],
        ),
        details: usage.get("prompt_tokens_details").unwrap_or(&Value::Null),
    };
    let mut reading = input.read();
    let own = &mut reading.usage;
    own.output = first_count(usage, &["completion_tokens", "output_tokens"]);
    own.output_reasoning =
        first_count(usage, &["completion_tokens_details.reasoning_tokens", "reasoning_tokens"]);
    own.output_audio = count(usage, "completion_tokens_details.audio_tokens");
    // What was heard is billed by its length, and stands beside the tokens.
    own.audio_millis = millis(usage, HEARD);
    reading
}

/// Reads `input_tokens`, `output_tokens` and their details; cached and written tokens are inside the input.
pub(super) fn responses(usage: &Value) -> Reading {
    // Audio models write `input_token_details`, all others `input_tokens_details`.
    let details = |side: &str| {
        let plural = usage.get(format!("{side}_tokens_details"));
        plural.or_else(|| usage.get(format!("{side}_token_details"))).unwrap_or(&Value::Null)
    };
    let inside = details("input");
    let input = Input {
        total: count(usage, "input_tokens"),
        cached: first_count(inside, &["cached_tokens", "cache_read_input_tokens"]),
        written: first_count(inside, &["cache_write_tokens", "cache_creation_input_tokens"]),
        details: inside,
    };
    let mut reading = input.read();
    let own = &mut reading.usage;
    own.output = count(usage, "output_tokens");
    own.output_reasoning = count(details("output"), "reasoning_tokens");
    own.output_audio = count(details("output"), "audio_tokens");
    own.output_image = count(details("output"), "image_tokens");
    reading
}

/// Reads an embeddings or rerank answer, which has no output to bill.
pub(super) fn embeddings(usage: &Value) -> Reading {
    let input = first_count(usage, &["prompt_tokens", "input_tokens", "total_tokens"]);
    let output = input.map(|_| 0);
    Reading {
        usage: Usage { input_uncached: input, output, ..Usage::default() },
        ..Reading::default()
    }
}

/// Reads images, speech and transcription: tokens, or the duration.
pub(super) fn media(usage: &Value) -> Reading {
    if let Some(millis) = millis(usage, "seconds") {
        let usage = Usage { audio_millis: Some(millis), ..Usage::default() };
        return Reading { usage, ..Reading::default() };
    }
    match millis(usage, HEARD) {
        // Mistral counts as in a chat.
        Some(_) => chat(usage),
        None => responses(usage),
    }
}

/// Where Mistral says how much it heard, in seconds.
const HEARD: &str = "prompt_audio_seconds";

/// A time in seconds at `key`, as whole milliseconds.
fn millis(usage: &Value, key: &str) -> Option<u64> {
    let millis = scaled(&usage.get(key)?.to_string(), 3)?;
    u64::try_from(millis).ok()
}

struct Input<'a> {
    total: Option<u64>,
    cached: Option<u64>,
    written: Option<u64>,
    details: &'a Value,
}

impl Input<'_> {
    fn read(&self) -> Reading {
        let long = count(self.details, "cache_write_tokens_details.ttl_12h_tokens");
        let short = count(self.details, "cache_write_tokens_details.ttl_30m_tokens");
        // Without a split all was written for the default time.
        let (unsplit, split_too_large) = rest(self.written, &[long]);
        let cache_write_30m = unsplit.or(short);
        let (input_uncached, too_large) = rest(self.total, &[self.cached, cache_write_30m, long]);
        let cached_audio = count(self.details, "cached_tokens_details.audio_tokens");
        let (input_audio, _) = rest(count(self.details, "audio_tokens"), &[cached_audio]);
        let cached_image = count(self.details, "cached_tokens_details.image_tokens");
        let (input_image, _) = rest(count(self.details, "image_tokens"), &[cached_image]);
        Reading {
            usage: Usage {
                input_uncached,
                cache_read: self.cached,
                cache_write_30m,
                cache_write_12h: long,
                input_audio,
                input_image,
                cache_read_audio: cached_audio,
                cache_read_image: cached_image,
                ..Usage::default()
            },
            partial: too_large || split_too_large,
            ..Reading::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::UsageQuality;
    use crate::provider::usage::extract;

    fn segments(path: &str) -> Vec<&str> {
        path.split('/').filter(|s| !s.is_empty()).collect()
    }

    #[test]
    fn paths_name_their_operation() {
        const CASES: &[(Method, &str, Option<Operation>)] = &[
            (Method::Write, "/v1/chat/completions", Some(Operation::Chat)),
            (Method::Write, "/v1/completions", Some(Operation::TextCompletion)),
            (Method::Write, "/v1/responses", Some(Operation::Chat)),
            (Method::Read, "/v1/responses/resp_1", Some(Operation::Other)),
            (Method::Write, "/v1/embeddings", Some(Operation::Embeddings)),
            (Method::Write, "/v1/images/edits", Some(Operation::ImageGeneration)),
            (Method::Write, "/v1/audio/speech", Some(Operation::Speech)),
            (Method::Write, "/v1/audio/translations", Some(Operation::Transcription)),
            (Method::Write, "/v1/moderations", Some(Operation::Moderation)),
            (Method::Read, "/v1/batches/batch_1", Some(Operation::Batch)),
            (Method::Read, "/v1/containers/c_1/files/f_1/content", Some(Operation::Files)),
            (Method::Read, "/v1/files/file-1/content", Some(Operation::Files)),
            (Method::Read, "/v1/models", Some(Operation::Models)),
            (Method::Write, "/v1/responses/input_tokens", Some(Operation::CountTokens)),
            (Method::Read, "/v1/chat/completions", None),
            (Method::Write, "/v1/threads", None),
        ];
        for (method, path, expected) in CASES {
            let found = route(*method, &segments(path), Dialect::Standard);
            assert_eq!(found.map(|r| r.operation), *expected, "{path}");
        }
    }

    #[test]
    fn a_stored_answer_is_marked_as_repeated() {
        for path in ["v1/responses/resp_1", "v1/chat/deferred-completion/r1"] {
            let found = route(Method::Read, &segments(path), Dialect::Xai);
            assert!(found.is_some_and(|r| r.repeated && r.shape != Shape::None), "{path}");
        }
    }

    #[test]
    fn cached_and_written_tokens_are_taken_out_of_the_input() {
        let body = json!({"object": "response", "usage": {"input_tokens": 20000, "input_tokens_details":
            {"cached_tokens": 0, "cache_write_tokens": 10000, "cache_write_tokens_details":
            {"ttl_30m_tokens": 4000, "ttl_12h_tokens": 6000}}, "output_tokens": 100,
            "output_tokens_details": {"reasoning_tokens": 0}}, "output": [{"type": "web_search_call"}]});
        let (usage, quality, _) = extract(Shape::Responses(Dialect::Standard), &body);
        let expected = Usage {
            input_uncached: Some(10000),
            cache_read: Some(0),
            cache_write_30m: Some(4000),
            cache_write_12h: Some(6000),
            output: Some(100),
            output_reasoning: Some(0),
            web_searches: Some(1),
            file_searches: Some(0),
            ..Usage::default()
        };
        assert_eq!((usage, quality), (expected, UsageQuality::Reported));
    }

    #[test]
    fn of_visits_to_the_web_only_searches_are_billed() {
        let item = |action: &str| json!({"type": "web_search_call", "action": {"type": action}});
        let mut body = json!({"usage": {"input_tokens": 1, "output_tokens": 1}, "output": [
            {"type": "web_search_call"}, item("search"), item("open_page"), item("find_in_page"),
            {"type": "local_shell_call", "action": {"type": "exec"}}]});
        let (usage, quality, _) = extract(Shape::Responses(Dialect::Standard), &body);
        assert_eq!((usage.web_searches, quality), (Some(2), UsageQuality::Reported));
        body = json!({"response": body});
        assert_eq!(extract(Shape::Responses(Dialect::Standard), &body).0.web_searches, Some(2));
    }

    #[test]
    fn tools_whose_cost_is_not_told_make_a_lower_bound() {
        for tool in ["image_generation_call", "code_interpreter_call"] {
            let mut body = json!({"usage": {"input_tokens": 1, "output_tokens": 1,
                "cost_in_usd_ticks": 7}, "output": [{"type": tool}, {"type": "message"}]});
            let of = |dialect, body: &Value| extract(Shape::Responses(dialect), body).1;
            assert_eq!(of(Dialect::Standard, &body), UsageQuality::Partial, "{tool}");
            // The provider's own amount has it all.
            assert_eq!(of(Dialect::Xai, &body), UsageQuality::Reported, "{tool}");
            body["output"][0]["type"] = "message".into();
            assert_eq!(of(Dialect::Standard, &body), UsageQuality::Reported, "{tool}");
        }
    }

    #[test]
    fn usage_beside_the_usage_makes_a_lower_bound() {
        let mut body = json!({"data": [{}], "svg_usage": {"input_tokens": 5, "output_tokens": 70},
            "usage": {"input_tokens": 10, "output_tokens": 20}});
        let of = |body: &Value| extract(Shape::Media(Dialect::Standard), body);
        let (usage, quality, _) = of(&body);
        assert_eq!((usage.input_uncached, usage.output), (Some(10), Some(20)));
        assert_eq!(quality, UsageQuality::Partial);
        body["svg_usage"] = Value::Null;
        assert_eq!(of(&body).1, UsageQuality::Reported);
    }

    #[test]
    fn missing_figures_stay_unknown() {
        let (usage, quality, _) = extract(Shape::Chat(Dialect::Standard), &json!({"usage": null}));
        assert_eq!((usage, quality), (Usage::default(), UsageQuality::Missing));
        let (usage, _, _) =
            extract(Shape::Chat(Dialect::Standard), &json!({"usage": {"completion_tokens": 5}}));
        assert_eq!(usage, Usage { output: Some(5), ..Usage::default() });
    }

    #[test]
    fn cached_pictures_and_sound_are_taken_out_of_their_part() {
        let usage = json!({"input_tokens": 1500, "input_token_details": {"text_tokens": 300,
            "image_tokens": 1000, "audio_tokens": 200, "cached_tokens": 1200,
            "cached_tokens_details": {"text_tokens": 300, "image_tokens": 800, "audio_tokens": 100}},
            "output_tokens": 100});
        let found = responses(&usage).usage;
        assert_eq!((found.input_uncached, found.cache_read), (Some(300), Some(1200)));
        assert_eq!((found.input_image, found.cache_read_image), (Some(200), Some(800)));
        assert_eq!((found.input_audio, found.cache_read_audio), (Some(100), Some(100)));
    }

    #[test]
    fn parts_over_the_total_make_the_figures_partial() {
        let body =
            json!({"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}});
        assert_eq!(extract(Shape::Chat(Dialect::Standard), &body).1, UsageQuality::Partial);
    }

    #[test]
    fn mistral_says_how_many_seconds_it_heard() {
        let body = json!({"model": "voxtral-mini-2602", "usage": {"prompt_audio_seconds": 203,
            "prompt_tokens": 4, "total_tokens": 3264, "completion_tokens": 635}});
        for shape in [Shape::Media(Dialect::Standard), Shape::Chat(Dialect::Standard)] {
            let usage = extract(shape, &body).0;
            assert_eq!(usage.audio_millis, Some(203_000));
            assert_eq!((usage.input_uncached, usage.output), (Some(4), Some(635)));
        }
        let silent = json!({"usage": {"prompt_audio_seconds": null, "prompt_tokens": 4}});
        assert_eq!(extract(Shape::Chat(Dialect::Standard), &silent).0.audio_millis, None);
    }

    #[test]
    fn transcription_is_counted_in_tokens_or_time() {
        let timed = json!({"usage": {"type": "duration", "seconds": 12.5}});
        assert_eq!(extract(Shape::Media(Dialect::Standard), &timed).0.audio_millis, Some(12_500));
        let tokens = json!({"usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45,
            "input_token_details": {"text_tokens": 0, "audio_tokens": 14}}});
        let usage = extract(Shape::Media(Dialect::Standard), &tokens).0;
        assert_eq!((usage.input_audio, usage.output), (Some(14), Some(45)));
    }
}
